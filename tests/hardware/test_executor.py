"""The state machine and the control tick, on a fake clock."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import (
    ArmBridge,
    ArmInfo,
    ArmPlan,
    ArmState,
    BridgeError,
    DriverSpec,
    JointLimits,
    Mode,
    Reason,
    braking_time,
)
from hardware.clock import FakeClock
from hardware.config import BridgeConfig
from hardware.errors import (
    Disconnected,
    HardwareFault,
    JointMismatch,
    LimitsMismatch,
    ModeError,
    SafetyStop,
    ShapeMismatch,
    StalePlan,
    StaleState,
    TransportTimeout,
)
from hardware.executor import Executor
from hardware.records import MemorySink

HOME = np.array([0.2, -0.4, 0.3])
DT = 1 / 250


def driver_of(bridge: ArmBridge):
    return bridge._link.executor.driver


def kinds(bridge: ArmBridge) -> list[str]:
    return [event.kind for event in bridge.events()]


def sweep(bridge: ArmBridge, validity: float = 0.5, speed: float = 0.8, **changes) -> ArmPlan:
    """A plan that goes on from the present command, accelerating gently to a constant speed."""
    t = np.arange(21) * 0.05
    applied = bridge.snapshot().applied
    v0 = applied.dq
    ramp = np.minimum(t / 0.4, 1.0)[:, None]
    v = v0 + ramp * (speed - v0)
    q = applied.applied + np.concatenate([np.zeros((1, 3)), np.cumsum((v[1:] + v[:-1]) / 2 * 0.05, axis=0)])
    return bridge.make_plan(q, v, dt=0.05, validity=validity, **changes)


def test_connecting_and_enabling_move_nothing(bridge):
    assert bridge.mode is Mode.CONNECTED and bridge.info.joint_names == ("shoulder", "elbow", "wrist")
    before = driver_of(bridge).true_q
    bridge.advance(0.5)
    assert bridge.records().size == 0 and bridge.snapshot().applied is None
    bridge.enable()
    np.testing.assert_allclose(bridge.snapshot().applied.applied, before, atol=1e-9)
    bridge.advance(0.5)
    bridge.start()
    bridge.advance(0.5)
    np.testing.assert_allclose(driver_of(bridge).true_q, before, atol=1e-6)
    records = bridge.records()
    assert np.ptp(records["applied"], axis=0).max() == 0.0 and not records["reasons"].any()


def test_enabling_seeds_from_the_measured_pose_not_from_home(bridge):
    driver = driver_of(bridge)
    driver._data.qpos[driver._qpos] = [0.7, 0.1, -0.2]
    driver._brake()
    bridge.advance(0.1)
    bridge.enable()
    np.testing.assert_allclose(bridge.snapshot().applied.applied, [0.7, 0.1, -0.2], atol=1e-3)


def test_enabling_a_moving_arm_is_refused(bridge):
    driver = driver_of(bridge)
    driver._data.ctrl[driver._actuators] = HOME + 0.5
    bridge.advance(0.1)
    with pytest.raises(ModeError, match="rad/s"):
        bridge.enable()
    assert bridge.mode is Mode.CONNECTED


def test_an_admissible_plan_is_applied_exactly(running):
    t = np.arange(41) * 0.05
    q = HOME + 0.4 * (1 - np.cos(1.5 * t))[:, None]
    dq = 0.6 * np.sin(1.5 * t)[:, None] * np.ones(3)
    plan = running.make_plan(q, dq, dt=0.05, validity=1.9)
    running.submit(plan)
    running.advance(1.8)
    records = running.records()[1:]
    assert running.mode is Mode.RUNNING and running.snapshot().plan_id == plan.plan_id
    assert (records["requested"] == records["applied"]).all() and not records["reasons"].any()
    assert np.abs(records["q"] - records["applied"]).max() < 0.1
    audit = running.audit()
    assert audit.limit_violations == 0 and audit.interventions == 0 and audit.skipped_ticks == 0
    assert 0.3 < audit.worst_speed <= 1.0 and audit.ticks == len(records) + 1


@pytest.mark.parametrize("uptime", [0.0, 1e6 + 0.123456789, 3e7 + 0.7])
def test_plans_that_follow_one_another_join_exactly_however_long_the_machine_is_up(spec, limits, uptime):
    """A controller at 20 Hz, each plan continuing the last, at full acceleration: clocks must not show."""
    rng, ctrl_dt = np.random.default_rng(2), 0.05
    with ArmBridge(spec, limits, lockstep=True, clock=FakeClock(uptime)) as bridge:
        bridge.enable()
        bridge.start()
        q, v, t = bridge.snapshot().applied.applied, np.zeros(3), bridge.now()
        for _ in range(100):
            knots, speeds = [q], [v]
            for _ in range(8):
                goal = np.where(knots[-1] > HOME, -1.5, 1.5) * (rng.random(3) < 0.8)
                change = np.clip(goal - speeds[-1], -7.5 * ctrl_dt, 7.5 * ctrl_dt)
                speeds.append(speeds[-1] + change)
                knots.append(knots[-1] + (speeds[-1] + speeds[-2]) / 2 * ctrl_dt)
            bridge.submit(bridge.make_plan(knots, speeds, dt=ctrl_dt, t0=t, validity=0.2))
            q, v, t = knots[1], speeds[1], t + ctrl_dt
            bridge.sleep_until(t)
        records, found = bridge.records(), bridge.audit()
    assert found.interventions == 0 and found.limit_violations == 0 and found.worst_acceleration > 0.99
    assert np.abs(records["applied"] - records["requested"]).max() < 1e-14
    assert bridge.metrics()["plans_accepted"] == 100


def test_expiry_brakes_within_the_computed_time_then_holds(running, limits):
    plan = sweep(running, validity=0.6)
    running.submit(plan)
    running.advance(1.5)
    records = running.records()
    after = records[records["t"] >= plan.valid_until - 1e-9]
    speed = np.abs(records[records["t"] < plan.valid_until - 1e-9]["applied_dq"][-1]).max()
    assert speed > 0.7 and running.mode is Mode.HOLDING and (after["mode"] == Mode.HOLDING).all()
    stop = braking_time(speed, limits.ddq_max, DT)
    rests = after["t"][np.argmax(np.abs(after["applied_dq"]).max(1) < 1e-6)]
    assert rests <= plan.valid_until + stop + DT
    assert (after["reasons"][0] == Reason.BRAKE).all()
    assert np.abs(after["dq"][-1]).max() < 1e-3 and running.audit().limit_violations == 0
    assert "plan_expired" in kinds(running) and running.metrics()["plans_expired"] == 1


def test_a_new_plan_takes_over_from_the_braking_arm(running):
    running.submit(sweep(running, validity=0.5))
    running.advance(0.54)
    assert running.mode is Mode.HOLDING and np.abs(running.snapshot().applied.dq).max() > 0.3
    running.submit(sweep(running))
    running.advance(0.1)
    assert running.mode is Mode.RUNNING and running.audit().limit_violations == 0


def test_a_plan_starts_at_its_t0_and_the_old_one_runs_until_then(running):
    first = sweep(running)
    running.submit(first)
    running.advance(0.1)
    second = sweep(running, speed=0.2, t0=running.now() + 0.02)
    running.submit(second)
    running.advance(0.016)
    assert running.snapshot().plan_id == first.plan_id
    running.advance(0.008)
    assert running.snapshot().plan_id == second.plan_id


def test_switching_between_plans_that_do_not_match_keeps_the_limits(running):
    rng = np.random.default_rng(0)
    for _ in range(40):
        here = running.snapshot().applied.applied
        knots = here + rng.uniform(-0.09, 0.09, (1, 3))
        dq = rng.normal(0.0, 1.0, (6, 3)) if rng.random() < 0.5 else None
        running.submit(running.make_plan(knots + rng.normal(0, 0.005, (6, 3)), dq, dt=0.05))
        running.advance(rng.choice([0.02, 0.06, 0.4]))
    audit = running.audit()
    assert audit.limit_violations == 0 and audit.interventions > 0 and "limited" in kinds(running)
    assert running.metrics()["plans_accepted"] > 20


def test_a_plan_far_from_the_command_is_refused_and_the_old_one_stays(running):
    first = sweep(running)
    running.submit(first)
    running.advance(0.1)
    running.submit(running.make_plan(np.tile(HOME + 1.0, (3, 1)), dt=0.05))
    running.advance(0.05)
    assert running.snapshot().plan_id == first.plan_id and running.mode is Mode.RUNNING
    event = next(e for e in running.events() if e.kind == "plan_rejected")
    assert "rad from the command" in event.text and running.metrics()["plans_rejected"] == 1


def test_a_setpoint_is_approached_within_the_limits_and_reached(running):
    target = HOME + np.array([0.09, -0.05, 0.02])
    running.submit(running.make_plan([target], dt=0.05, validity=2.0))
    running.advance(1.5)
    np.testing.assert_allclose(running.snapshot().applied.applied, target, atol=1e-12)
    assert running.audit().limit_violations == 0
    running.advance(1.0)
    assert running.mode is Mode.HOLDING


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda b, t: {"valid_until": t + 60.0}, "valid for"),
        (lambda b, t: {"t0": t + 5.0, "valid_until": t + 6.0}, "starts in"),
        (lambda b, t: {"obs_seq": 10**6}, "of age unknown"),
        (lambda b, t: {"obs_seq": 1}, "rests on observation 1"),
        (lambda b, t: {"plan_id": 3}, "not newer"),
        (lambda b, t: {"t0": -1e308}, "started"),
        (lambda b, t: {"dt": 5e-324}, "spaced by"),
        (lambda b, t: {"dt": 1e308}, "spaced by"),
    ],
)
def test_unacceptable_plans_leave_an_event_and_nothing_else(running, make, words):
    running.advance(1.0)
    now = running.now()
    good = ArmPlan(5, now, 0.05, np.tile(HOME, (3, 1)), now + 0.5, running.limits.names)
    running.submit(good)
    running.advance(0.02)
    fields = {**good.__dict__, "plan_id": 6, **make(running, now)}
    running.submit(ArmPlan(**fields))
    running.advance(0.02)
    assert words in running.events()[-1].text and running.snapshot().plan_id == 5


def test_the_client_side_refuses_what_can_be_seen_at_once(running):
    now = running.now()
    good = {"plan_id": 5, "t0": now, "dt": 0.05, "q": np.tile(HOME, (3, 1)), "valid_until": now + 0.5}
    with pytest.raises(JointMismatch):
        running.submit(ArmPlan(**good, joint_names=("elbow", "shoulder", "wrist")))
    with pytest.raises(ShapeMismatch, match="1 to 256"):
        running.submit(running.make_plan(np.tile(HOME, (257, 1)), dt=0.05))
    with pytest.raises(StalePlan, match="expired"):
        running.submit(ArmPlan(**{**good, "valid_until": now - 0.1}, joint_names=running.limits.names))


def test_joints_are_compared_again_behind_the_client(running):
    now = running.now()
    plan = ArmPlan(5, now, 0.05, np.tile(HOME, (3, 1)), now + 0.5, ("elbow", "shoulder", "wrist"))
    assert not running._link.executor.submit(plan, now)
    assert "in this order" in running.events()[-1].text
    old = ArmPlan(6, now - 1.0, 0.05, np.tile(HOME, (3, 1)), now - 0.1, running.limits.names)
    assert not running._link.executor.submit(old, now)


def test_hold_and_stop(running):
    running.submit(sweep(running))
    running.advance(0.3)
    running.hold()
    assert running.mode is Mode.HOLDING
    running.submit(sweep(running))
    running.advance(0.3)
    assert running.mode is Mode.RUNNING
    running.stop(wait=False)
    assert running.mode is Mode.STOPPING
    running.submit(sweep(running))
    running.advance(DT)
    assert "plans need RUNNING" in running.events()[-1].text
    running.stop()
    assert running.mode is Mode.ENABLED and kinds(running)[-1] == "stopped"
    assert np.abs(running.observe().dq).max() < 0.05 and running.audit().limit_violations == 0
    running.start()
    running.submit(sweep(running))
    running.advance(0.1)
    assert running.mode is Mode.RUNNING


def test_a_hold_drops_the_plan_that_waits_as_well(running):
    """An operator's hold while the arm holds: the plan with a later t0 must not start behind it."""
    running.submit(sweep(running, t0=running.now() + 0.1))
    running.advance(0.02)
    assert running.mode is Mode.HOLDING
    running.hold()
    running.advance(0.5)
    assert running.mode is Mode.HOLDING and not running.records()["applied_dq"].any()
    assert "waiting plan" in running.events()[-1].text
    before = len(running.events())
    running.hold()
    assert len(running.events()) == before  # nothing waited, nothing to tell
    running.submit(sweep(running, t0=running.now() + 0.1))
    running.stop()
    running.start()
    running.advance(0.5)
    assert running.mode is Mode.HOLDING and not running.records()["applied_dq"].any()


