"""Sampling of plans and the arithmetic of braking."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

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
    last = plan.horizon - 1
    if last == 0 or tau > last * plan.dt:
        return plan.q[-1].copy(), np.zeros(plan.q.shape[1])
    if tau < 0.0:
        v0 = np.zeros(plan.q.shape[1]) if plan.dq is None else plan.dq[0].copy()
        return plan.q[0] + tau * v0, v0
    k = min(int(tau / plan.dt), last - 1)
    u = tau / plan.dt - k
    q0, step = plan.q[k], plan.q[k + 1] - plan.q[k]
    if plan.dq is None:
        return q0 + u * step, step / plan.dt
    v0, v1 = plan.dq[k] * plan.dt, plan.dq[k + 1] * plan.dt
    b, c = 3.0 * step - 2.0 * v0 - v1, v0 + v1 - 2.0 * step
    return q0 + u * (v0 + u * (b + u * c)), (v0 + u * (2.0 * b + 3.0 * u * c)) / plan.dt


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
