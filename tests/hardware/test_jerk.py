"""Laws of the safety filter with a jerk limit, and that it is what it was without one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from hardware import ArmBridge, JointLimits, Reason, SafetyFilter, audit
from hardware.errors import LimitsMismatch
from hardware.joint_law import laws_of, lay_out
from hardware.records import record_dtype

from .reference_filter import reference_step
from .test_safety import EPS, LIMITS, check, hostile

JERKY = replace(LIMITS, dddq_max=[150.0, 12.0, 3000.0])


def jerks(q: np.ndarray, dt: float) -> np.ndarray:
    """Third differences of commands (ticks, ..., n) that start at rest [rad/s^3]."""
    v = np.diff(q, axis=0, prepend=q[:1]) / dt
    return np.diff(v, n=2, axis=0, prepend=np.zeros((2, *q.shape[1:]))) / dt**2


def check_jerk(q: np.ndarray, limits: JointLimits, dt: float) -> None:
    check(q, limits, dt)
    assert (np.abs(jerks(q, dt)) <= limits.dddq_max * (1 + EPS) + 8e-15 / dt**3).all()


def driven(dt: float, ticks: int, arms: int = 12, every: int = 0) -> tuple[SafetyFilter, np.ndarray]:
    rng = np.random.default_rng(int(dt * 1e6))
    f = SafetyFilter(JERKY, dt)
    f.reset(rng.uniform(LIMITS.q_min, LIMITS.q_max, (arms, 3)))
    path = [f.q]
    for k in range(ticks):
        if k % 101 < 5:
            path.append(f.brake().q)
            continue
        scale = 0.3 if k // 200 % 3 == 2 else 1.0
        path.append(f.step(hostile(rng, f.q, k), None if k % 3 else rng.normal(size=f.q.shape), scale).q)
        if every and k % every == 0:
            spare, stop = deepcopy(f), []
            while not spare.at_rest:
                stop.append(spare.brake().q)
            assert len(stop) * dt <= f.stopping_time + 1e-12 and len(stop) <= len(f.stop_path)
            stop.append(f.q if not stop else stop[-1])
            check_jerk(np.concatenate([path, stop, stop[-1:]]), JERKY, dt)
    return f, np.array(path)


@pytest.mark.parametrize("dt", [0.002, 0.01])
def test_no_request_leaves_the_limits_and_a_stop_within_them_is_in_store(dt):
    _, path = driven(dt, 400, arms=8, every=100)
    check_jerk(path, JERKY, dt)
    share = np.abs(jerks(path, dt)).max(axis=(0, 1)) / JERKY.dddq_max
    assert (share[:2] > 0.99).all()  # and they are used


@pytest.mark.slow
@pytest.mark.parametrize("dt", [0.001, 0.004])
def test_no_request_leaves_the_limits_in_a_long_run(dt):
    _, path = driven(dt, 4000, arms=24, every=400)
    check_jerk(path, JERKY, dt)


@pytest.mark.parametrize("dddq_max", [30.0, 300.0, 1e5])
@pytest.mark.parametrize("gap", [1e-4, 0.02, 0.7])
def test_a_jump_ends_on_the_target_and_stays(dddq_max, gap):
    limits = JointLimits(("a",), [-2.0], [2.0], [1.5], [7.5], dddq_max=[dddq_max])
    f = SafetyFilter(limits, 0.004)
    f.reset([0.0])
    path = np.array([f.step([gap]).q[0] for _ in range(1500)])
    assert np.abs(path[-100:] - gap).max() < 1e-6 and np.abs(f.dq) < 1e-5
    assert path.max() <= gap + 5e-5  # it does not swing through


def test_a_plan_whose_acceleration_steps_is_rejoined():
    """As the arm environments make plans: constant acceleration between knots."""
    dt, rng = 0.002, np.random.default_rng(0)
    limits = JointLimits(("a",), [-100.0], [100.0], [1.5], [7.5], dddq_max=[1500.0])
    f = SafetyFilter(limits, dt)
    f.reset([0.0])
    q = v = 0.0
    gaps = []
    for k in range(3000):
        if k % 25 == 0:
            a = 0.0 if k % 100 == 75 else rng.uniform(-4.0, 4.0) if abs(v) < 0.8 else -4.0 * np.sign(v)
        q, v = q + v * dt + 0.5 * a * dt**2, v + a * dt
        gaps.append(f.step([q], [v - 0.5 * a * dt]).q[0] - q)
    assert np.abs(gaps).max() < 1e-3 and np.abs(gaps).min() < 1e-9


def test_a_limit_that_binds_nothing_changes_nothing():
    """A change of 2 A in one tick is all that acceleration limits leave."""
    dt = 0.004
    loose = replace(LIMITS, dddq_max=2.0 * LIMITS.ddq_max / dt)
    filters, rng = [SafetyFilter(limits, dt) for limits in (LIMITS, loose)], np.random.default_rng(0)
    for f in filters:
        f.reset(np.tile([0.0, -0.5, 1.0], (4, 1)))
    for k in range(300):
        request = hostile(rng, filters[0].q, k)
        a, b = (f.step(request) for f in filters)
        assert a.q.tobytes() == b.q.tobytes() and (a.reasons == b.reasons).all()


@pytest.mark.parametrize("dt", [0.002, 0.01])
def test_without_one_the_law_is_that_for_whole_arrays(dt):
    """To the last bit, with and without the target's speed."""
    rng = np.random.default_rng(int(dt * 1e6))
    start = rng.uniform(LIMITS.q_min, LIMITS.q_max, (8, 3))
    f = SafetyFilter(LIMITS, dt)
    f.reset(start)
    state = (start, np.zeros_like(start), start, np.zeros_like(start))
    for k in range(400):
        request = hostile(rng, f.q, k)
        request = np.where(np.isfinite(request), request, f.q)
        velocity = None if k % 3 else rng.choice([0.0, 5.0, -0.2], request.shape)
        state = reference_step(LIMITS, dt, state, request, velocity)
        out = f.step(request, velocity)
        assert (out.q == state[0]).all() and (out.dq == state[1]).all()


