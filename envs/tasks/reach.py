"""Reach a point with the tool centre point."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arm_env import FloatArray
from ..observation import observation_groups
from ..randomize import Dynamics
from .goal import GoalEnv


class ReachEnv(GoalEnv):
    """Bring the tool centre point to a goal and hold it there.

    Observation: dict of `observation` (the arm, see `envs.observation`), `achieved_goal` (3,) [m] and
    `desired_goal` (3,) [m]. Reward: `dense` is -distance [m], `sparse` is 0 within `threshold` and -1 beyond.
    An episode never terminates; the registered environment is truncated after 60 steps (3 s). `info` holds
    `is_success` and `distance` [m] after reset and after every step. Reset options: `goal` (3,) [m] and
    `q` (n,) [rad].
    """

    batched = True

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "joint_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        goal_low: ArrayLike | None = None,
        goal_high: ArrayLike | None = None,
        **options: Any,
    ) -> None:
        """Load the arm and check that the goal box can be reached.

        Args:
            arm: name of an arm.
            control_mode: one of `envs.control_modes.CONTROL_MODES`.
            reward: `dense` or `sparse`.
            render_mode: None or `rgb_array`.
            goal_low: lower corner of the box of goals in the base frame (3,) [m]; None takes that of the arm.
            goal_high: upper corner (3,) [m].
            **options: `threshold` (radius of success [m], 0.05) and those of `ArmEnv`.

        Raises:
            ValueError: a name is unknown, a number out of range, or a corner of the box out of reach.
        """
        super().__init__(arm, control_mode, reward, render_mode, **options)
        space = self.workspace
        self.goal_low = np.array(space.reach_low if goal_low is None else goal_low, dtype=np.float64)
        self.goal_high = np.array(space.reach_high if goal_high is None else goal_high, dtype=np.float64)
        shapes = (self.goal_low.shape, self.goal_high.shape)
        if shapes != ((3,), (3,)) or not (self.goal_low <= self.goal_high).all():
            raise ValueError(
                f"goal box {self.goal_low} to {self.goal_high} m needs goal_low (3,) <= goal_high (3,)"
            )
        for corner in product(*zip(self.goal_low, self.goal_high, strict=True)):
            self._checked_goal(corner)

    @cached_property
    def goal_columns(self) -> slice:
        """Columns of the tool centre point."""
        return observation_groups(self.arm.n)["ee_pos"]

    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode; see `GoalEnv.begin`."""
        # Both are drawn in any case, so that fixing one leaves the other as the seed decides.
        goal, q = options.get("goal"), options.get("q")
        random_goal = self.np_random.uniform(self.goal_low, self.goal_high)
        self.place(q, dynamics)
        return random_goal if goal is None else self._checked_goal(goal)

    def _checked_goal(self, goal: ArrayLike) -> FloatArray:
        point = np.array(goal, dtype=np.float64)
        if point.shape != (3,) or not np.isfinite(point).all():
            raise ValueError(f"goal {goal!r} is not a point: need three finite coordinates in metres")
        if self.kinematics.solve_position(point) is None:
            raise ValueError(
                f"goal {np.round(point, 4).tolist()} m is out of reach of arm {self.arm.name!r}; "
                f"choose one within {self.workspace.reach_low.tolist()} to {self.workspace.reach_high.tolist()} m"
            )
        return point
