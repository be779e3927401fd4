"""Slow motions to a pose, checked as every other: plans through the safety filter, and a look at where it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .errors import BridgeError, LimitsMismatch, ModeError
from .interface import ArmPlan, Array, Mode, frozen
from .limits import JointLimits

if TYPE_CHECKING:
    from .bridge import ArmBridge

_KNOTS = 100
_STAGE_S = 8.0
"""Longest plan [s]: a longer way is gone in stages from rest to rest, so that no plan is valid for long."""
_LEAD_S, _SETTLE_S = 0.1, 1.0


def move_to(bridge: ArmBridge, q: ArrayLike, share: float, tolerance: float) -> None:
    """Go from rest to a pose on a straight line in joint space; blocks until the arm is there.

    Args:
        bridge: ENABLED or HOLDING; HOLDING afterwards.
        q: the pose (n,) [rad].
        share: of the speed and acceleration limits that is used, above 0, at most 0.5.
        tolerance: distance of the measured pose at the end [rad].

    Raises:
        LimitsMismatch: the pose lies outside the limits; nothing has moved.
        ModeError: the bridge moves, or is not enabled; nothing has moved.
        BridgeError: the arm did not get there, because somebody or something stopped it.
    """
    limits = bridge.limits
    pose = frozen(q, "pose q [rad]", (limits.n,))
    if not 0.0 < share <= 0.5:
        raise LimitsMismatch(f"share is {share:g} of the limits, allowed above 0, at most 0.5: such a motion is slow")
    for name, low, here, high in zip(limits.names, limits.q_min, pose, limits.q_max, strict=True):
        if not low <= here <= high:
            raise LimitsMismatch(f"pose of '{name}' is {here:g} rad, allowed [{low:g}, {high:g}] rad")
    if bridge.mode is Mode.ENABLED:
        bridge.start()
    start = _resting(bridge)
    seconds = max(sweep_time(limits, pose - start, share), 10.0 * bridge.config.dt)
    stages = int(np.ceil(seconds / _STAGE_S))
    for k in range(stages):
        end = start + (k + 1) / stages * (pose - start)
        _carry_out(bridge, _stage(bridge, _resting(bridge), end, seconds / stages), end, tolerance)


def sweep_time(limits: JointLimits, way: Array, share: float) -> float:
    """Time that a share of the speed and acceleration limits leaves for `sweep` over a way (n,) [rad]."""
    way = np.abs(way)
    # (1 - cos) / 2 over T: speed pi / 2 way / T, acceleration pi^2 / 2 way / T^2.
    return max(
        float((np.pi / 2 * way / (share * limits.dq_max)).max()),
        float(np.sqrt(np.pi**2 / 2 * way / (share * limits.ddq_max)).max()),
    )


def sweep(start: Array, end: Array, seconds: float, intervals: int) -> tuple[Array, Array]:
    """A motion from rest to rest along (1 - cos) / 2.

    Args:
        start: pose (n,) [rad].
        end: pose (n,) [rad].
        seconds: that it takes.
        intervals: of equal length between its knots.

    Returns:
        Positions [rad] and velocities [rad/s], each (intervals + 1, n).
    """
    phase = np.linspace(0.0, np.pi, intervals + 1)[:, None]
    q = start + (end - start) * (1.0 - np.cos(phase)) / 2.0
    dq = (end - start) * np.sin(phase) / 2.0 * np.pi / seconds
    dq[-1] = 0.0
    return q, dq


def _stage(bridge: ArmBridge, start: Array, end: Array, seconds: float) -> ArmPlan:
    q, dq = sweep(start, end, seconds, _KNOTS)
    t0 = bridge.now() + _LEAD_S
    return bridge.make_plan(q, dq, dt=seconds / _KNOTS, t0=t0, validity=seconds + 2.0 * bridge.config.dt)


def _carry_out(bridge: ArmBridge, plan: ArmPlan, end: Array, tolerance: float) -> None:
    bridge.submit(plan)
    bridge.sleep_until(plan.t_end + 4.0 * bridge.config.dt)
    give_up = bridge.now() + _SETTLE_S
    while True:
        snapshot = bridge.snapshot()
        if not snapshot.mode.active:
            why = snapshot.fault or "somebody stopped it"
            raise BridgeError(f"the arm is {snapshot.mode.name} on its way to a pose: {why}")
        applied, state = snapshot.applied, snapshot.state
        rests = snapshot.mode is Mode.HOLDING and applied is not None and not applied.dq.any()
        away = np.inf if state is None else float(np.abs(state.q - end).max())
        if rests and away <= tolerance:
            return
        if bridge.now() > give_up:
            why = "see the events for what stopped it, or raise the tolerance"
            raise BridgeError(f"the arm is {away:.4f} rad from the pose, allowed {tolerance:g} rad; {why}")
        bridge.advance(2.0 * bridge.config.dt)


def _resting(bridge: ArmBridge) -> Array:
    """The command of an arm that holds still (n,) [rad]."""
    bridge.advance(2.0 * bridge.config.dt)
    snapshot = bridge.snapshot()
    if snapshot.mode is not Mode.HOLDING or snapshot.applied is None or snapshot.applied.dq.any():
        raise ModeError(
            f"the arm is {snapshot.mode.name}, allowed ENABLED or HOLDING, at rest; enable() or hold() it before it "
            "goes to a pose"
        )
    return snapshot.applied.applied