def test_commands_in_the_wrong_mode(bridge):
    with pytest.raises(ModeError, match="needs ENABLED"):
        bridge.start()
    with pytest.raises(ModeError, match="connected already"):
        bridge.connect()
    bridge.reset(acknowledge=True)  # nothing to reset
    bridge.enable()
    bridge.enable()
    bridge.start()
    bridge.start()
    bridge.hold()
    with pytest.raises(ModeError, match="needs CONNECTED"):
        bridge.enable()
    bridge.submit(sweep(bridge))
    bridge.advance(0.2)
    with pytest.raises(ModeError, match="stop"):
        bridge.disable()
    bridge.stop()
    bridge.disable()
    assert bridge.mode is Mode.CONNECTED


# Things that go wrong -----------------------------------------------------------------------------------


def test_a_frozen_device_is_stale_then_disconnected_and_the_arm_is_braked(running):
    running.submit(sweep(running, validity=1.0))
    running.advance(0.4)
    frozen_at = running.now()
    driver_of(running).inject(kind="freeze")
    running.advance(0.03)
    stale = next(e for e in running.events() if e.kind == "stale")
    assert stale.t - frozen_at <= running.config.stale_s + 2 * DT
    assert running.mode is Mode.HOLDING
    running.submit(sweep(running))
    running.advance(DT)
    assert "stale" in running.events()[-1].text
    running.advance(0.2)
    assert running.mode is Mode.FAULT and running.fault.startswith("disconnected")
    fault = next(e for e in running.events() if e.kind == "fault")
    assert fault.t - frozen_at <= running.config.disconnect_after_s + 2 * DT
    assert np.abs(running.snapshot().applied.dq).max() < 1e-6 and running.audit().limit_violations == 0
    with pytest.raises(StaleState):
        running.observe(max_age=0.05)


