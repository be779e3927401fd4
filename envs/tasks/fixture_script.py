"""A policy that solves buttons, drawers and doors from the observation alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..action import CartesianDelta

if TYPE_CHECKING:
    from .fixture import FixtureEnv

FloatArray = NDArray[np.float64]

GAIN = 0.4
"""Share of the way that an action goes."""
LEAD = 0.02
"""Farthest that the hand goes ahead of the part, for a large arm as all lengths here [m]."""
NEAR = 0.4
"""Share of the radius of success within which the part is left where it is."""
OVER = 0.05
"""Height of the tip above where it should be, on the way to it [m]."""
ASIDE = 0.008
"""Distance from the part's axis within which the peg comes down [m]."""
LOST = 0.03
"""Distance from it beyond which it goes up again [m]."""


class FixtureScript:
    """Over the part, down to it, along the way. For `cartesian_delta`."""

    def __init__(self, env: FixtureEnv, rng: np.random.Generator | None = None, noise: float = 0.0) -> None:
        """Look up sizes and columns.

        Args:
            env: the environment, of which geometry and layout are used, nothing of the episode.
            rng: source of the noise; None for none.
            noise: standard deviation added to the motion.

        Raises:
            ValueError: the environment has another control mode.
        """
        if not isinstance(env.action_mode, CartesianDelta):
            raise ValueError(f"control_mode is {env.control_mode!r}, allowed 'cartesian_delta' for this script")
        self._rng, self._noise, self._env = rng, noise, env
        self.size, self.step = env.workspace.scale, env.action_mode.action_scale
        self._ee, self._groups = slice(4 * env.arm.n, 4 * env.arm.n + 3), env.groups
        self._travels = env.sweep(200)
        length = np.linalg.norm(np.diff(env.path(self._travels), axis=0), axis=-1).mean()
        self._lead = max(1, round(LEAD * self.size / float(length)))
        self.reset(np.zeros(3))

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the part (3,) [m]."""
        self._goal = np.asarray(goal, dtype=np.float64)
        self._down = False

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action (3,) for an observation vector."""
        obs = np.asarray(obs, dtype=np.float64)
        axis = self._env.kinematics.tool_axis(obs[: self._env.arm.n])
        tip = obs[self._ee] + self._env.peg["length"] * self.size * axis
        move = GAIN * self.shift(obs, tip) / self.step
        move /= max(1.0, float(np.abs(move).max()))
        if self._rng is not None:
            move = move + self._noise * self._rng.normal(size=3)
        return np.clip(move, -1.0, 1.0).astype(np.float32)

    def shift(self, obs: FloatArray, tip: FloatArray) -> FloatArray:
        """Way that is left to the hand (3,) [m]. Args: obs: observation vector; tip: of the peg (3,) [m]."""
        part = obs[self._groups["part_pos"]]
        yaw = np.arctan2(*obs[self._groups["fixture_yaw"]][::-1])
        at = part - np.array([0.0, 0.0, self._env.hook * self.size])  # where the tip should be
        aside = float(np.linalg.norm(tip[:2] - at[:2])) / self.size
        if aside > LOST or (aside > ASIDE and not self._down):
            self._down = False
            wanted = at + np.array([0.0, 0.0, OVER * self.size])
            if aside > LOST and tip[2] < wanted[2] - 0.01 * self.size:
                wanted[:2] = tip[:2]  # up first
        else:
            self._down, wanted = True, at
            if tip[2] - at[2] < 0.006 * self.size:
                wanted = self._along(tip, part, at, yaw, float(obs[self._groups["travel"]][0]))
        return wanted - tip

    def _along(self, tip: FloatArray, part: FloatArray, at: FloatArray, yaw: float, travel: float) -> FloatArray:
        """Ahead by what is left, and back onto the way where the peg has play."""
        pose = np.array([0.0, 0.0, 0.0, yaw])
        pose[:3] = part - self._env.way(pose, travel)
        points = self._env.way(pose, self._travels)
        last = int(np.linalg.norm(points - self._goal, axis=-1).argmin())
        here = int(np.abs(self._travels - travel).argmin())
        target = here + int(np.clip(last - here, -self._lead, self._lead))
        move = points[target] - part
        if np.linalg.norm(self._goal - part) < NEAR * self._env.threshold:
            move *= 0.0  # with the play that the peg has, it would go to and fro for ever
        heading = move / max(float(np.linalg.norm(move)), 1e-9)
        off = at - tip
        return tip + move + off - float(off @ heading) * heading
