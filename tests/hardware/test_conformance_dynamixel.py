"""The Dynamixel driver keeps the contract, through the vendor's client and a pseudo-terminal."""

from __future__ import annotations

import pytest

from tests.hardware.conformance import DriverConformance

pytest.importorskip("dynamixel_sdk")


@pytest.mark.slow
class TestDynamixel(DriverConformance):
    rig_name = "dynamixel"
    not_applicable = frozenset({"an_emergency_stop_is_latched"})  # servos have no button
