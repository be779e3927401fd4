"""The Franka driver keeps the contract, through either of the vendor's clients, TCP and UDP."""

from __future__ import annotations

import importlib.util

import pytest

from tests.hardware.conformance import DriverConformance


def needs(package: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install 'loopwm-robot[{extra}]'")


@needs("franky", "franka")
@pytest.mark.slow
class TestFranka(DriverConformance):
    rig_name = "franka"
    not_applicable = frozenset({"a_power_loss_is_noticed"})


@needs("pylibfranka", "pylibfranka")
@pytest.mark.slow
class TestFrankaAsync(DriverConformance):
    rig_name = "franka_async"
    not_applicable = frozenset({"a_power_loss_is_noticed"})
