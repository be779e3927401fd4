"""Laws of the safety filter: no request makes it leave the limits; a request within them passes unchanged."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from marks import slow_but

from hardware import JointLimits, Reason, SafetyFilter, sample_plan
from hardware.errors import NonFinite, ShapeMismatch
from hardware.interface import ArmPlan
from hardware.joint_law import broken, laws_of, lay_out, settle
from hardware.safety import _REASON_OF

NAMES = ("a", "b", "c")
LIMITS = JointLimits(NAMES, [-1.0, -2.0, 0.1], [1.0, 0.5, 3.0], [1.5, 0.7, 3.0], [7.5, 2.0, 30.0])
EPS = 1e-9


def check(q: np.ndarray, limits: JointLimits, dt: float) -> None:
    """q (ticks, ..., n) starts at rest and keeps all limits to 1e-9 (relative for speed and acceleration)."""
    v = np.diff(q, axis=0) / dt
    a = np.diff(v, axis=0, prepend=np.zeros_like(v[:1])) / dt
    assert np.isfinite(q).all()
    assert (q <= limits.q_max + EPS).all() and (q >= limits.q_min - EPS).all()
    assert (np.abs(v) <= limits.dq_max * (1 + EPS)).all()
    assert (np.abs(a) <= limits.ddq_max * (1 + EPS) + 1e-14 / dt**2).all()


def hostile(rng: np.random.Generator, q: np.ndarray, k: int) -> np.ndarray:
    """A request (arms, 3) of a random nasty kind for each arm."""
    shape = q.shape
    centre = (LIMITS.q_min + LIMITS.q_max) / 2
    kinds = [
        np.full(shape, np.nan),
        np.where(rng.random(shape) < 0.3, np.inf, q),
        rng.choice([-1e300, 1e300], shape),
        q + rng.normal(0.0, 1e-3, shape),
        q + rng.normal(0.0, 0.3, shape),
        rng.uniform(-4.0, 4.0, shape),
        np.where(rng.random((shape[0], 1)) < 0.5, LIMITS.q_min, LIMITS.q_max) * np.ones(shape),
        centre + 5.0 * np.sign(np.sin(0.03 * k + np.arange(shape[0])))[:, None],
        np.nextafter(LIMITS.q_max, np.inf) * np.ones(shape),
    ]
    # Kinds stay for a while, so that speed builds up before the next change.
    which = (np.arange(shape[0]) + k // 37 + rng.integers(0, 2, shape[0])) % len(kinds)
    return np.stack(kinds)[which, np.arange(shape[0])]


@pytest.mark.parametrize("dt", slow_but([0.004], [0.002, 0.004, 0.02]))
def test_no_request_leaves_the_limits(dt):
    arms, ticks = 64, 1000  # 3 x 64,000 ticks
    rng = np.random.default_rng(int(dt * 1e6))
    f = SafetyFilter(LIMITS, dt)
    f.reset(rng.uniform(LIMITS.q_min, LIMITS.q_max, (arms, 3)))
    out = [f.q]
    for k in range(ticks):
        request = hostile(rng, f.q, k)
        velocity = None if k % 3 else rng.choice([0.0, 5.0, -np.inf, np.nan], (arms, 3))
        if k % 101 < 5:
            out.append(f.brake().q)
            continue
        step = f.step(request, velocity)
        out.append(step.q)
        changed = ~(np.abs(step.q - request) <= 1e-6)
        assert (step.reasons[changed] != 0).all()
    check(np.array(out), LIMITS, dt)


def test_a_stop_is_in_store_at_every_tick():
    dt, rng = 0.004, np.random.default_rng(3)
    f = SafetyFilter(LIMITS, dt)
    f.reset(np.tile((LIMITS.q_min + LIMITS.q_max) / 2, (16, 1)))
    path = [f.q]
    for k in range(400):
        path.append(f.step(hostile(rng, f.q, k)).q)
        spare, stop = deepcopy(f), []
        while not spare.at_rest:
            stop.append(spare.brake().q)
        stop = np.array(stop)
        assert len(stop) == round(f.stopping_time / dt)
        if k % 40 == 0:
            check(
                np.concatenate([path, stop, np.repeat(stop[-1:], 2, 0)]) if len(stop) else np.array(path),
                LIMITS,
                dt,
            )
        if len(stop):
            assert (stop <= LIMITS.q_max + EPS).all() and (stop >= LIMITS.q_min - EPS).all()


@pytest.mark.parametrize("rate", [100.0, 250.0, 1000.0])
def test_admissible_plans_pass_unchanged(rate):
    """Random motion at the very limit of acceleration, as an environment's command generator makes it."""
    dt, ctrl_dt, rng = 1.0 / rate, 0.05, np.random.default_rng(1)
    limits = JointLimits(NAMES, [-1e3] * 3, [1e3] * 3, [1.5] * 3, [7.5] * 3)
    q, v, knots, speeds = np.zeros(3), np.zeros(3), [np.zeros(3)], [np.zeros(3)]
    for _ in range(100):
        v_next = np.clip(rng.choice([-1.5, 0.0, 1.5], 3), v - 7.5 * ctrl_dt, v + 7.5 * ctrl_dt)
        q, v = q + (v + v_next) / 2 * ctrl_dt, v_next
        knots.append(q)
        speeds.append(v)
    plan = ArmPlan(0, 0.0, ctrl_dt, np.array(knots), 1e9, NAMES, np.array(speeds))
    f = SafetyFilter(limits, dt)
    f.reset(np.zeros(3))
    for k in range(1, int(100 * ctrl_dt / dt)):
        request = sample_plan(plan, k * dt)[0]
        out = f.step(request)
        # Exact, up to what rounding makes of a plan that sits on the limit.
        np.testing.assert_allclose(out.q, request, rtol=0.0, atol=1e-15)
        assert not out.reasons.any()


