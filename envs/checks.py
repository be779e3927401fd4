"""What an arm environment accepts; the errors say what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arms.arm import Arm

FloatArray = NDArray[np.float64]


def check_rates(action_scale: float, ctrl_dt: float, ddq_max: float, arm: Arm) -> None:
    """The arm can move as fast as actions ask for.

    Args:
        action_scale: joint displacement per control step at full action [rad].
        ctrl_dt: control step [s].
        ddq_max: acceleration limit of the reference [rad/s^2].
        arm: the arm.

    Raises:
        ValueError: it cannot.
    """
    if np.any(action_scale / ctrl_dt > arm.dq_max):
        raise ValueError(
            f"action_scale {action_scale} rad per {ctrl_dt} s is {action_scale / ctrl_dt:.3g} rad/s, "
            f"allowed up to {arm.dq_max.min():.3g} rad/s for arm {arm.name!r}"
        )
    if np.any(ddq_max > arm.ddq_max):
        raise ValueError(
            f"ddq_max is {ddq_max} rad/s^2, allowed up to {arm.ddq_max.min():.3g} rad/s^2 for arm {arm.name!r}"
        )


def checked_action(action: ArrayLike, nu: int, control_mode: str, names: Sequence[str]) -> FloatArray:
    """The action as an array (nu,).

    Args:
        action: what was given.
        nu: its size.
        control_mode: for the message.
        names: of its entries, for the message.

    Raises:
        ValueError: the action has another shape or is not finite.
    """
    a = np.asarray(action, dtype=np.float64)
    if a.shape != (nu,):
        raise ValueError(f"action has shape {a.shape}, need ({nu},) for {control_mode}")
    if not np.isfinite(a).all():
        bad = int(np.flatnonzero(~np.isfinite(a))[0])
        raise ValueError(
            f"action[{bad}] ({names[bad]}) is {a[bad]}, allowed [-1, 1]; the policy or planner diverged"
        )
    return a


def checked_actions(actions: ArrayLike, shape: tuple[int, int], control_mode: str) -> FloatArray:
    """The actions of many environments as an array (N, nu).

    Args:
        actions: what was given.
        shape: (N, nu).
        control_mode: for the message.

    Raises:
        ValueError: the actions have another shape or are not finite.
    """
    a = np.asarray(actions, dtype=np.float64)
    if a.shape != shape:
        raise ValueError(f"actions have shape {a.shape}, need {shape} for {shape[0]} environments in {control_mode}")
    if not np.isfinite(a).all():
        i, k = np.argwhere(~np.isfinite(a))[0]
        raise ValueError(
            f"action {k} of environment {i} is {a[i, k]}, allowed [-1, 1]; the policy or planner diverged"
        )
    return a


def checked_start(q: ArrayLike, arm: Arm) -> FloatArray:
    """The start pose as a new array (n,) [rad].

    Args:
        q: what was given.
        arm: the arm.

    Raises:
        ValueError: q has another shape or leaves the position limits.
    """
    pose = np.array(q, dtype=np.float64)
    if pose.shape != (arm.n,):
        raise ValueError(f"start pose q has shape {pose.shape}, need ({arm.n},) in rad")
    for i, name in enumerate(arm.joint_names):
        low, high = arm.q_min[i], arm.q_max[i]
        if not low <= pose[i] <= high:
            raise ValueError(
                f"start pose of joint {name!r} is {pose[i]:.4g} rad, allowed [{low:.4g}, {high:.4g}] rad"
            )
    return pose
