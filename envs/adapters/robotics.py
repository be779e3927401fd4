"""The Fetch tasks of gymnasium-robotics."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rewards import REWARD_KINDS
from .names import FETCH
from .suite_env import SuiteEnv, checked_name, checked_render, suite

REACH_LAYOUT = {"ee_pos": 3, "opening": 2, "ee_vel": 3, "opening_rate": 2}
OBJECT_LAYOUT = {
    "ee_pos": 3,
    "object_pos": 3,
    "object_rel_pos": 3,
    "opening": 2,
    "object_euler": 3,
    "object_vel": 3,
    "object_rot_vel": 3,
    "ee_vel": 3,
    "opening_rate": 2,
}
"""Columns of their observations, and how many: robot_env.generate_mujoco_observations of gymnasium-robotics 1.4."""


class FetchEnv(SuiteEnv):
    """A goal-conditioned task of the Fetch: dict observations, `compute_reward`, `is_success` and `distance` in `info`.

    Action: displacement of the hand along x, y, z and the opening of the fingers, at 25 Hz.
    """

    def __init__(
        self,
        task: str,
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        width: int = 320,
        height: int = 240,
    ) -> None:
        """Load the task.

        Args:
            task: one of `names.FETCH`.
            reward: `dense` (minus the distance [m]) or `sparse` (0 or -1).
            render_mode: None or `rgb_array`.
            width: of pictures [pixels].
            height: of pictures [pixels].

        Raises:
            ValueError: there is no such task or reward.
            ImportError: gymnasium-robotics is not installed.
        """
        self.render_mode = checked_render(render_mode)
        checked_name("Fetch task", task, FETCH)
        checked_name("reward", reward, REWARD_KINDS)
        gym.register_envs(suite("gymnasium_robotics", "robotics"))
        options: dict[str, Any] = {} if render_mode is None else {"width": width, "height": height}
        made = gym.make(f"Fetch{task}-v4", reward_type=reward, render_mode=render_mode, **options)
        self._env = made.unwrapped
        layout = REACH_LAYOUT if task == "Reach" else OBJECT_LAYOUT
        self._describe({name: np.zeros(size) for name, size in layout.items()}, self._env.dt)
        self._take(self._env.action_space.low, self._env.action_space.high)
        self.goal_columns = self.groups["ee_pos" if task == "Reach" else "object_pos"]
        vector, point = self.observation_space, gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(
            {"observation": vector, "achieved_goal": point, "desired_goal": point}
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. Args: seed: of everything random in it. options: none are known."""
        obs, _ = self._env.reset(seed=self._episode_seed(seed))
        return self._float32(obs), self._judge(obs)

    def step(self, action: ArrayLike) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Run one control step. Args: action: (4,) in [-1, 1]."""
        obs, reward, *_ = self._env.step(self._scaled(action))
        return self._float32(obs), float(reward), False, False, self._judge(obs)

    def compute_reward(self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any) -> Any:
        """Reward (...) for any goals (..., 3) [m], for relabelling; a float for single ones."""
        reward = np.asarray(self._env.compute_reward(np.asarray(achieved_goal), np.asarray(desired_goal), {}))
        return float(reward) if reward.ndim == 0 else reward

    def render(self) -> NDArray[np.uint8] | None:
        """Picture (height, width, 3) of the present state; None without render_mode."""
        return None if self.render_mode is None else np.asarray(self._env.render())

    def _float32(self, obs: dict[str, Any]) -> dict[str, Any]:
        return {name: np.asarray(obs[name], np.float32) for name in self.observation_space.spaces}  # type: ignore[attr-defined]

    def _judge(self, obs: dict[str, Any]) -> dict[str, Any]:
        d = float(np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"]))
        return {"is_success": bool(d < self._env.distance_threshold), "distance": d}