def test_a_request_strictly_inside_the_limits_passes_to_the_last_bit():
    f = SafetyFilter(LIMITS, 0.004)
    centre = np.array([0.0, -0.5, 1.0])
    f.reset(centre)
    for k in range(1, 2000):
        request = centre + np.array([0.3, 0.1, 0.5]) * (1 - np.cos(0.004 * k * 2.0))
        assert f.step(request).q.tolist() == request.tolist()


@pytest.mark.parametrize("speed", [0.0, 0.6, -0.4])
@pytest.mark.parametrize("gap", [1e-5, 1e-3, 0.02, 0.4])
def test_catching_up_neither_overshoots_nor_swings(gap, speed):
    """After a jump to a target that moves on evenly, the distance only shrinks, to exactly zero."""
    limits = JointLimits(("a",), [-100.0], [100.0], [1.5], [7.5])
    dt = 0.004
    f = SafetyFilter(limits, dt)
    f.reset([0.0])
    q = 0.0
    for _ in range(200):  # match the speed first
        q += np.clip(speed - f.dq[0], -0.03, 0.03) * dt + f.dq[0] * dt
        f.step([q])
    errors = []
    for k in range(600):
        target = q + gap + speed * dt * (k + 1)
        out = f.step([target], [speed])
        errors.append(target - out.q[0])
    errors = np.array(errors)
    assert (errors > -1e-12).all() and (np.diff(errors) < 1e-12).all()
    assert abs(errors[-1]) < 1e-12 and not out.reasons.any()


def test_catch_up_after_a_limited_stretch_ends_on_the_target():
    """A sine too fast for the limits for a while, then gentle: the command returns to it and stays."""
    f = SafetyFilter(LIMITS, 0.004)
    f.reset([0.0, -0.5, 1.0])
    k = np.arange(3000)
    phase = np.cumsum(np.where(k < 1000, 6.0, 0.8)) * 0.004
    request = np.array([0.0, -0.5, 1.0]) + 0.5 * np.sin(phase)[:, None]
    out = [f.step(r) for r in request]
    reasons = np.array([o.reasons for o in out])
    assert reasons[:1000].any() and not reasons[2000:].any()
    assert np.abs(np.array([o.q for o in out]) - request)[2000:].max() < 1e-12


@pytest.mark.parametrize("pattern", ["steps", "square wave"])
def test_a_target_at_full_acceleration_does_not_pump_a_gap_up(pattern):
    """It leaves no acceleration to close the gap with; the gap must wait, not grow."""
    rng, dt, arms, first = np.random.default_rng(0), 0.004, 16, 1e-4
    limits = JointLimits(("a",), [-100.0], [100.0], [1.5], [7.5])
    f = SafetyFilter(limits, dt)
    f.reset(np.full((arms, 1), first))
    q, v, gaps = np.zeros((arms, 1)), np.zeros((arms, 1)), []
    goal = np.full((arms, 1), 1.5)
    for k in range(4000):
        if pattern == "square wave":
            goal[:] = 1.5 if k // 100 % 2 else -1.5
        elif k % 12 == 0:
            goal = rng.choice([-1.5, 1.5], (arms, 1))
        step = np.clip(goal - v, -0.03, 0.03)
        v, q = v + step, q + (v + step) * dt
        gaps.append(np.abs(f.step(q, v).q - q).max())
    assert max(gaps) < 3 * first and (pattern == "square wave" or gaps[-1] < 1e-6)


