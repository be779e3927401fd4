"""DeepMind's Control Suite and its manipulation tasks with the Kinova Jaco."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .suite_env import SuiteEnv, Vector, checked_name, checked_render, checked_repeat, suite

INSTALL = "pip install dm-control (for Python below 3.13, where its labmaze has wheels)"
MANIPULATION = "manipulation"
"""Domain of the tasks that dm_control composes around the Jaco."""


class DmControlEnv(SuiteEnv):
    """A task of dm_control; its reward is in [0, 1], it has no success and, with few exceptions, only a time limit.

    The groups of the observation are dm_control's own observables, e.g. `position`, `to_target`, `velocity`.
    """

    def __init__(
        self,
        domain: str,
        task: str,
        render_mode: str | None = None,
        *,
        action_repeat: int = 1,
        width: int = 320,
        height: int = 240,
        camera: int | str = 0,
    ) -> None:
        """Load the task.

        Args:
            domain: of the suite, e.g. reacher; or manipulation.
            task: e.g. hard; of manipulation without its ending _features, e.g. reach_site.
            render_mode: None or `rgb_array`.
            action_repeat: steps of dm_control in a control step; the reward is their sum.
            width: of pictures [pixels].
            height: of pictures [pixels].
            camera: of dm_control, by number or name.

        Raises:
            ValueError: there is no such task.
            ImportError: dm_control is not installed.
        """
        self.render_mode, self._repeat = checked_render(render_mode), checked_repeat(action_repeat)
        self._camera, self._size = camera, (height, width)
        if domain == MANIPULATION:
            manipulation = suite("dm_control.manipulation", "dm", INSTALL)
            known = tuple(name.removesuffix("_features") for name in manipulation.ALL if name.endswith("_features"))
            checked_name("manipulation task", task, known)
            self._env = manipulation.load(f"{task}_features", seed=0)
            self._random = self._env.random_state
        else:
            tasks = suite("dm_control.suite", "dm", INSTALL).ALL_TASKS
            checked_name("domain", domain, tuple(dict.fromkeys(name for name, _ in tasks)))
            checked_name(f"task of {domain}", task, tuple(name for where, name in tasks if where == domain))
            self._env = suite("dm_control.suite", "dm", INSTALL).load(domain, task, task_kwargs={"random": 0})
            self._random = self._env.task.random
        spec = self._env.action_spec()
        self._take(spec.minimum, spec.maximum)
        self._describe(self._env.reset().observation, self._env.control_timestep() * self._repeat)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Start an episode. Args: seed: of everything random in it. options: none are known."""
        self._random.seed(self._episode_seed(seed))
        return self._vector(self._env.reset().observation), {}

    def step(self, action: ArrayLike) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Run one control step. Args: action: (nu,) in [-1, 1]."""
        a, reward = self._scaled(action), 0.0
        for _ in range(self._repeat):
            now = self._env.step(a)
            reward += float(now.reward)
            if now.last():
                break
        ended = bool(now.last())
        failed = ended and now.discount == 0.0  # an episode that only runs out of time keeps its discount
        return self._vector(now.observation), reward, failed, ended and not failed, {}

    def render(self) -> NDArray[np.uint8] | None:
        """Picture (height, width, 3) of the present state; None without render_mode."""
        if self.render_mode is None:
            return None
        return np.asarray(self._env.physics.render(*self._size, camera_id=self._camera))
