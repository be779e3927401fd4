"""The Franka driver keeps the contract, through either client on our emulator, and on franky-sim."""

from __future__ import annotations

import importlib.util

import pytest

from hardware.conformance import LINK_FAULTS
from tests.hardware.conformance import DriverConformance


def needs(package: str, installed_by: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install {installed_by}")


@needs("franky", "loopwm-robot[franka]")
@pytest.mark.slow
class TestFranka(DriverConformance):
    rig_name = "franka"
    not_applicable = frozenset({"a_power_loss_is_noticed"})


@needs("pylibfranka", "loopwm-robot[pylibfranka]")
@pytest.mark.slow
class TestFrankaAsync(DriverConformance):
    rig_name = "franka_async"
    not_applicable = frozenset({"a_power_loss_is_noticed"})


WITHOUT_FAILURES = frozenset(
    {
        "a_silent_link_never_blocks",
        *(f"link_{kind}" for kind in LINK_FAULTS if kind != "kill"),
        "a_glitch_is_survived",
        "a_link_that_returns_needs_an_operator",
        "a_device_fault_is_latched",
        "an_emergency_stop_is_latched",
        "an_encoder_jump_stops_the_arm",
        "a_restart_is_noticed",
        "a_power_loss_is_noticed",
    }
)


@needs("franky_sim", "franky-sim")
@pytest.mark.slow
class TestFrankySim(DriverConformance):
    rig_name = "franky_sim"
    not_applicable = WITHOUT_FAILURES