def test_a_short_silence_heals_by_itself(running):
    running.submit(sweep(running, validity=1.0))
    running.advance(0.2)
    driver_of(running).inject(kind="drop", duration_s=0.06, at_s=running.now() - 100.0)
    running.advance(0.2)
    assert [k for k in kinds(running) if k in ("transport", "stale", "fresh", "fault")] == [
        "transport",
        "transport",
        "stale",
        "fresh",
    ]
    running.submit(sweep(running))
    running.advance(0.05)
    assert running.mode is Mode.RUNNING


def test_a_lost_link_is_latched_until_acknowledged_and_healed(running):
    driver_of(running).inject(kind="disconnect")
    running.submit(sweep(running))
    running.advance(0.02)
    assert running.mode is Mode.FAULT
    with pytest.raises(SafetyStop, match="latched"):
        running.submit(sweep(running))
    with pytest.raises(SafetyStop, match="acknowledge"):
        running.reset()
    with pytest.raises(SafetyStop, match="acknowledge"):
        running._link.executor.reset(running.now())
    with pytest.raises(Disconnected):
        running.reset(acknowledge=True)
    with pytest.raises(SafetyStop):
        running.start()
    assert running.mode is Mode.FAULT
    driver_of(running).heal()
    running.advance(0.1)
    assert running.mode is Mode.FAULT
    running.reset(acknowledge=True)
    assert running.mode is Mode.ENABLED and running.fault == ""
    running.start()
    running.submit(sweep(running))
    running.advance(0.1)
    assert running.mode is Mode.RUNNING and running.audit().limit_violations == 0


