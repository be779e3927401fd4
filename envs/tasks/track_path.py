"""Follow a target that moves along a smooth closed curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..action import CartesianDelta
from ..arm_env import FloatArray, Observation
from ..observation import observation_groups, target_groups
from ..randomize import Dynamics
from ..rendering import Polyline
from .reach import ReachEnv

HARMONICS = 3
"""Of the curve in each coordinate."""
SPREAD = (0.3, 0.9)
"""Half the extent of the curve, in shares of that of the box of goals."""
SPEED = (0.08, 0.20)
"""Greatest speed of the target on its curve, for a large arm [m/s]; full actions move the tool at 0.4 m/s."""
WINDOW = 40
"""Observations over which the error is averaged: the last 2 s at 20 Hz."""
PATH_RGBA = (0.16, 0.62, 0.33, 0.6)
LOOK_AHEAD = 0.05
"""Of the script: time by which the tool lags behind its reference [s], a servo's 0.03 s and half a control step."""


class TrackPathEnv(ReachEnv):
    """Follow a target with the tool centre point.

    In each coordinate the curve is a sum of three harmonics of one period, inside the arm's box of goals; the seed
    draws shape, place, phase and the greatest speed on it. `desired_goal` is where the target is now. The observation
    is that of the arm and then `TARGET_UNITS`: position and velocity of the target, for planners that look ahead.
    Reward as in `ReachEnv`, for the present distance.

    `info` holds `distance` [m], `tracking_error` [m]: the mean distance over the last 40 observations (2 s), infinite
    while there are fewer, and `is_success`: that error is below `threshold`, 2 cm for a large arm. The registered
    environment is truncated after 120 steps (6 s). Reset option: `q` (n,) [rad].
    """

    reset_options: ClassVar[tuple[str, ...]] = ("q",)
    radius: ClassVar[float] = 0.02  # where the target goes in 0.1 s at its fastest

    def __init__(self, *args: Any, **options: Any) -> None:
        """Load the arm; arguments as of `ReachEnv`."""
        self._curve = np.zeros((2 * HARMONICS + 1, 3))  # centre, then cosines and sines [m]
        self._rate = 0.0  # of the first harmonic [rad/s]
        self._recent = np.full(WINDOW, np.inf)
        super().__init__(*args, **options)

    @property
    def target_columns(self) -> slice:
        """Columns of the target's position and, as many, of its velocity [m, m/s]."""
        groups = target_groups(self.robot_columns)
        return slice(groups["target_pos"].start, groups["target_vel"].stop)

    def target(self, time: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Where the target is.

        Args:
            time: since the start of the episode (...) [s].

        Returns:
            Position and velocity (..., 3) [m, m/s].
        """
        rates = self._rate * np.arange(1, HARMONICS + 1)
        phase = np.asarray(time, dtype=np.float64)[..., None] * rates
        cos, sin = np.cos(phase), np.sin(phase)
        position = self._curve[0] + np.concatenate([cos, sin], axis=-1) @ self._curve[1:]
        return position, np.concatenate([-rates * sin, rates * cos], axis=-1) @ self._curve[1:]

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """The target, (..., 6); see `ArmEnv.surroundings`."""
        return np.concatenate(self.target(time), axis=-1).astype(np.float32)

    def vector_space(self) -> gym.spaces.Box:
        """Bounds of the observation vector."""
        arm, high = super().vector_space(), np.repeat(np.array([2.0, 1.0], dtype=np.float32), 3)
        low, high = np.concatenate([arm.low, -high]), np.concatenate([arm.high, high])
        return gym.spaces.Box(low, high, dtype=np.float32)

    def column_groups(self) -> dict[str, slice]:
        """Columns of the arm, then those of the target."""
        return {**super().column_groups(), **target_groups(self.robot_columns)}

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together: the joints, `ee` and `target`."""
        columns = self.target_columns
        return {**super().observation_tokens(), "target": tuple(range(columns.start, columns.stop))}

    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode; see `GoalEnv.begin`."""
        rng, half = self.np_random, (self.goal_high - self.goal_low) / 2.0
        spread = half * rng.uniform(*SPREAD, 3)
        # Weights that fall with the harmonic and add up to one keep the curve within its spread.
        weights = rng.uniform(0.5, 1.0, (HARMONICS, 3)) / np.arange(1, HARMONICS + 1)[:, None] ** 2
        phases = rng.uniform(-np.pi, np.pi, (HARMONICS, 3))
        amplitudes = spread * weights / weights.sum(axis=0)
        center = rng.uniform(self.goal_low + spread, self.goal_high - spread)
        self._curve = np.concatenate([center[None], amplitudes * np.cos(phases), amplitudes * np.sin(phases)])
        speed, self._rate = self.workspace.scale * rng.uniform(*SPEED), 1.0
        _, velocity = self.target(np.linspace(0.0, 2.0 * np.pi, 200))
        self._rate = speed / float(np.linalg.norm(velocity, axis=-1).max())
        self._recent = np.full(WINDOW, np.inf)
        self.place(options.get("q"), dynamics)
        return self.target(0.0)[0]

    def task_goal(self) -> FloatArray:
        """All that says where the target goes, and the recent errors."""
        return np.concatenate([[self._rate], self._curve.ravel(), self._recent])

    def set_task_goal(self, goal: FloatArray) -> None:
        """Restore target and errors."""
        self._rate, self._curve = float(goal[0]), goal[1:-WINDOW].reshape(-1, 3).copy()
        self._recent = goal[-WINDOW:].copy()
        self._goal = self.target(self.data.time)[0].astype(np.float32)

    def render(self, overlay: Sequence[Polyline] = ()) -> NDArray[np.uint8] | None:
        """Draw the present state, with the curve; see `ArmEnv.render`."""
        points, _ = self.target(np.linspace(0.0, 2.0 * np.pi / max(self._rate, 1e-6), 100))
        return super().render([Polyline(points, PATH_RGBA, 0.004 * self.workspace.scale), *overlay])

    def _observe(self) -> Observation:
        self._goal = self.target(self.data.time)[0].astype(np.float32)
        return super()._observe()

    def _judge(self, obs: Observation) -> tuple[float, dict[str, Any]]:
        reward, info = super()._judge(obs)
        self._recent = np.append(self._recent[1:], info["distance"])
        error = float(self._recent.mean())
        return reward, {**info, "is_success": error < self.threshold, "tracking_error": error}


class FollowScript:
    """A policy that solves the task from the observation alone: to where the target will be. For `cartesian_delta`."""

    def __init__(self, env: TrackPathEnv) -> None:
        """Look up sizes and columns.

        Raises:
            ValueError: the environment has another control mode.
        """
        if not isinstance(env.action_mode, CartesianDelta):
            raise ValueError(f"control_mode is {env.control_mode!r}, allowed 'cartesian_delta' for this script")
        self._ee, self._target = observation_groups(env.arm.n)["ee_pos"], env.target_columns
        self._step, self._dt = env.action_mode.action_scale, env.ctrl_dt

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action (3,) for an observation vector."""
        obs = np.asarray(obs, dtype=np.float64)
        position, velocity = obs[self._target].reshape(2, 3)
        way = 0.5 * (position + LOOK_AHEAD * velocity - obs[self._ee]) + self._dt * velocity
        return np.clip(way / self._step, -1.0, 1.0).astype(np.float32)
