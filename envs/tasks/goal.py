"""What the tasks share: a goal that is a point, and a reward that depends on the distance to it alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import ArmEnv, FloatArray, Observation
from ..randomize import Dynamics
from ..rendering import Marker
from ..rewards import REWARD_KINDS, distance, reach_reward


class GoalEnv(ArmEnv):
    """Bring something to a point: the layout of Gymnasium's goal environments.

    Observation: dict of `observation`, `achieved_goal` (3,) [m] and `desired_goal` (3,) [m]. Reward: `dense` is
    -distance [m], `sparse` is 0 within `threshold` and -1 beyond. An episode never terminates. `info` holds
    `is_success` and `distance` [m] after reset and after every step. Where sensors have noise or delay, the reward is
    that of the observed goals, and `info` tells the truth.
    """

    reset_options: ClassVar[tuple[str, ...]] = ("goal", "q")
    radius: ClassVar[float] = 0.05
    """Of success for a large arm [m]; the default of `threshold` goes with the size of the arm."""

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "joint_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        threshold: float | None = None,
        **arm_options: Any,
    ) -> None:
        """Load the arm.

        Args:
            arm: name of an arm.
            control_mode: one of `envs.control_modes.CONTROL_MODES`.
            reward: `dense` or `sparse`.
            render_mode: None or `rgb_array`.
            threshold: radius of success [m]; None takes `radius` for a large arm, less for a small one.
            **arm_options: see `ArmEnv`.

        Raises:
            ValueError: a name is unknown or a number is out of range.
        """
        super().__init__(arm, control_mode, render_mode, **arm_options)
        if reward not in REWARD_KINDS:
            raise ValueError(f"reward {reward!r} is unknown, known rewards: {', '.join(REWARD_KINDS)}")
        if threshold is None:
            threshold = self.radius * self.workspace.scale
        if not (np.isfinite(threshold) and threshold > 0):
            raise ValueError(f"threshold is {threshold} m, must be positive")
        self.reward_kind = reward
        self.threshold = float(threshold)
        vector = self.vector_space()
        columns = self.goal_columns
        point = gym.spaces.Box(-2.0, 2.0, (3,), np.float32)
        achieved = gym.spaces.Box(vector.low[columns], vector.high[columns], dtype=np.float32)
        self.observation_space = gym.spaces.Dict(  # type: ignore[assignment]
            {"observation": vector, "achieved_goal": achieved, "desired_goal": point}
        )
        self._goal = np.zeros(3, dtype=np.float32)

    @property
    @abstractmethod
    def goal_columns(self) -> slice:
        """Columns of the observation vector that the goal is compared with."""

    @abstractmethod
    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode.

        Args:
            options: of the reset, all known by name.
            dynamics: to pass on to `place`.

        Returns:
            Goal (3,) [m].
        """

    def task_info(self) -> dict[str, Any]:
        """Entries of `info` besides `is_success` and `distance`."""
        return {}

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
            options: named in `reset_options`; each replaces what the seed would draw and leaves the rest as the
                seed decides. With `randomize` also `dynamics`, a `Dynamics`.

        Returns:
            Observation and info.

        Raises:
            ValueError: an option is unknown, has another shape, or is out of reach or limits.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        dynamics = options.pop("dynamics", None)
        if dynamics is not None and not isinstance(dynamics, Dynamics):
            raise ValueError(f"reset option 'dynamics' is {dynamics!r}, must be an envs.Dynamics")
        known = self.reset_options if self.randomize is None else (*self.reset_options, "dynamics")
        for name in options:
            if name not in known:
                raise ValueError(f"reset option {name!r} is unknown, known options: {', '.join(known)}")
        self._goal = self.begin(options, dynamics).astype(np.float32)
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
        shape = np.broadcast(np.asarray(achieved_goal)[..., 0], np.asarray(desired_goal)[..., 0]).shape
        return np.zeros(shape, dtype=bool) if shape else False

    def compute_truncated(self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any) -> Any:
        """Always false: the time limit is a wrapper's. Shapes as in `compute_reward`."""
        return self.compute_terminated(achieved_goal, desired_goal, info)

    def judge(self, achieved: NDArray[np.float32], desired: NDArray[np.float32]) -> tuple[Any, dict[str, Any]]:
        """Rewards and `info` of any goals (..., 3) [m], each (...)."""
        d = np.asarray(distance(achieved, desired), dtype=np.float64)
        success = np.asarray(d < self.threshold)
        reward = -d if self.reward_kind == "dense" else success - 1.0
        return reward, {"is_success": success, "distance": d}

    def markers(self) -> Sequence[Marker]:
        """The goal, as a sphere."""
        return (Marker(self._goal, radius=0.025 * self.workspace.scale),)

    def task_goal(self) -> FloatArray:
        """Goal of the episode (3,) [m]."""
        return self._goal.astype(np.float64)

    def set_task_goal(self, goal: FloatArray) -> None:
        """Restore the goal."""
        self._goal = goal.astype(np.float32)

    def _observe(self) -> Observation:
        vector = self.sensed_observation()
        return {
            "observation": vector,
            "achieved_goal": vector[self.goal_columns].copy(),
            "desired_goal": self._goal.copy(),
        }

    def _judge(self, obs: Observation) -> tuple[float, dict[str, Any]]:
        reward, info = self.judge(obs["achieved_goal"], obs["desired_goal"])
        if not self._sensors.perfect:  # success is about what is, the reward about what is seen
            _, info = self.judge(self.vector_observation()[self.goal_columns], obs["desired_goal"])
        return float(reward), {**{name: value.item() for name, value in info.items()}, **self.task_info()}