def test_a_device_fault_is_latched_and_must_clear_at_the_device(running):
    running.submit(sweep(running))
    running.advance(0.2)
    driver_of(running).inject(kind="device_fault", text="joint 2 overheated")
    running.advance(0.5)
    assert running.mode is Mode.FAULT and "overheated" in running.fault
    assert running.observe().fault == "joint 2 overheated"
    writes = running.snapshot().applied.applied
    running.reset(acknowledge=True)
    assert running.mode is Mode.ENABLED
    # The new command starts from where the arm stopped, not from where the old one had gone.
    assert np.abs(running.snapshot().applied.applied - driver_of(running).true_q).max() < 1e-3
    assert np.abs(writes - driver_of(running).true_q).max() > 1e-3
    running.advance(0.2)
    assert running.audit().limit_violations == 0 and running.metrics()["faults"] == 1


@pytest.mark.parametrize("kind", ["jam", "encoder_jump"])
def test_an_arm_that_does_not_follow_is_noticed(running, kind):
    running.submit(sweep(running, validity=1.0))
    running.advance(0.1)
    driver_of(running).inject(kind=kind, joint=1, value=0.5)
    running.advance(0.8)
    assert running.mode is Mode.FAULT and running.fault.startswith("following_error")
    assert running.audit().limit_violations == 0
    # The device holds the pose it has: nothing presses on what is in the way, and nothing jumps when it goes.
    driver, ahead = driver_of(running), running.snapshot().applied.applied
    held = driver.true_q
    pressing = np.array(driver._data.ctrl[driver._actuators])
    np.testing.assert_allclose(pressing, held, atol=1e-9 if kind == "jam" else 0.02)
    assert np.abs(ahead - running.observe().q).max() > 0.2
    driver.heal()
    running.advance(0.5)
    np.testing.assert_allclose(driver.true_q, held, atol=0.02)
    running.reset(acknowledge=True)
    running.advance(0.2)
    assert running.mode is Mode.ENABLED
    np.testing.assert_allclose(running.snapshot().applied.applied, held, atol=0.02)
    np.testing.assert_allclose(driver.true_q, held, atol=0.02)


