"""The simulated arm keeps the contract of a driver."""

from __future__ import annotations

from tests.hardware.conformance import DriverConformance


class TestSim(DriverConformance):
    rig_name = "sim"
    not_applicable = frozenset(
        {"link_corrupt", "link_delay", "link_kill", "a_restart_is_noticed", "a_power_loss_is_noticed"}
    )