@pytest.mark.parametrize("jerky", [True, False])
def test_a_stop_lands_exactly_and_takes_no_longer_than_it_must(jerky):
    rng, dt = np.random.default_rng(1), 0.004
    for _ in range(300):
        brake, jerk = rng.uniform(1.0, 20.0), 10.0 ** rng.uniform(1.0, 5.0)
        laws = laws_of(JointLimits(("a",), [-9.0], [9.0], [2.0], [brake], dddq_max=[jerk] if jerky else None), dt)
        step, jolt = brake * dt, float(laws["jolt"][0])
        u, v = rng.uniform(-1.0, 1.0) * step, rng.uniform(-2.0, 2.0)
        path, speeds = lay_out(laws, np.zeros((1, 1)), np.array([[v]]), np.array([[v - u]]))
        path, speeds = path[:, 0, 0], speeds[:, 0, 0]
        assert speeds[0] == v and path[0] == 0.0
        np.testing.assert_allclose(np.diff(path), dt * speeds[1:], rtol=0, atol=1e-14)
        changes = np.diff(speeds, prepend=v - u)
        assert abs(speeds[-1]) <= (0.0 if np.isfinite(jolt) else 1e-6 * step)
        assert (np.abs(changes) <= step * (1 + 1e-9)).all()
        turns = np.diff(np.append(changes, 0.0))
        assert (np.abs(turns) <= jolt * (1 + 1e-9) + 1e-15).all()
        if np.isfinite(jolt):  # ramp up, brake, ramp down: at most a few ticks more than without rounding to ticks
            assert len(speeds) <= abs(v) / step + 4.0 * step / jolt + 8.0
        else:
            assert len(speeds) - 1 == np.ceil(abs(v) / step - 1e-6)


def test_a_request_that_jerks_is_told_so():
    f = SafetyFilter(JERKY, 0.004)
    f.reset([0.0, 0.0, 1.0])
    reasons = f.step([0.00008, 0.0, 1.0]).reasons  # 5 rad/s^2 at once
    assert Reason(int(reasons[0])) == Reason.JERK and not reasons[1:].any()


def test_the_audit_sees_jerk_on_its_own():
    dt, n = 0.004, 40
    records = np.zeros(n, record_dtype(3))
    records["tick"], records["t"], records["sent"] = np.arange(n), dt * np.arange(n), True
    records["applied"][20:, 0] = 0.5 * 5.0 * (dt * np.arange(20)) ** 2  # 5 rad/s^2 from one tick to the next
    found = audit(records, JERKY, dt)
    assert found.limit_violations >= 1 and found.worst_jerk == pytest.approx(2.5 / dt / 150.0, rel=0.6)
    assert audit(records, LIMITS, dt).limit_violations == 0 and audit(records, LIMITS, dt).worst_jerk == 0.0


def test_a_bridge_with_a_jerk_limit_keeps_it_from_plan_to_rest(spec, limits):
    limits = replace(limits, dddq_max=[60.0] * 3)
    with ArmBridge(spec, limits, lockstep=True) as bridge:
        bridge.enable()
        bridge.start()
        here = bridge.snapshot().applied.applied
        bridge.submit(bridge.make_plan([here, here + 0.4, here + 0.1], dt=0.4, validity=0.7))
        bridge.advance(2.0)
        found = bridge.audit()
        assert found.limit_violations == 0 and 0.99 < found.worst_jerk <= 1.0 + 1e-6
        assert not bridge.records()["applied_dq"][-1].any()
        bridge.stop()
    read = JointLimits.from_mapping(limits.to_mapping())
    assert read.dddq_max.tolist() == [60.0] * 3 and JointLimits.from_mapping(LIMITS.to_mapping()).dddq_max is None
    with pytest.raises(LimitsMismatch, match=r"dddq_max 0 rad/s\^3, must be above 0"):
        replace(limits, dddq_max=[1.0, 0.0, 1.0])


def test_one_arm_and_many_do_the_same():
    """Commands, stops and stopping times agree to the last bit."""
    one, many, rng = SafetyFilter(JERKY, 0.004), SafetyFilter(JERKY, 0.004), np.random.default_rng(5)
    one.reset(np.zeros(3)), many.reset(np.zeros((2, 3)))
    for k in range(600):
        request = 0.5 * np.sin(0.004 * k * np.array([1.0, 2.0, 3.0])) + (k // 100) * rng.uniform(0.0, 0.3)
        if k % 97 > 90:
            a, b = one.brake(), many.brake()
        else:
            a, b = one.step(request), many.step(np.tile(request, (2, 1)))
        assert a.q.tobytes() == b.q[0].tobytes() and (a.reasons == b.reasons[0]).all()
        assert one.stop_path.tobytes() == many.stop_path[:, 0].tobytes()
        assert one.stopping_time == many.stopping_time
