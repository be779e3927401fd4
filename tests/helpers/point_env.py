"""A point that is pushed around: small, analytic, not one of our environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class PointEnv(gym.Env[Any, Any]):
    """x' = x + GAIN a in DIMS-D, kept in [-FAR, FAR]; reward -|x - goal|; goal-dict observation (x, constant 1)."""

    ctrl_dt = 0.1
    DIMS = 2
    GAIN, START, FAR, NEAR = 0.1, 0.5, np.inf, 0.1
    """Step of an action, range of start and goal, end of the world, distance that is a success."""

    def __init__(self, steps: int = 10) -> None:
        self.steps = steps
        seen, box = (gym.spaces.Box(-5, 5, (n,), np.float32) for n in (self.DIMS + 1, self.DIMS))
        self.observation_space = gym.spaces.Dict({"observation": seen, "achieved_goal": box, "desired_goal": box})
        self.action_space = gym.spaces.Box(-1, 1, (self.DIMS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-self.START, self.START, self.DIMS), 0
        self.goal = self.np_random.uniform(-self.START, self.START, self.DIMS)
        return self._obs(), self._info()

    def step(self, action):
        self.x = np.clip(self.x + self.GAIN * np.clip(action, -1, 1), -self.FAR, self.FAR)
        self.t += 1
        info = self._info()
        return self._obs(), -info["distance"], False, self.t >= self.steps, info

    def compute_reward(self, achieved, desired, info):
        return -np.linalg.norm(achieved - desired, axis=-1)

    def _obs(self):
        x = self.x.astype(np.float32)
        return {
            "observation": np.append(x, np.float32(1)),
            "achieved_goal": x.copy(),
            "desired_goal": self.goal.astype(np.float32),
        }

    def _info(self):
        distance = float(np.linalg.norm(self.x - self.goal))
        return {"distance": distance, "is_success": distance < self.NEAR}