def test_an_arm_outside_its_limits_may_only_come_back(spec, mjcf):
    limits = JointLimits(("shoulder", "elbow", "wrist"), [0.3, -1, -1], [1.0, 1, 1], [1.5] * 3, [7.5] * 3)
    with ArmBridge(spec, limits, lockstep=True) as bridge:
        bridge.enable()
        bridge.start()
        assert "out_of_limits" in kinds(bridge)
        bridge.submit(bridge.make_plan([[0.12, -0.4, 0.3]], dt=0.05, validity=1.0))
        bridge.advance(0.5)
        assert bridge.snapshot().applied.applied[0] == pytest.approx(0.2, abs=1e-6)
        bridge.submit(bridge.make_plan([[0.29, -0.4, 0.3]], dt=0.05, validity=2.0))
        bridge.advance(1.5)
        assert bridge.snapshot().applied.applied[0] == pytest.approx(0.29)


class ScriptedArm:
    """A driver whose every answer is set by the test."""

    def __init__(self, clock, **kwargs):
        self.clock, self.device_time, self.fault, self.q = clock, 0.0, None, np.zeros(2)
        self.dq = np.zeros(2)
        self.read_error = self.write_error = self.stop_error = self.enable_error = None
        self.calls: list[str] = []

    def open(self):
        return ArmInfo("scripted", ("a", "b"), 250.0)

    def enable(self):
        if self.enable_error:
            raise self.enable_error
        self.calls.append("enable")

    def read(self, deadline):
        if self.read_error:
            raise self.read_error
        self.device_time += 0.004
        return ArmState(
            int(self.device_time * 250), self.clock.now(), self.device_time, self.q, self.dq, fault=self.fault
        )

    def write(self, q, deadline):
        if self.write_error:
            raise self.write_error
        self.calls.append("write")
        self.q = np.array(q)
        return q

    def stop(self):
        self.calls.append("stop")
        if self.stop_error:
            raise self.stop_error

    def disable(self):
        self.calls.append("disable")

    def clear_faults(self):
        self.calls.append("clear")

    def close(self):
        self.calls.append("close")


@pytest.fixture
def rig():
    """Executor on a scripted arm, running; returns (executor, arm, run) where run(seconds) ticks."""
    clock, limits = FakeClock(), JointLimits(("a", "b"), [-1] * 2, [1] * 2, [1.0] * 2, [5.0] * 2)
    arm = ScriptedArm(clock)
    executor = Executor(arm, limits, BridgeConfig(), MemorySink())

    def run(seconds):
        for _ in range(round(seconds / DT)):
            clock.advance(DT)
            executor.tick(clock.now())

    executor.tick(0.0)  # closed: does nothing
    executor.connect(0.0)
    run(0.02)
    executor.enable(clock.now())
    executor.start(clock.now())
    run(0.02)
    return executor, arm, run


def last_events(executor, n=2):
    return [event.kind for event in executor.sink.events][-n:]


