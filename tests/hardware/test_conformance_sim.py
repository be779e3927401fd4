"""The simulated arm keeps the contract of a driver."""

from __future__ import annotations

from tests.hardware.conformance import DriverConformance


class TestSim(DriverConformance):
    rig_name = "sim"
