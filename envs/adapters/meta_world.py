"""Meta-World: 50 tasks of a Sawyer arm with a parallel gripper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .suite_env import SuiteEnv, Vector, checked_name, checked_render, checked_repeat, suite

_FRAME = {"hand_pos": 3, "opening": 1, "object_pos": 3, "object_quat": 4, "object2_pos": 3, "object2_quat": 4}
LAYOUT = {**_FRAME, **{f"previous_{name}": size for name, size in _FRAME.items()}, "goal_pos": 3}
"""Columns of its observation (39): this frame, the one before, and the goal."""


class MetaWorldEnv(SuiteEnv):
    """A task of Meta-World with its goal in the observation and start and goal drawn in each reset.

    Action: displacement of the hand along x, y, z and the force of the fingers. `info["is_success"]` is Meta-World's
    `success` of the latest step. By default the protocol of TD-MPC2: each action is held for 2 steps of 12.5 ms, the
    rewards of which add up, an episode has 100 of them (200 steps of Meta-World), and success is read on the last.
    """

    def __init__(
        self,
        task: str,
        render_mode: str | None = None,
        *,
        action_repeat: int = 2,
        width: int = 320,
        height: int = 240,
        camera: str = "corner2",
    ) -> None:
        """Load the task.

        Args:
            task: its name without a version, e.g. pick-place.
            render_mode: None or `rgb_array`.
            action_repeat: steps of Meta-World in a control step.
            width: of pictures [pixels].
            height: of pictures [pixels].
            camera: of Meta-World: corner, corner2, corner3, topview, behindGripper or gripperPOV.

        Raises:
            ValueError: there is no such task.
            ImportError: metaworld is not installed.
        """
        self._upside_down = camera.startswith("corner")  # as these cameras hang in its scene
        self.render_mode, self._repeat = checked_render(render_mode), checked_repeat(action_repeat)
        known = suite("metaworld.env_dict", "metaworld").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        ending = "-v3-goal-observable"
        checked_name("task of Meta-World", task, tuple(name.removesuffix(ending) for name in known))
        self._env = known[task + ending](seed=0, render_mode=render_mode)
        if render_mode is not None:
            model, renderer = self._env.model, self._env.mujoco_renderer
            model.vis.global_.offwidth, model.vis.global_.offheight = width, height
            renderer.width, renderer.height, renderer.camera_id = width, height, int(model.camera(camera).id)
        self._env._freeze_rand_vec, self._env.seeded_rand_vec = False, True
        self._take(self._env.action_space.low, self._env.action_space.high)
        self._describe({name: np.zeros(size) for name, size in LAYOUT.items()}, self._env.dt * self._repeat)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Start an episode. Args: seed: of everything random in it. options: none are known."""
        self._env.seed(self._episode_seed(seed))
        return self._env.reset()[0].astype(np.float32), {"is_success": False}

    def step(self, action: ArrayLike) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Run one control step. Args: action: (4,) in [-1, 1]."""
        a, total = self._scaled(action).astype(np.float32), 0.0
        for _ in range(self._repeat):
            obs, reward, _, truncated, info = self._env.step(a)
            total += float(reward)
            if truncated:
                break
        info = {**info, "is_success": bool(info["success"])}
        return obs.astype(np.float32), total, False, bool(truncated), info

    def render(self) -> NDArray[np.uint8] | None:
        """Picture (height, width, 3) of the present state; None without render_mode."""
        if self.render_mode is None:
            return None
        picture = np.asarray(self._env.render())
        return picture[::-1, ::-1].copy() if self._upside_down else picture
