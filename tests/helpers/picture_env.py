"""A disc that is pushed around over a fixed background, seen in pictures: small, analytic, drawn by numpy."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from point_env import PointEnv

RADIUS = 0.12


def draw(positions: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Pictures (B, size, size, 3) of discs at positions (B, 2) in [-1, 1], with soft edges."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    apart = np.hypot(x - positions[:, 0, None, None], y - positions[:, 1, None, None])
    disc = np.clip((RADIUS * 2 - apart) / (4 / size) + 0.5, 0, 1)[..., None]
    background = np.stack([0.2 + 0.1 * x, 0.3 + 0.1 * y, np.full_like(x, 0.4)], -1)
    return np.round(255 * (background * (1 - disc) + np.array([0.9, 0.8, 0.1]) * disc)).astype(np.uint8)


class PictureEnv(PointEnv):
    """x' = x + 0.12 a, kept in [-0.7, 0.7]; reward -|x - goal|.

    Args:
        mode: image (a Box of pictures), or mixed (the position beside it, with goals).
        size: pixels of a side.
        steps: of an episode.
    """

    GAIN, START, FAR, NEAR = 0.12, 0.7, 0.7, 0.15
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, mode: str = "image", size: int = 32, steps: int = 15) -> None:
        super().__init__(steps)
        self.mode, self.size = mode, size
        picture = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        box = gym.spaces.Box(-1, 1, (2,), np.float32)
        parts = {"observation": box, "image": picture, "achieved_goal": box, "desired_goal": box}
        self.observation_space = picture if mode == "image" else gym.spaces.Dict(parts)
        self.goal_columns = slice(0, 2) if mode == "mixed" else None

    def _obs(self):
        picture, x = draw(self.x[None], self.size)[0], self.x.astype(np.float32)
        if self.mode == "image":
            return picture
        return {"observation": x, "image": picture, "achieved_goal": x.copy(), "desired_goal": self.goal.astype("f")}
