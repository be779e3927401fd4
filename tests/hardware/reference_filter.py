"""The law of the safety filter without jerk limits, for whole arrays: what `hardware.joint_law` must agree with."""

from __future__ import annotations

import numpy as np

from hardware import JointLimits

JOIN, TAU, SLACK = 1e-9, 0.05, 1.0 + 5e-10


def stoppable(distance: np.ndarray, brake: np.ndarray, dt: float) -> np.ndarray:
    step, rate = brake * dt, distance / dt
    m = np.floor((np.sqrt(1.0 + 8.0 * rate / step) - 1.0) * 0.5)
    return (rate + step * m * (m + 1.0) * 0.5) / (m + 1.0)


def reference_step(limits: JointLimits, dt: float, state: tuple, request: np.ndarray, velocity) -> tuple:
    """Command and state after a finite request; the state is (q, v, last target, last w), each (arms, n)."""
    q, v, last_target, last_w = state
    step, v_max = limits.ddq_max * dt, limits.dq_max * SLACK
    tau = max(TAU, 4.0 * dt)
    hi, lo = np.maximum(limits.q_max, q), np.minimum(limits.q_min, q)
    target = np.clip(request, lo, hi)
    w = np.clip((target - last_target) / dt if velocity is None else velocity, -v_max, v_max)
    direct, gap = (target - q) / dt, target - w * dt - q
    on_target = np.abs(last_target - q) <= JOIN
    follow = (np.abs(gap) <= JOIN) | (on_target & (np.abs(gap) <= 0.5 * step * dt * SLACK))
    side, size = np.sign(gap), np.abs(gap)
    brake = 0.5 * np.clip(limits.ddq_max + side * ((w - last_w) / dt), 0.0, limits.ddq_max)
    corner = brake * tau**2
    fast = np.sqrt(2.0 * brake * np.maximum(size - 0.5 * corner, 0.0))
    want = np.where(follow, direct, w + side * np.where(size < corner, size / tau, fast))
    slower = np.sign(v) * np.maximum(np.abs(v) - step, 0.0)
    up = np.maximum(
        np.minimum(np.minimum(v_max, v + step * SLACK), stoppable(hi - q, limits.ddq_max, dt)), slower
    )
    down = np.minimum(
        np.maximum(np.maximum(-v_max, v - step * SLACK), -stoppable(q - lo, limits.ddq_max, dt)), slower
    )
    v = np.clip(want, down, up)
    q = np.where(v == direct, target, np.clip(q + v * dt, lo, hi))
    return q, v, target, w
