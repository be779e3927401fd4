"""Sampling of plans and the arithmetic of braking."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .compiled import compiled
from .interface import ArmPlan, Array
from .joint_law import TICK_TOLERANCE


def sample_plan(plan: ArmPlan, tau: float) -> tuple[Array, Array]:
    """Evaluate a plan.

    Cubic Hermite with u in [0, 1] between knots k and k+1:
    q(u) = q_k + u dt dq_k + u^2 (3 d - dt (2 dq_k + dq_k+1)) + u^3 (dt (dq_k + dq_k+1) - 2 d), d = q_k+1 -
    q_k. It reproduces constant acceleration exactly.

    Args:
        plan: the plan.
        tau: time since plan.t0 [s]; before 0 the first velocity is extrapolated, after the last knot the
            target rests.

    Returns:
        position (n,) [rad] and velocity (n,) [rad/s].
    """
    return _sample(plan.q, plan.q if plan.dq is None else plan.dq, plan.dq is not None, plan.dt, tau)


def sample_step(plan: ArmPlan, tau: float, dt: float) -> tuple[Array, Array]:
    """Position of a plan (n,) [rad] at a time tau since plan.t0 [s]; mean velocity over the dt before (n,) [rad/s]."""
    return _sample_step(plan.q, plan.q if plan.dq is None else plan.dq, plan.dq is not None, plan.dt, tau, dt)


@compiled
def _sample_step(
    q: Array, dq: Array, curved: bool, spacing: float, tau: float, dt: float
) -> tuple[Array, Array]:
    now = _sample(q, dq, curved, spacing, tau)[0]
    return now, (now - _sample(q, dq, curved, spacing, tau - dt)[0]) / dt


@compiled
def _sample(q: Array, dq: Array, curved: bool, spacing: float, tau: float) -> tuple[Array, Array]:
    last, n = len(q) - 1, q.shape[1]
    position, velocity = q[last].copy(), np.zeros(n)
    if last == 0 or tau > last * spacing:
        return position, velocity
    if tau < 0.0:
        for i in range(n):
            velocity[i] = dq[0, i] if curved else 0.0
            position[i] = q[0, i] + tau * velocity[i]
        return position, velocity
    k = min(int(tau / spacing), last - 1)
    u = tau / spacing - k
    for i in range(n):
        step = q[k + 1, i] - q[k, i]
        if not curved:
            position[i], velocity[i] = q[k, i] + u * step, step / spacing
            continue
        v0, v1 = dq[k, i] * spacing, dq[k + 1, i] * spacing
        b, c = 3.0 * step - 2.0 * v0 - v1, v0 + v1 - 2.0 * step
        position[i] = q[k, i] + u * (v0 + u * (b + u * c))
        velocity[i] = (v0 + u * (2.0 * b + 3.0 * u * c)) / spacing
    return position, velocity


def braking_time(dq: ArrayLike, ddq_max: ArrayLike, dt: float = 0.0) -> float:
    """Return the time until all joints rest when each brakes at its limit [s].

    Args:
        dq: speeds (..., n) [rad/s].
        ddq_max: braking (n,) [rad/s^2].
        dt: tick [s]; above 0 the time is that of the discrete stop, a whole number of ticks.
    """
    speed, brake = np.abs(np.asarray(dq, dtype=np.float64)), np.asarray(ddq_max, dtype=np.float64)
    if dt <= 0.0:
        return float(np.max(speed / brake))
    return float(np.max(np.ceil(speed / (brake * dt) - TICK_TOLERANCE)) * dt) + 0.0  # never -0
