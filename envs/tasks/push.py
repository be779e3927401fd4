"""Push an object across the table."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray
from ..observation import object_groups, object_observation
from ..randomize import Dynamics
from .push_scene import HALF_SIZE, OBJECT_BODY, ContactProbe, add_object
from .touched import TouchedEnv

OBJECT_LOW, OBJECT_HIGH = (0.08, 1 / 11), (0.8, 10 / 11)
"""Box of the object's start, in shares of the arm's area of the table; goals lie anywhere in that area."""
GOAL_DISTANCE = 0.10
"""Least distance from the object's start to the goal, for a large arm as all lengths here [m]."""
START_DISTANCE = (0.08, 0.18)
"""Distance from the object's centre to the tool centre point at the start, in the plane [m]."""
PUSH_HEIGHT = (0.050, 0.064)
"""Height of the tool centre point at the start [m]; the peg ends 4 cm lower, below the upper edge of the object."""
REST_HEIGHT = HALF_SIZE[2]
"""Height of the object's centre on the table, and of every goal [m]."""


class PushEnv(TouchedEnv):
    """Push a box of 7 x 7 x 5 cm to a goal on the table with a peg in the hand.

    Observation: dict of `observation` (the arm as in `envs.observation`, then the object as in `OBJECT_UNITS`; 40
    numbers for seven joints), `achieved_goal` (position of the object (3,) [m]) and `desired_goal` (3,) [m].
    Reward: `dense` is -distance of the object [m], `sparse` is 0 within `threshold` and -1 beyond. The registered
    environment is truncated after 100 steps (5 s).

    `info` holds `is_success`, `distance` [m], `contact` (the robot touched the object during the step) and
    `contact_steps` (at how many of the five set-points of the step it did: looked at every 10 ms, after the physics
    steps of each).

    Reset options: `goal` (3,) [m] at the object's height, `object` (x [m], y [m], yaw [rad]) and `q` (n,) [rad].
    """

    batched = True
    reset_options: ClassVar[tuple[str, ...]] = ("goal", "object", "q")
    goal_distance: ClassVar[float] = GOAL_DISTANCE
    far: ClassVar[float] = 5.0
    """Bound of the object's position [m]."""

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "cartesian_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Load the arm and the object.

        Args:
            arm: name of an arm.
            control_mode: one of `envs.control_modes.CONTROL_MODES`.
            reward: `dense` or `sparse`.
            render_mode: None or `rgb_array`.
            **options: `threshold` (radius of success [m], 0.05) and those of `ArmEnv`, whose `start_noise` has no
                effect here.

        Raises:
            ValueError: a name is unknown or a number is out of range.
        """
        super().__init__(arm, control_mode, reward, render_mode, **options)
        space = self.workspace
        self.object_low, self.object_high = space.on_table(OBJECT_LOW, OBJECT_HIGH)
        self.goal_low, self.goal_high = space.table_low, space.table_high
        self.rest_height = REST_HEIGHT * space.scale
        self.push_height = (PUSH_HEIGHT[0] * space.scale, PUSH_HEIGHT[1] * space.scale)
        self._object_start = np.array([*(self.goal_low + self.goal_high) / 2.0, 0.0])
        self._probe = ContactProbe(self.model)

    # -- what the base class asks for --------------------------------------------

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the object."""
        super().edit_scene(spec)
        add_object(spec, self.workspace.scale)

    @property
    def posture(self) -> FloatArray:
        """A pose with the hand pointing down (n,) [rad]."""
        return self.workspace.posture.copy()

    @cached_property
    def goal_columns(self) -> slice:
        """Columns of the object's position."""
        return object_groups(self.robot_columns)["object_pos"]

    def column_groups(self) -> dict[str, slice]:
        """Columns of the robot, then those of the object."""
        return {**super().column_groups(), **object_groups(self.robot_columns)}

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together: the joints, `ee` and `object`."""
        groups = object_groups(self.robot_columns).values()
        columns = tuple(column for group in groups for column in range(group.start, group.stop))
        return {**super().observation_tokens(), "object": columns}

    def vector_space(self) -> gym.spaces.Box:
        """Bounds of the observation vector; wide enough for an object that is shot away by being squeezed."""
        arm = super().vector_space()
        high = np.array([self.far] * 3 + [1.0 + 1e-6] * 2 + [50.0] * 3 + [1000.0])
        low, high = np.concatenate([arm.low, -high]), np.concatenate([arm.high, high])
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """The object, (..., 9); see `ArmEnv.surroundings`."""
        return object_observation(qpos, qvel)

    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode; see `GoalEnv.begin`."""
        # All are drawn in any case, so that fixing one leaves the others as the seed decides.
        x, y = self.np_random.uniform(self.object_low, self.object_high)
        start = np.array([x, y, self.np_random.uniform(-math.pi, math.pi)])
        goal = self._random_goal(start[:2])
        if "object" in options:
            start = self._checked_object(options["object"])
        if "goal" in options:
            goal = self._checked_goal(options["goal"])
        self._object_start, self._goal = start, goal.astype(np.float32)
        self._contact_steps = 0
        self.place(options.get("q"), dynamics)
        return goal

    def random_start(self) -> FloatArray:
        """Draw a pose (n,) [rad] with the peg low beside the object, in which the arm touches nothing."""
        for _ in range(100):
            angle = self.start_angle()
            radius = self.workspace.scale * self.np_random.uniform(*START_DISTANCE)
            x, y = self._object_start[:2] + radius * np.array([math.cos(angle), math.sin(angle)])
            q = self.kinematics.solve_position((x, y, self.np_random.uniform(*self.push_height)), self.posture)
            if q is not None and self._is_free(q):
                return q
        raise RuntimeError(
            f"no free start in 100 draws around the object at {np.round(self._object_start, 3).tolist()}; "
            "give one that the arm reaches all around"
        )

    def start_angle(self) -> float:
        """Draw on which side of the object the hand starts [rad], 0 along x."""
        return float(self.np_random.uniform(-math.pi, math.pi))

    def place_objects(self) -> None:
        """Put the object at rest on the table."""
        x, y, yaw = self._object_start
        self._object_qpos[:] = x, y, self.rest_height, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)

    # -- inside ----------------------------------------------------------------

    def _random_goal(self, start: FloatArray) -> FloatArray:
        while True:  # at least two thirds of the box are far enough from any start
            x, y = self.np_random.uniform(self.goal_low, self.goal_high)
            if math.hypot(x - start[0], y - start[1]) >= self.goal_distance * self.workspace.scale:
                return np.array([x, y, self.rest_height])

    def _is_free(self, q: FloatArray) -> bool:
        """Whether the arm in pose q (n,) [rad] touches nothing with the object at its start."""
        self._qpos[:] = q
        self.place_objects()
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        return self._probe.robot_free(self.data)

    def _checked_object(self, value: ArrayLike) -> FloatArray:
        start = np.array(value, dtype=np.float64)
        if start.shape != (3,) or not np.isfinite(start).all():
            raise ValueError(f"{OBJECT_BODY} {value!r} is not a pose: need finite x [m], y [m] and yaw [rad]")
        self._check_reach(OBJECT_BODY, start[:2])
        return start

    def _checked_goal(self, value: ArrayLike) -> FloatArray:
        goal = np.array(value, dtype=np.float64)
        if goal.shape != (3,) or not np.isfinite(goal).all():
            raise ValueError(f"goal {value!r} is not a point: need three finite coordinates in metres")
        if abs(goal[2] - self.rest_height) > 0.005:
            raise ValueError(
                f"goal is at a height of {goal[2]:.4g} m, allowed {self.rest_height:g} m: the object's centre at rest"
            )
        self._check_reach("goal", goal[:2])
        return goal

    def _check_reach(self, name: str, xy: FloatArray) -> None:
        q = self.kinematics.solve_position((*xy, self.push_height[1]), self.posture)
        if q is None or not self.kinematics.collision_free(q):
            raise ValueError(
                f"{name} at {np.round(xy, 4).tolist()} m is out of reach of arm {self.arm.name!r}; "
                f"choose x and y within {self.goal_low.tolist()} to {self.goal_high.tolist()} m"
            )
