"""Emergency stops are latched apart from faults; plans that start far away are approached slowly, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmBridge, Mode
from hardware.errors import EStopActive, ModeError, SafetyStop

HOME = np.array([0.2, -0.4, 0.3])


def arm_of(bridge: ArmBridge):
    return bridge._link.executor.driver


def kinds(bridge: ArmBridge) -> list[str]:
    return [event.kind for event in bridge.events()]


def swing(bridge: ArmBridge, offset: float = 0.0) -> None:
    t = np.arange(61) * 0.05
    q = HOME + offset + 0.4 * (1 - np.cos(1.5 * t))[:, None]
    bridge.submit(bridge.make_plan(q, 0.6 * np.sin(1.5 * t)[:, None] * np.ones(3), dt=0.05, validity=2.9))


def test_the_button_is_latched_and_no_reset_goes_through_while_it_is_pressed(running):
    swing(running)
    running.advance(0.8)
    arm_of(running).inject(kind="estop")
    running.advance(0.5)
    snapshot = running.snapshot()
    assert snapshot.mode is Mode.ESTOP and snapshot.state.estop and "emergency stop" in running.fault
    assert [k for k in kinds(running) if k in ("estop", "fault")] in (["estop"], ["fault", "estop"])
    rested = arm_of(running).true_q
    for call in (running.start, running.hold, running.enable, lambda: running.reset(acknowledge=True)):
        with pytest.raises(EStopActive):
            call()
    with pytest.raises(SafetyStop, match=r"estop: .* is latched"):
        swing(running)
    running.advance(0.5)
    np.testing.assert_allclose(arm_of(running).true_q, rested, atol=1e-3)
    assert running.records()["mode"][-1] == Mode.ESTOP

    arm_of(running).heal()  # pulled out again: that alone leads nowhere
    running.advance(0.2)
    assert running.mode is Mode.ESTOP and not running.snapshot().state.estop
    with pytest.raises(SafetyStop, match="stays latched"):
        running.reset()
    running.reset(acknowledge=True)
    running.advance(0.2)
    assert running.mode is Mode.ENABLED and not running.fault
    np.testing.assert_allclose(arm_of(running).true_q, rested, atol=1e-3)
    running.start()
    assert running.audit().limit_violations == 0


def test_a_fault_gives_way_to_an_emergency_stop_and_not_the_other_way_round(running):
    arm_of(running).inject(kind="device_fault")
    running.advance(0.1)
    assert running.mode is Mode.FAULT
    arm_of(running).inject(kind="estop", duration_s=0.1)
    running.advance(0.05)
    assert running.mode is Mode.ESTOP
    arm_of(running).inject(kind="disconnect")
    running.advance(0.5)
    assert running.mode is Mode.ESTOP and running.fault.startswith("estop: ")


def test_a_program_may_ask_for_it_in_every_mode(bridge):
    bridge.estop()
    assert bridge.mode is Mode.ESTOP and bridge.fault == "estop: asked for"
    bridge.reset(acknowledge=True)
    assert bridge.mode is Mode.CONNECTED
    bridge.enable()
    bridge.start()
    swing(bridge)
    bridge.advance(0.8)
    bridge.estop()
    bridge.estop()
    before = arm_of(bridge).true_q
    bridge.advance(0.5)
    assert kinds(bridge).count("estop") == 2 and np.abs(arm_of(bridge).true_q - before).max() < 0.05
    written = arm_of(bridge)._commands
    bridge.advance(0.1)
    assert not written  # nothing more is sent
    bridge.disable()
    assert bridge.mode is Mode.ESTOP and not bridge.snapshot().applied
    executor = bridge._link.executor
    executor.close(bridge.now())
    with pytest.raises(ModeError, match="CLOSED"):
        executor.estop(bridge.now())


@pytest.fixture
def aligning(spec, limits):
    with ArmBridge(spec, limits, lockstep=True, align_rad=0.8, align_scale=0.1) as bridge:
        bridge.enable()
        bridge.start()
        yield bridge


def test_an_arm_at_rest_goes_slowly_to_a_plan_that_starts_far_away(aligning, limits):
    far = HOME + np.array([0.5, 0.0, -0.3])
    aligning.submit(aligning.make_plan([far, far], dt=0.1, validity=8.0))
    aligning.advance(0.3)
    assert aligning.mode is Mode.ALIGNING and aligning.snapshot().plan_id >= 0
    with pytest.raises(ModeError, match="needs ENABLED"):
        aligning.freedrive()
    aligning.advance(6.0)
    assert aligning.mode is Mode.RUNNING and [k for k in kinds(aligning) if k.startswith("align")] == [
        "aligning",
        "aligned",
    ]
    np.testing.assert_allclose(aligning.snapshot().applied.applied, far, atol=1e-6)
    records = aligning.records()
    slow = np.abs(records["applied_dq"][records["mode"] == Mode.ALIGNING])
    assert slow.max() <= 0.1 * limits.dq_max.max() * (1 + 1e-6)
    assert slow.max() > 0.05 * limits.dq_max.min() and aligning.audit().limit_violations == 0


def test_plans_may_follow_one_another_while_the_arm_aligns(aligning):
    for k in range(80):
        target = HOME + 0.4 + 0.001 * k
        aligning.submit(aligning.make_plan([target, target], dt=0.05, validity=0.2))
        aligning.advance(0.05)
    assert kinds(aligning).count("aligning") == 1 and aligning.mode is Mode.RUNNING
    aligning.hold()
    aligning.advance(1.0)
    assert aligning.mode is Mode.HOLDING


def test_an_expired_or_held_plan_ends_the_aligning_at_rest(aligning):
    for end in ("expiry", "hold", "stop"):
        aligning.start()
        away = aligning.snapshot().applied.applied + 0.6
        aligning.submit(aligning.make_plan([away, away], dt=0.05, validity=0.5))
        aligning.advance(0.2)
        assert aligning.mode is Mode.ALIGNING
        if end != "expiry":
            getattr(aligning, end)()
        aligning.advance(0.8)
        assert aligning.mode is (Mode.ENABLED if end == "stop" else Mode.HOLDING)
        assert not aligning.snapshot().applied.dq.any()


def test_it_is_refused_beyond_its_bound_in_motion_and_by_default(aligning, running):
    for bridge, offset in ((aligning, 0.9), (running, 0.3)):
        far = bridge.snapshot().applied.applied + offset
        bridge.submit(bridge.make_plan([far, far], dt=0.05, validity=1.0))
        bridge.advance(0.1)
        assert bridge.mode is Mode.HOLDING and kinds(bridge)[-1] == "plan_rejected"
    swing(aligning)
    aligning.advance(0.5)
    swing(aligning, 0.5)
    aligning.advance(0.1)
    assert aligning.mode is Mode.RUNNING and kinds(aligning)[-1] == "plan_rejected"
