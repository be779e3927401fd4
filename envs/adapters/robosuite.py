"""robosuite: manipulation with a Panda under operational-space control."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .suite_env import SuiteEnv, Vector, checked_name, checked_render, suite

INSTALL = (
    'pip install "mujoco==3.8.1" "dm-control==1.0.41" numba scipy opencv-python-headless tqdm termcolor, then '
    "pip install --no-deps robosuite==1.5.2 (its mink asks for numpy<2, which nothing here needs)"
)
CAMERA = "frontview"


class RobosuiteEnv(SuiteEnv):
    """A task of robosuite at 20 Hz; reward in [0, 1] a step, `info["is_success"]` is robosuite's own.

    The groups of the observation are robosuite's observables, e.g. `robot0_eef_pos`, `cube_pos`.
    """

    def __init__(
        self,
        task: str,
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        robots: str | list[str] = "Panda",
        width: int = 320,
        height: int = 240,
    ) -> None:
        """Load the task.

        Args:
            task: of robosuite, e.g. Lift.
            reward: `dense` or `sparse`.
            render_mode: None or `rgb_array`.
            robots: of robosuite, e.g. Panda, or two of them for tasks with two arms.
            width: of pictures [pixels].
            height: of pictures [pixels].

        Raises:
            ValueError: there is no such task or reward.
            ImportError: robosuite is not installed.
        """
        self.render_mode, self._size = checked_render(render_mode), (width, height)
        package = suite("robosuite", "robosuite", INSTALL)
        checked_name("task of robosuite", task, tuple(package.ALL_ENVIRONMENTS))
        checked_name("reward", reward, ("dense", "sparse"))
        self._env = package.make(
            task,
            robots=robots,
            reward_shaping=reward == "dense",
            control_freq=20,
            ignore_done=True,  # the time limit is Gymnasium's
            hard_reset=False,  # building the model anew in each reset takes most of a second
            has_renderer=False,
            has_offscreen_renderer=render_mode is not None,
            use_camera_obs=False,
            seed=0,
        )
        self._take(*self._env.action_spec)
        # "-state" repeats what stands beside it.
        obs = {name: part for name, part in self._env.reset().items() if not name.endswith("-state")}
        self._describe(obs, 1.0 / self._env.control_freq)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Start an episode. Args: seed: of everything random in it. options: none are known."""
        # In place: samplers and observables share the generator.
        self._env.rng.bit_generator.state = np.random.default_rng(self._episode_seed(seed)).bit_generator.state
        return self._vector(self._env.reset()), {"is_success": bool(self._env._check_success())}

    def step(self, action: ArrayLike) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Run one control step. Args: action: (nu,) in [-1, 1]."""
        obs, reward, *_ = self._env.step(self._scaled(action))
        return self._vector(obs), float(reward), False, False, {"is_success": bool(self._env._check_success())}

    def render(self) -> NDArray[np.uint8] | None:
        """Picture (height, width, 3) of the present state; None without render_mode."""
        if self.render_mode is None:
            return None
        width, height = self._size
        return np.asarray(self._env.sim.render(camera_name=CAMERA, width=width, height=height))[::-1].copy()