def test_nothing_is_written_before_enabling(rig):
    _, arm, _ = rig
    assert arm.calls[0] == "enable"


def test_write_timeouts_are_tolerated_for_a_while_then_stop_the_device(rig):
    executor, arm, run = rig
    arm.write_error = TransportTimeout("busy")
    run(0.05)
    assert executor.mode is Mode.HOLDING and last_events(executor, 1) == ["transport"]
    arm.write_error = None
    run(0.05)
    arm.write_error = TransportTimeout("busy")
    run(0.2)
    assert executor.mode is Mode.FAULT and arm.calls.count("stop") == 1
    arm.write_error = None
    writes = arm.calls.count("write")
    run(0.1)
    assert arm.calls.count("write") == writes  # the device's own stop is not overwritten
    executor.reset(executor._snapshot["record"]["t"].item(), acknowledge=True)
    run(0.1)
    assert executor.mode is Mode.ENABLED and arm.calls.count("write") > writes


def test_a_refused_write_asks_the_device_to_stop(rig):
    executor, arm, run = rig
    arm.write_error, arm.stop_error = HardwareFault("protective stop"), TransportTimeout("no answer")
    run(0.02)
    assert executor.mode is Mode.FAULT and "stop_incomplete" in last_events(executor, 1)
    assert arm.calls.count("stop") == 1


def test_a_stop_that_the_arm_does_not_confirm_is_reported(rig):
    executor, arm, run = rig
    arm.dq = np.array([0.0, 0.4])
    executor.stop(0.0)
    run(0.5)
    assert executor.mode is Mode.STOPPING
    run(0.8)
    assert executor.mode is Mode.ENABLED and last_events(executor, 1) == ["stop_incomplete"]


@pytest.mark.parametrize("trouble", ["link", "clock"])
def test_a_fault_found_while_enabling_or_resetting_stays_latched(trouble):
    clock, limits = FakeClock(), JointLimits(("a", "b"), [-1] * 2, [1] * 2, [1.0] * 2, [5.0] * 2)
    arm = ScriptedArm(clock)
    executor = Executor(arm, limits, BridgeConfig(), MemorySink())

    def run(ticks=5):
        for _ in range(ticks):
            clock.advance(DT)
            executor.tick(clock.now())

    def break_it():
        if trouble == "link":
            arm.read_error = Disconnected("gone")
        else:
            arm.device_time = 0.0

    executor.connect(0.0)
    run()
    break_it()
    with pytest.raises(SafetyStop, match="latched"):
        executor.enable(clock.now())
    assert executor.mode is Mode.FAULT and not executor.enabled and "enable" not in arm.calls
    arm.read_error = None
    run()
    executor.reset(clock.now(), acknowledge=True)
    executor.enable(clock.now())
    arm.device_time = 5.0
    run()
    break_it()
    run(1)
    assert executor.mode is Mode.FAULT
    arm.read_error, arm.device_time = None, 6.0
    run()
    break_it()
    with pytest.raises(SafetyStop, match="stays latched"):
        executor.reset(clock.now(), acknowledge=True)
    assert executor.mode is Mode.FAULT and executor.fault


@pytest.mark.parametrize("method", ["activate", "target", "expired"])
def test_a_bug_in_the_plans_brakes_and_latches(running, monkeypatch, method):
    running.submit(sweep(running, validity=1.0))
    running.advance(0.3)
    executor = running._link.executor
    monkeypatch.setattr(executor.plans, method, lambda *_: 1 / 0)
    running.submit(sweep(running, validity=1.0))
    running.advance(2 * DT)
    assert running.mode is Mode.FAULT and running.fault.startswith("plan_error: ZeroDivisionError")
    assert executor.moving
    running.advance(0.3)
    assert not executor.moving and running.audit().limit_violations == 0
    assert np.abs(running.observe().dq).max() < 0.01


def test_a_bug_in_taking_a_plan_refuses_it(running, monkeypatch):
    first = sweep(running, validity=1.0)
    running.submit(first)
    running.advance(0.1)
    monkeypatch.setattr(running._link.executor.plans, "offer", lambda *_: 1 / 0)
    running.submit(sweep(running))
    running.advance(0.1)
    assert running.snapshot().plan_id == first.plan_id and "ZeroDivisionError" in running.events()[-1].text


