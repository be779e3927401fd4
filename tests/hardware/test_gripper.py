"""A gripper column of a plan reaches the driver, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmBridge, BridgeConfig, DriverSpec, Mode
from hardware.errors import CommandRejected, HardwareFault, NonFinite, ShapeMismatch, TransportTimeout
from hardware.interface import ArmPlan
from hardware.memory import BridgeMemory, BridgeSpec


@pytest.fixture
def gripping(spec, limits):
    with ArmBridge(DriverSpec("sim", {**spec.kwargs, "gripper": "finger"}), limits, lockstep=True) as bridge:
        bridge.enable()
        bridge.start()
        yield bridge


def stay(bridge: ArmBridge, gripper, seconds: float = 1.0) -> None:
    here = bridge.snapshot().applied.applied
    knots = np.tile(here, (len(gripper) if gripper is not None else 2, 1))
    bridge.submit(bridge.make_plan(knots, dt=seconds / max(len(knots) - 1, 1), validity=seconds, gripper=gripper))


def test_openings_are_followed_and_then_kept(gripping):
    assert gripping.info.gripper and gripping.observe().gripper == pytest.approx(0.25, abs=0.01)
    stay(gripping, [0.0, 1.0])
    gripping.advance(0.52)
    assert gripping.records()["gripper"][-1] == pytest.approx(0.5, abs=0.03)
    gripping.advance(1.0)  # the plan has ended
    assert gripping.mode is Mode.HOLDING and gripping.observe().gripper == pytest.approx(1.0, abs=0.03)
    stay(gripping, None)
    gripping.advance(0.5)
    assert gripping.mode is Mode.RUNNING and gripping.observe().gripper == pytest.approx(1.0, abs=0.03)
    stay(gripping, [0.2])
    gripping.advance(1.0)
    assert gripping.observe().gripper == pytest.approx(0.2, abs=0.03)


def test_it_is_told_of_changes_alone(gripping, monkeypatch):
    driver, told = gripping._link.executor.driver, []
    monkeypatch.setattr(driver, "gripper", told.append)
    stay(gripping, [0.4])
    gripping.advance(0.9)
    assert told == [0.4]
    stay(gripping, [0.4, 0.5])
    gripping.advance(1.1)
    assert 20 <= len(told) <= 110 and told == sorted(told) and told[-1] <= 0.5


def test_what_a_gripper_does_not_take_is_told_once_and_its_faults_latch(gripping, monkeypatch):
    def refuse(opening: float) -> None:
        raise error

    monkeypatch.setattr(gripping._link.executor.driver, "gripper", refuse)
    error: Exception = TransportTimeout("no answer")
    stay(gripping, [0.0, 1.0])
    gripping.advance(0.5)
    told = [event.text for event in gripping.events() if event.kind == "gripper"]
    assert len(told) == 1 and "was not taken: no answer" in told[0] and gripping.mode is Mode.RUNNING
    error = HardwareFault("finger lost")
    gripping.advance(0.1)
    assert gripping.fault == "device_fault: finger lost"


def test_an_arm_without_one_refuses_such_plans(running):
    stay(running, [0.0, 1.0])
    running.advance(0.1)
    assert running.mode is Mode.HOLDING and not running.info.gripper
    assert "it moves a gripper, and the arm has none" in running.events()[-1].text


@pytest.mark.parametrize(
    ("gripper", "error", "text"),
    [
        ([0.0, 1.1], CommandRejected, r"is 0 to 1\.1, allowed \[0, 1\]"),
        ([-0.1, 0.0], CommandRejected, r"is -0\.1 to 0, allowed \[0, 1\]"),
        ([0.0, np.nan], NonFinite, "non-finite"),
        ([0.5], ShapeMismatch, r"shape \(1,\), expected \(2,\)"),
    ],
)
def test_openings_that_are_none(gripper, error, text):
    with pytest.raises(error, match=text):
        ArmPlan(0, 0.0, 0.1, np.zeros((2, 1)), 1.0, ("a",), gripper=gripper)


@pytest.mark.parametrize("dq", [None, np.ones((3, 3))])
@pytest.mark.parametrize("gripper", [None, [0.0, 0.5, 1.0]])
def test_it_crosses_the_memory(spec, limits, dq, gripper):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(max_horizon=3)))
    try:
        q = np.arange(9.0).reshape(3, 3)
        memory.put_plan(ArmPlan(7, 1.0, 0.1, q, 9.0, limits.names, dq, 3, gripper))
        read = memory.get_plan()
        assert read.q.tolist() == q.tolist() and read.obs_seq == 3
        assert (read.dq is None) is (dq is None) and (read.gripper is None) is (gripper is None)
        assert gripper is None or read.gripper.tolist() == gripper
    finally:
        memory.segment.unlink()
        memory.close()
