"""Reach a point with the tool centre point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import ArmEnv, FloatArray, Observation
from ..rendering import Marker
from ..rewards import REWARD_KINDS, distance, reach_reward

GOAL_LOW = (0.35, -0.30, 0.15)
GOAL_HIGH = (0.65, 0.30, 0.60)
"""Box of the goals in the base frame [m]."""


class ReachEnv(ArmEnv):
    """Bring the tool centre point to a goal and hold it there.

    Observation: dict of `observation` (the arm, see `envs.observation`), `achieved_goal` (3,) [m] and
    `desired_goal` (3,) [m]. Reward: `dense` is -distance [m], `sparse` is 0 within `threshold` and -1 beyond.
    An episode never terminates; the registered environment is truncated after 60 steps (3 s). `info` holds
    `is_success` and `distance` [m] after reset and after every step.
    """

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "joint_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        threshold: float = 0.05,
        goal_low: ArrayLike = GOAL_LOW,
        goal_high: ArrayLike = GOAL_HIGH,
        **arm_options: Any,
    ) -> None:
        """Load the arm and check that the goal box can be reached.

        Args:
            arm: name of an arm.
            control_mode: `joint_delta` or `cartesian_delta`.
            reward: `dense` or `sparse`.
            render_mode: None or `rgb_array`.
            threshold: radius of success [m].
            goal_low: lower corner of the box of goals (3,) [m].
            goal_high: upper corner (3,) [m].
            **arm_options: see `ArmEnv`.

        Raises:
            ValueError: a name is unknown, a number out of range, or a corner of the box out of reach.
        """
        super().__init__(arm, control_mode, render_mode, **arm_options)
        if reward not in REWARD_KINDS:
            raise ValueError(f"reward {reward!r} is unknown, known rewards: {', '.join(REWARD_KINDS)}")
        if not (np.isfinite(threshold) and threshold > 0):
            raise ValueError(f"threshold is {threshold} m, must be positive")
        self.reward_kind = reward
        self.threshold = float(threshold)
        self.goal_low = np.array(goal_low, dtype=np.float64)
        self.goal_high = np.array(goal_high, dtype=np.float64)
        shapes = (self.goal_low.shape, self.goal_high.shape)
        if shapes != ((3,), (3,)) or not (self.goal_low <= self.goal_high).all():
            raise ValueError(
                f"goal box {self.goal_low} to {self.goal_high} m needs goal_low (3,) <= goal_high (3,)"
            )
        for corner in product(*zip(self.goal_low, self.goal_high, strict=True)):
            self._checked_goal(corner)
        point = gym.spaces.Box(-2.0, 2.0, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(  # type: ignore[assignment]
            {"observation": self.vector_space(), "achieved_goal": point, "desired_goal": point}
        )
        self._goal = np.zeros(3, dtype=np.float32)

    @property
    def goal(self) -> NDArray[np.float32]:
        """Goal of the episode, a copy (3,) [m]."""
        return self._goal.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the random generator.
            options: `goal` (3,) [m] and `q` (n,) [rad] replace the random goal and start.

        Returns:
            Observation and info.

        Raises:
            ValueError: an option is unknown, has another shape, or is out of reach or limits.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        goal, q = options.pop("goal", None), options.pop("q", None)
        if options:
            raise ValueError(f"reset option {next(iter(options))!r} is unknown, known options: goal, q")
        # Both are drawn in any case, so that fixing one leaves the other as the seed decides.
        random_goal = self.np_random.uniform(self.goal_low, self.goal_high)
        self.place(q)
        self._goal = (random_goal if goal is None else self._checked_goal(goal)).astype(np.float32)
        obs = self._observe()
        _, info = self._judge(obs)
        return obs, info

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Run one control step. Args: action: (nu,) in [-1, 1]."""
        self.advance(action)
        obs = self._observe()
        reward, info = self._judge(obs)
        return obs, reward, False, False, info

    def compute_reward(self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any) -> Any:
        """Reward for any goals, for relabelling.

        Args:
            achieved_goal: (..., 3) [m].
            desired_goal: (..., 3) [m].
            info: not used.

        Returns:
            Reward (...); a float for single goals, equal to the reward of the step.
        """
        reward = reach_reward(achieved_goal, desired_goal, self.reward_kind, self.threshold)
        return float(reward) if reward.ndim == 0 else reward

    def compute_terminated(self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any) -> Any:
        """Always false: the task goes on until the time limit. Shapes as in `compute_reward`."""
        shape = np.broadcast_shapes(np.shape(achieved_goal), np.shape(desired_goal))[:-1]
        return np.zeros(shape, dtype=bool) if shape else False

    def compute_truncated(self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any) -> Any:
        """Always false: the time limit is a wrapper's. Shapes as in `compute_reward`."""
        return self.compute_terminated(achieved_goal, desired_goal, info)

    def markers(self) -> Sequence[Marker]:
        """The goal, as a sphere."""
        return (Marker(self._goal),)

    def task_goal(self) -> FloatArray:
        """Goal of the episode (3,) [m]."""
        return self._goal.astype(np.float64)

    def set_task_goal(self, goal: FloatArray) -> None:
        """Restore the goal."""
        self._goal = goal.astype(np.float32)

    def _observe(self) -> Observation:
        vector = self.vector_observation()
        return {
            "observation": vector,
            "achieved_goal": vector[-3:].copy(),
            "desired_goal": self._goal.copy(),
        }

    def _judge(self, obs: Observation) -> tuple[float, dict[str, Any]]:
        d = float(distance(obs["achieved_goal"], obs["desired_goal"]))
        success = d < self.threshold
        reward = -d if self.reward_kind == "dense" else float(success) - 1.0
        return reward, {"is_success": success, "distance": d}

    def _checked_goal(self, goal: ArrayLike) -> FloatArray:
        point = np.array(goal, dtype=np.float64)
        if point.shape != (3,) or not np.isfinite(point).all():
            raise ValueError(f"goal {goal!r} is not a point: need three finite coordinates in metres")
        if self.kinematics.solve_position(point) is None:
            raise ValueError(
                f"goal {np.round(point, 4).tolist()} m is out of reach of arm {self.arm.name!r}; "
                f"choose one within {list(GOAL_LOW)} to {list(GOAL_HIGH)} m"
            )
        return point