def test_a_plan_whose_curve_overflows_is_refused(running):
    with np.errstate(over="ignore", invalid="ignore"):
        knots = np.array([[0.2, -0.4, 0.3], [1.7e308] * 3, [-1.7e308] * 3])
        running.submit(running.make_plan(knots, np.full((3, 3), 1e308), dt=0.05, t0=running.now() - 0.07))
        running.advance(0.1)
    assert running.mode is Mode.HOLDING and "allowed 0.1 rad" in running.events()[-1].text


def test_a_device_clock_that_goes_back_is_a_fault_even_without_motion(rig):
    executor, arm, run = rig
    arm.device_time = 0.0
    run(0.008)
    assert executor.mode is Mode.FAULT and "rebooted" in executor.fault
    run(0.05)
    executor.reset(0.1, acknowledge=True)
    assert executor.mode is Mode.ENABLED


def test_reset_is_refused_while_the_condition_persists(rig):
    executor, arm, run = rig
    arm.fault = "hot"
    run(0.02)
    now = float(executor._snapshot["record"]["t"])
    with pytest.raises(HardwareFault, match="hot"):
        executor.reset(now, acknowledge=True)
    arm.fault, arm.read_error = None, TransportTimeout("gone")
    run(0.2)
    now = float(executor._snapshot["record"]["t"])
    with pytest.raises(StaleState, match="reset"):
        executor.reset(now, acknowledge=True)
    assert executor.mode is Mode.FAULT
    executor.disable(now)
    assert executor.mode is Mode.FAULT  # disabling does not clear a fault
    with pytest.raises(StaleState, match="restore the link"):
        executor.reset(now, acknowledge=True)
    arm.read_error = None
    run(0.02)
    executor.reset(now + 0.02, acknowledge=True)
    assert executor.mode is Mode.CONNECTED and not executor.enabled
    executor.close(now)
    executor.close(now)
    assert arm.calls.count("close") == 1


def test_a_driver_that_cannot_enable_leaves_the_arm_connected(bridge, monkeypatch):
    def refuse():
        raise HardwareFault("brakes do not release")

    monkeypatch.setattr(driver_of(bridge), "enable", refuse)
    with pytest.raises(HardwareFault):
        bridge.enable()
    assert bridge.mode is Mode.CONNECTED and bridge.snapshot().applied is None


def test_limits_of_another_arm_are_refused_on_connecting(spec):
    other = JointLimits(("a", "b", "c"), [-1] * 3, [1] * 3, [1] * 3, [1] * 3)
    with pytest.raises(LimitsMismatch, match="order"):
        ArmBridge(spec, other, lockstep=True).connect()
    wide = JointLimits(("shoulder", "elbow", "wrist"), [-2.5] * 3, [1] * 3, [1] * 3, [1] * 3)
    with pytest.raises(LimitsMismatch, match="outside the device"):
        ArmBridge(spec, wide, lockstep=True).connect()


@pytest.mark.parametrize(
    ("versions", "fits"), [((), True), (("mujoco *",), True), (("x", "mujoco ?.*"), True), (("5.*",), False)]
)
def test_a_firmware_that_the_limits_do_not_name_is_refused(spec, limits, versions, fits):
    told = JointLimits.from_mapping({**limits.to_mapping(), "firmware": list(versions)})
    assert told.firmware == versions and JointLimits.from_mapping(told.to_mapping()).firmware == versions
    bridge = ArmBridge(spec, told, lockstep=True)
    if fits:
        with bridge:
            assert bridge.info.firmware.startswith("mujoco")
    else:
        with pytest.raises(LimitsMismatch, match=r"has firmware 'mujoco .*compared with \['5\.\*'\]"):
            bridge.connect()


def test_firmware_is_a_list(limits):
    with pytest.raises(LimitsMismatch, match="'firmware' is 'PolyScope 5'; give a list"):
        JointLimits.from_mapping({**limits.to_mapping(), "firmware": "PolyScope 5"})


def test_a_link_that_is_frozen_from_the_start_is_noticed_on_connecting(mjcf, limits):
    kwargs = {"mjcf_path": str(mjcf), "joint_names": list(limits.names), "faults": [{"kind": "freeze"}]}
    with pytest.raises(StaleState, match="does not advance"):
        ArmBridge(DriverSpec("sim", kwargs), limits, lockstep=True).connect()


