"""The Franka driver keeps the contract, through the vendor's client, TCP and UDP."""

from __future__ import annotations

import pytest

from tests.hardware.conformance import DriverConformance

pytest.importorskip("franky", reason="franky-control is not installed: pip install 'loopwm-robot[franka]'")


@pytest.mark.slow
class TestFranka(DriverConformance):
    rig_name = "franka"
    not_applicable = frozenset({"a_power_loss_is_noticed"})
