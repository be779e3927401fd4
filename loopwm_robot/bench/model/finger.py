"""dm_control's finger and spinner as a Gymnasium environment, and random actions that meet the spinner now and then."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from ...errors import RequestError
from ...types import Float32

GROUPS: dict[str, tuple[int, ...]] = {
    "joint1": (0, 4),
    "joint2": (1, 5),
    "object": (2, 3, 6),
    "touch": (7, 8),
}
"""Columns: angle and speed of the two joints [rad, rad/s]; position of the spinner's tip [m] and its speed [rad/s];
logarithm of the two touch sensors."""


class FingerEnv(gym.Env[Float32, Float32]):
    """finger-spin: two driven joints hit a free spinner. Every episode starts without contact; none terminates.

    Args:
        ctrl_dt: control step [s], a multiple of the physics step (10 ms).

    Raises:
        RequestError: dm_control is not installed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (declared as an instance variable by gym.Env)

    def __init__(self, ctrl_dt: float = 0.04) -> None:
        try:
            from dm_control.suite import finger
        except ImportError as error:
            raise RequestError(
                f"data set 'finger' needs dm_control, which cannot be imported ({error}); "
                "install it, or leave finger out of datasets"
            ) from error
        self.ctrl_dt = float(ctrl_dt)
        self._physics = finger.Physics.from_xml_string(*finger.get_model_and_assets())
        self._task = finger.Spin(random=np.random.RandomState(0))
        self._substeps = max(1, round(self.ctrl_dt / self._physics.timestep()))
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (9,), np.float32)

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together."""
        return dict(GROUPS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Put both bodies at random, apart from each other."""
        super().reset(seed=seed)
        if seed is not None:
            self._task.random.seed(seed)
        with self._physics.reset_context():
            self._task.initialize_episode(self._physics)
        return self._observe(), {"contact": False}

    def step(self, action: ArrayLike) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """One control step; `info["contact"]` tells whether the bodies touched at any instant of it."""
        self._physics.set_control(np.clip(np.asarray(action, np.float64), -1, 1))
        contact = False
        for _ in range(self._substeps):
            self._physics.step()
            contact |= self._physics.data.ncon > 0
        return self._observe(), float(self._task.get_reward(self._physics)), False, False, {"contact": contact}

    def _observe(self) -> Float32:
        physics = self._physics
        return np.concatenate([physics.bounded_position(), physics.velocity(), physics.touch()], dtype=np.float32)


class FingerExplorer:
    """Moves to one random posture near the spinner after another, with correlated noise; a third of the steps touch it.

    Args:
        rng: source of randomness.
        hold: control steps until the next posture.
        spread: deviation of the postures [rad]; at zero the finger points at the spinner.
        noise: deviation of the noise, with a correlation of 0.8 between steps.
    """

    def __init__(self, rng: np.random.Generator, hold: int = 15, spread: float = 0.8, noise: float = 0.5) -> None:
        self.rng, self.hold, self.spread, self.scale = rng, hold, spread, noise
        self.reset(np.zeros(0, np.float32))

    def reset(self, goal: Float32) -> None:
        self.steps = 0
        self.noise = self.rng.normal(size=2)

    def act(self, obs: Float32) -> Float32:
        if self.steps % self.hold == 0:
            self.target = self.spread * self.rng.normal(size=2)
        self.steps += 1
        self.noise = 0.8 * self.noise + 0.6 * self.rng.normal(size=2)
        action = self.target - obs[:2] - 0.05 * obs[4:6] + self.scale * self.noise
        return np.clip(action, -1, 1).astype(np.float32)