def test_use_before_connecting_and_after_closing(spec, limits):
    bridge = ArmBridge(spec, limits, lockstep=True)
    assert bridge.mode is Mode.CLOSED and bridge.name == ""
    with pytest.raises(ModeError, match="connect"):
        _ = bridge.info
    with pytest.raises(StaleState, match="connect"):
        bridge.snapshot()
    with bridge:
        bridge.enable()
        bridge.start()
        bridge.submit(sweep(bridge))
        bridge.advance(0.3)
    assert bridge.mode is Mode.CLOSED and kinds(bridge)[-3:] == ["stopped", "disabled", "closed"]
    assert bridge.audit().limit_violations == 0 and bridge.metrics()["ticks"] > 50
    assert bridge.records(clear=True).size > 50 and bridge.records().size == 0
    bridge.close()
    with pytest.raises(ModeError):
        ArmBridge(spec, limits).observe()
    with pytest.raises(ValueError, match="lockstep"):
        ArmBridge(spec, limits, clock=FakeClock())
    with pytest.raises(ValueError, match="not both"):
        ArmBridge(spec, limits, config=BridgeConfig(), rate_hz=100.0)
    assert issubclass(ModeError, BridgeError)


def test_the_servos_may_stay_on_at_the_end(spec, limits):
    with ArmBridge(spec, limits, lockstep=True, on_exit="hold") as bridge:
        bridge.enable()
        driver = driver_of(bridge)
    assert kinds(bridge)[-1] == "closed" and "disabled" not in kinds(bridge) and driver._enabled


def test_hostile_plans_and_faults_never_leave_the_limits(running, limits):
    """Whatever a planner and a bad day can do: no limit is broken, every fault ends at rest in time."""
    rng, names = np.random.default_rng(7), limits.names
    driver, executor = driver_of(running), running._link.executor
    for k in range(300):
        now, here = running.now(), running.snapshot().applied.applied
        knots = {
            0: here + rng.normal(0.0, 0.05, (6, 3)),
            1: np.where(rng.random((6, 3)) < 0.5, -1e6, 1e6) * (np.arange(6) > 0)[:, None] + here,
            2: np.linspace(here, rng.choice([-1.5, 1.5], 3), 6),
            3: rng.uniform(-1.5, 1.5, (6, 3)),
        }[int(rng.integers(4))]
        dq = rng.normal(0.0, 3.0, (6, 3)) if rng.random() < 0.5 else None
        executor.submit(
            ArmPlan(
                plan_id=int(rng.integers(k, k + 5)),
                t0=now + rng.uniform(-0.3, 0.1),
                dt=float(rng.choice([1e-6, 1e-4, 0.02, 0.3])),
                q=knots,
                dq=dq,
                valid_until=now + rng.uniform(-0.1, 0.6),
                joint_names=names if rng.random() < 0.95 else names[::-1],
            ),
            now,
        )
        if k % 30 == 29:
            kind = rng.choice(["freeze", "drop", "disconnect", "device_fault", "encoder_jump"])
            driver.inject(kind=str(kind), value=1.0)
            running.advance(0.15 + braking_time(limits.dq_max, limits.ddq_max))
            assert running.mode is Mode.FAULT and executor.filter.at_rest
            driver.heal()
            running.advance(0.1)
            running.reset(acknowledge=True)
            running.start()
        running.advance(0.04)
    found = running.audit()
    assert found.limit_violations == 0 and found.interventions > 100 and found.ticks > 3000
    assert running.metrics()["faults"] == 10 and found.worst_speed > 0.5


def test_an_empty_audit_has_nothing_to_complain_about(bridge):
    assert bridge.audit().to_mapping()["limit_violations"] == 0


def test_the_audit_finds_what_a_filter_would_have_missed(running, limits):
    from hardware import audit

    running.submit(sweep(running))
    running.advance(0.3)
    records = running.records()
    assert audit(records, limits, DT).limit_violations == 0
    for field, change in (("applied", 0.05), ("applied", 5.0)):
        bad = records.copy()
        bad[field][40] += change
        found = audit(bad, limits, DT)
        assert found.limit_violations >= 2 and found.worst_acceleration > 1.0
    assert found.worst_position > 0.0
    gap = np.delete(records, [30, 31])
    gap["t"][30:] += 0.02
    assert audit(gap, limits, DT).limit_violations == 0 and audit(gap, limits, DT).skipped_ticks == 5
