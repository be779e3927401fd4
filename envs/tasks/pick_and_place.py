"""Grasp an object and carry it to a point on or above the table."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..action import CartesianDelta
from ..arm_env import ArmEnv, FloatArray
from .push import PushEnv
from .push_scene import add_cylinder

RADIUS, HALF_HEIGHT = 0.02, 0.025
"""Of the upright cylinder, for a large arm as all lengths here [m]: it can be grasped from any side."""
MASS = 0.1
"""[kg]; it goes with the volume."""
FRICTION = (1.0, 0.01, 0.0005)
"""Sliding, torsional and rolling friction with table and fingers."""
LIFT = 0.20
"""Greatest height of a goal above the table's [m]."""
ON_TABLE = 0.3
"""Share of the goals that lie on the table."""
START_HEIGHT = (0.12, 0.18)
"""Height of the tool centre point at the start [m]."""

GAIN = 0.4
"""Share of the way that an action of the script goes."""
DESCENT = 0.3
"""Greatest speed down to the object, as a share of the full one."""


class PickAndPlaceEnv(PushEnv):
    """Bring a cylinder of 4 x 5 cm to a goal on or above the table, with fingers that open and close.

    The last action moves the fingers: from closed (-1) to open (1). The observation is that of `PushEnv` with the two
    columns of `envs.fingers.GRIPPER_UNITS` between arm and object; for seven joints 42 numbers. The registered
    environment is truncated after 100 steps (5 s). Reward, `info` and reset options are those of `PushEnv`; a goal may
    lie up to 20 cm higher than the object.
    """

    batched = True
    gripper: ClassVar[bool] = True

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "cartesian_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Load arm, gripper and object; see `PushEnv`."""
        super().__init__(arm, control_mode, reward, render_mode, **options)
        self.rest_height = HALF_HEIGHT * self.workspace.scale

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the object."""
        ArmEnv.edit_scene(self, spec)
        scale = self.workspace.scale
        # condim: held between two points, it would turn without torsional friction
        add_cylinder(spec, RADIUS * scale, HALF_HEIGHT * scale, MASS * scale**3, FRICTION, condim=4)

    def random_start(self) -> FloatArray:
        """Draw a pose (n,) [rad] with the open hand above the table, in which the robot touches nothing."""
        for _ in range(100):
            x, y = self.np_random.uniform(self.goal_low, self.goal_high)
            z = self.workspace.scale * self.np_random.uniform(*START_HEIGHT)
            q = self.kinematics.solve_position((x, y, z), self.posture)
            self._hand_qpos[:] = self.fingers.opened
            if q is not None and self._is_free(q):
                return q
        raise RuntimeError("no free start in 100 draws above the table; give another home or table_low and table_high")

    def _random_goal(self, start: FloatArray) -> FloatArray:
        goal = super()._random_goal(start)
        height = self.np_random.uniform(0.0, LIFT * self.workspace.scale)
        if self.np_random.random() >= ON_TABLE:
            goal[2] += height
        return goal

    def _checked_goal(self, value: ArrayLike) -> FloatArray:
        goal = np.array(value, dtype=np.float64)
        if goal.shape != (3,) or not np.isfinite(goal).all():
            raise ValueError(f"goal {value!r} is not a point: need three finite coordinates in metres")
        high = self.rest_height + LIFT * self.workspace.scale
        if not self.rest_height - 1e-6 <= goal[2] <= high + 1e-6:
            raise ValueError(f"goal is at a height of {goal[2]:.4g} m, allowed [{self.rest_height:g}, {high:g}] m")
        self._check_reach("goal", goal[:2])
        return goal


class PickScript:
    """A policy that solves the task from the observation alone: over, down, grasp, carry. For `cartesian_delta`."""

    def __init__(self, env: PickAndPlaceEnv, rng: np.random.Generator | None = None, noise: float = 0.0) -> None:
        """Look up sizes and columns.

        Args:
            env: the environment, of which nothing else is used.
            rng: source of the noise; None for none.
            noise: standard deviation added to the motion.

        Raises:
            ValueError: the environment has another control mode.
        """
        if not isinstance(env.action_mode, CartesianDelta):
            raise ValueError(f"control_mode is {env.control_mode!r}, allowed 'cartesian_delta' for this script")
        self._rng, self._noise = rng, noise
        self.size, self.step = env.workspace.scale, env.action_mode.action_scale
        self._object = env.goal_columns
        self._ee = slice(4 * env.arm.n, 4 * env.arm.n + 3)
        self.reset(np.zeros(3))

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the object (3,) [m]."""
        self._goal = np.asarray(goal, dtype=np.float64)
        self._held = 0

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action (4,) for an observation vector."""
        obs = np.asarray(obs, dtype=np.float64)
        ee, thing = obs[self._ee], obs[self._object]
        aside = math.dist(ee[:2], thing[:2])
        grip = 1.0
        if self._held:
            grip = -1.0
            self._held += 1
            # The object hangs where it was grasped; its offset from the tool stays.
            wanted = ee + (self._goal - thing) if self._held > 8 else ee
            if self._held > 8 and math.dist(self._goal[:2], thing[:2]) > 0.04 * self.size:
                wanted[2] = max(wanted[2], 0.08 * self.size)
            if math.dist(ee, thing) > 0.03 * self.size:
                self._held = 0
        elif aside > 0.015 * self.size and ee[2] - thing[2] < 0.07 * self.size:
            wanted = np.array([*ee[:2], thing[2] + 0.1 * self.size])  # up, so as not to topple it
        else:
            wanted = thing.copy()
            wanted[2] += 0.09 * self.size if aside > 0.01 * self.size else 0.0
            if ee[2] - thing[2] < 0.06 * self.size:
                wanted[2] = thing[2]
            if aside < 0.012 * self.size and abs(ee[2] - thing[2]) < 0.008 * self.size:
                self._held = 1
                grip = -1.0
        move = np.clip(GAIN * (wanted - ee) / self.step, -1.0, 1.0)
        if not self._held and move[2] < 0.0 and ee[2] - thing[2] < 0.1 * self.size:
            move[2] = max(move[2], -DESCENT)  # slow enough to stay over the object
        if self._rng is not None:
            move = move + self._noise * self._rng.normal(size=3)
        return np.clip([*move, grip], -1.0, 1.0).astype(np.float32)
