"""Scripts that solve the tasks from observations: for demonstrations, and to show that a task can be solved."""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .action import CartesianDelta
from .arm_env import ArmEnv
from .tasks.push import PushEnv
from .tasks.reach import ReachEnv
from .tasks.reach_avoid import ReachAvoidEnv

GAIN = 0.4
"""Share of the way that an action goes."""
CAUTIOUS = 0.15
"""The same where an arm may be late and weak."""


class Straight:
    """To the goal; over the wall where there is one."""

    def __init__(self, env: ReachEnv) -> None:
        n, self.size = env.arm.n, env.workspace.scale
        self.ee = slice(4 * n, 4 * n + 3)
        self.step = cast(CartesianDelta, env.action_mode).action_scale
        self.gain = GAIN if env.randomize is None else CAUTIOUS
        self.top = 2.0 * env.wall[1][2] + 0.1 * self.size if isinstance(env, ReachAvoidEnv) else None

    def reset(self, goal: NDArray[Any]) -> None:
        self.goal = goal.astype(np.float64)

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        ee, wanted = obs[self.ee].astype(np.float64), self.goal.copy()
        if self.top is not None and abs(ee[1] - wanted[1]) > 0.02 * self.size:
            wanted[2] = self.top
            if ee[2] < self.top - 0.03 * self.size:
                wanted[:2] = ee[:2]
        return np.clip(self.gain * (wanted - ee) / self.step, -1.0, 1.0)


class Push:
    """Over the object to behind it, down, and straight on to the goal; once more where it slips aside."""

    HIGH, LOW = 0.105, 0.055  # of the tool centre point [m], as all lengths here for a large arm
    BEHIND = 0.085
    ASIDE = 0.03  # beyond it the object has slipped
    CLOSE = 0.008

    def __init__(self, env: PushEnv) -> None:
        n, self.size = env.arm.n, env.workspace.scale
        self.ee, self.thing = slice(4 * n, 4 * n + 3), env.goal_columns
        self.step = cast(CartesianDelta, env.action_mode).action_scale / self.size

    def reset(self, goal: NDArray[Any]) -> None:
        self.goal, self.pushing = goal[:2].astype(np.float64) / self.size, False

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        ee, thing = obs[self.ee].astype(np.float64) / self.size, obs[self.thing][:2].astype(np.float64) / self.size
        left = self.goal - thing
        far = float(np.linalg.norm(left))
        heading = left / max(far, 1e-6)
        side = np.array([-heading[1], heading[0]])
        ahead, aside = float((ee[:2] - thing) @ heading), float((ee[:2] - thing) @ side)
        if far < self.CLOSE:
            return np.array([0.0, 0.0, 0.5])
        if self.pushing and (abs(aside) > self.ASIDE or ahead > 0.0):
            self.pushing = False
        spot = thing - self.BEHIND * heading
        near = float(np.linalg.norm(spot - ee[:2]))
        if self.pushing:
            # Slower where it slips, and in time: the object follows late.
            pace = min(1.0, 0.12 + far / 0.2) * max(0.3, 1.0 - abs(aside) / self.ASIDE)
            planar = pace * heading - np.clip(0.4 * aside / self.step, -0.5, 0.5) * side
            return np.clip([*planar, GAIN * (self.LOW - ee[2]) / self.step], -1.0, 1.0)
        if near < 0.02 or (near < 0.03 and ee[2] < self.HIGH - 0.02):
            wanted = np.array([*spot, self.LOW])
            self.pushing = ee[2] < self.LOW + 0.01
        else:
            wanted = np.array([*(spot if ee[2] > self.HIGH - 0.015 else ee[:2]), self.HIGH])
        return np.clip(GAIN * (wanted - ee) / self.step, -1.0, 1.0)


def expert(env: ArmEnv) -> Any:
    """A policy with `act(obs)`, perhaps `reset(goal)`; None where there is none.

    A task brings its own by a method `script`, or by a class `...Script` in its module.

    Args:
        env: with control_mode `cartesian_delta`.

    Raises:
        ValueError: it has another control mode.
    """
    if not isinstance(env.action_mode, CartesianDelta):
        raise ValueError(
            f"control_mode is {env.control_mode!r} for a script, allowed 'cartesian_delta'; "
            "set env.control_mode=cartesian_delta"
        )
    if hasattr(env, "script"):
        return env.script()
    module = sys.modules[type(env).__module__]
    for name, value in vars(module).items():
        if name.endswith("Script") and isinstance(value, type) and value.__module__ == module.__name__:
            return value(env)
    if isinstance(env, ReachEnv):
        return Straight(env)
    return Push(env) if isinstance(env, PushEnv) else None
