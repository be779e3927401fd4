"""The UR driver keeps the contract, through the vendor's client and TCP."""

from __future__ import annotations

import pytest

from tests.hardware.conformance import DriverConformance

pytest.importorskip("rtde_control")


@pytest.mark.slow
class TestUr(DriverConformance):
    rig_name = "ur"
    not_applicable = frozenset({"a_power_loss_is_noticed"})