def test_reasons_tell_why():
    def reason(request, dt=0.004, velocity=None):
        f = SafetyFilter(LIMITS, dt)
        f.reset([0.0, 0.0, 1.0])
        return [Reason(int(r)) for r in f.step(request, velocity).reasons]

    jump = reason([0.5, 0.0, 1.0])
    assert jump[0] == Reason.VELOCITY | Reason.ACCELERATION and jump[1:] == [Reason.NONE] * 2
    assert reason([0.001, 0.0, 1.0])[0] == Reason.ACCELERATION
    assert Reason.POSITION in reason([0.0, 0.7, 1.0])[1]
    assert reason([np.nan, 0.0, 1.0]) == [Reason.NONFINITE | Reason.BRAKE] * 3
    assert reason([0.0, 0.0]) == [Reason.STRUCTURE | Reason.BRAKE] * 3
    assert reason("nonsense") == [Reason.STRUCTURE | Reason.BRAKE] * 3
    assert reason([0.0, 0.0, 1.0], velocity=[0.0]) == [Reason.STRUCTURE | Reason.BRAKE] * 3


def test_malformed_requests_brake_from_full_speed():
    f = SafetyFilter(LIMITS, 0.004)
    f.reset([-0.9, -1.0, 1.0])
    for _ in range(60):
        f.step([9.0, 9.0, 9.0])
    ticks = round(f.stopping_time / f.dt)
    assert ticks > 10
    for _ in range(ticks):
        assert not f.at_rest
        f.step([np.nan] * 3)
    assert f.at_rest and not f.brake().reasons.any()


def test_a_seed_outside_the_limits_only_moves_inwards():
    f = SafetyFilter(LIMITS, 0.004)
    f.reset([1.2, 0.0, 1.0])
    assert f.step([1.4, 0.0, 1.0]).q[0] == 1.2
    last = 1.2
    for k in range(800):
        q = f.step([0.5 if k > 20 else 1.3, 0.0, 1.0]).q[0]
        assert q <= last + 1e-15
        last = q
    assert last == pytest.approx(0.5)


def test_seeding_needs_a_proper_pose():
    f = SafetyFilter(LIMITS, 0.004)
    with pytest.raises(ValueError, match="reset"):
        f.step([0.0, 0.0, 0.0])
    with pytest.raises(NonFinite):
        f.reset([0.0, np.nan, 0.0])
    with pytest.raises(ShapeMismatch):
        f.reset([0.0, 0.0])
    with pytest.raises(ValueError, match="tick"):
        SafetyFilter(LIMITS, 0.0)


@pytest.mark.parametrize(
    ("q", "v", "why"),
    [
        ([0.004 * 9.0, 0.0, 1.0], [9.0, 0.0, 0.0], Reason.VELOCITY),
        ([0.004 * 0.5, 0.0, 1.0], [0.5, 0.0, 0.0], Reason.ACCELERATION),
        ([0.0, 0.6, 1.0], [0.0, 0.0, 0.0], Reason.POSITION),
    ],
)
def test_a_command_that_fails_the_check_is_never_taken(q, v, why):
    """By induction none comes up; were the induction wrong, the check would still hold it back."""
    laws, now, still = laws_of(LIMITS, 0.004), np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 3))
    motion = lay_out(laws, np.array([q]), np.array([v]), still)
    bits = broken(laws, now, still, still, *motion)
    assert Reason(int(_REASON_OF[bits[0]])) & why
    reasons = _REASON_OF[bits]
    path, speeds, stops = settle(*motion, reasons, *motion, reasons, now[None], still[None])
    assert stops.all() and path.tolist() == [now.tolist()] and not speeds.any()


def test_a_filter_whose_speed_is_beyond_its_limit_goes_on_with_its_stop():
    f = SafetyFilter(LIMITS, 0.004)
    f.reset([0.0, 0.0, 1.0])
    f._state = f._state._replace(v=np.array([[9.0, 0.0, 0.0]]))  # nothing but a mistake of ours leads here
    out = f.step([0.5, 0.0, 1.0])
    assert (out.reasons & Reason.VELOCITY).all() and (out.reasons & Reason.BRAKE).all()
    assert out.q.tolist() == [0.0, 0.0, 1.0] and not out.dq.any()
