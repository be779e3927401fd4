from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmPlan, braking_time, sample_plan
from hardware.joint_law import stoppable_speed

NAMES = ("a", "b")


def plan(q, dq=None, dt=0.1):
    return ArmPlan(1, 5.0, dt, np.asarray(q), 9.0, NAMES, None if dq is None else np.asarray(dq))


def test_hermite_reproduces_a_cubic():
    def curve(t):
        return np.stack([1 - 2 * t + 3 * t**2 - 4 * t**3, 0.5 * t**2], -1)

    def slope(t):
        return np.stack([-2 + 6 * t - 12 * t**2, t], -1)

    knots = np.arange(6) * 0.1
    p = plan(curve(knots), slope(knots))
    for t in np.linspace(0.0, 0.5, 57):
        q, dq = sample_plan(p, t)
        np.testing.assert_allclose(q, curve(t), atol=1e-13)
        np.testing.assert_allclose(dq, slope(t), atol=1e-12)


def test_without_velocities_the_plan_is_piecewise_linear():
    p = plan([[0.0, 0.0], [1.0, -1.0], [1.0, 0.0]])
    q, dq = sample_plan(p, 0.05)
    np.testing.assert_allclose(q, [0.5, -0.5])
    np.testing.assert_allclose(dq, [10.0, -10.0])
    assert sample_plan(p, -1.0)[0].tolist() == [0.0, 0.0]


def test_ends():
    p = plan([[0.0, 0.0], [1.0, 2.0]], [[1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(sample_plan(p, -0.01)[0], [-0.01, -0.01])
    assert sample_plan(p, 3.0)[0].tolist() == [1.0, 2.0] and not sample_plan(p, 3.0)[1].any()
    q, dq = sample_plan(plan([[0.3, 0.4]]), 7.0)
    assert q.tolist() == [0.3, 0.4] and not dq.any()


def brake_by_hand(v, brake, dt):
    """Distance each joint still moves (n,) [rad], and the ticks until all rest."""
    left, way, ticks = np.abs(v), np.zeros_like(v), 0
    while (left > 0).any():
        left = np.maximum(left - brake * dt, 0.0)
        way += left * dt
        ticks += 1
    return way, ticks


@pytest.mark.parametrize("dt", [0.001, 0.004, 0.05])
def test_discrete_braking_is_what_a_simulated_stop_does(dt):
    rng = np.random.default_rng(0)
    brake = np.array([7.5, 3.0])
    for v in rng.uniform(-2.0, 2.0, (50, 2)):
        way, ticks = brake_by_hand(v, brake, dt)
        assert braking_time(v, brake, dt) == pytest.approx(ticks * dt)
        # The discrete stop begins one tick later and is never longer than the continuous one.
        assert (way <= v**2 / (2.0 * brake) + 1e-12).all()
        assert 0.0 <= braking_time(v, brake, dt) - braking_time(v, brake) <= dt


@pytest.mark.parametrize("dt", [0.001, 0.004, 0.05])
def test_stoppable_speed_uses_all_of_the_room_and_no_more(dt):
    room = np.concatenate([np.linspace(0.0, 1e-4, 300), np.linspace(0.0, 3.0, 300)])
    brake = np.full(600, 7.5)
    v = np.array([stoppable_speed(distance, 7.5, dt) for distance in room.tolist()])
    np.testing.assert_allclose(v * dt + brake_by_hand(v, brake, dt)[0], room, atol=1e-12)
    assert (np.diff(v[:300]) >= 0).all() and (np.diff(v[300:]) >= 0).all()
