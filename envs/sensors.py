"""Between the state and the observation: noise and delay, as sensors and buses have them."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .kinematics import ArmKinematics

Float32 = NDArray[np.float32]


class Sensors:
    """Adds noise to observation vectors, and hands each one over some control steps later.

    Noise is normal and independent in every number and step. That of `q` is also in `q_error` and `ee_pos`, which are
    computed from the measured joints on a real arm.

    Attributes:
        waiting: vectors that were measured and not yet handed over, oldest first (delay, n_obs); none before the first.
    """

    def __init__(
        self,
        noise: Mapping[str, float] | None,
        delay: int,
        groups: Mapping[str, slice],
        space: gym.spaces.Box,
        kinematics: ArmKinematics,
    ) -> None:
        """Check the numbers.

        Args:
            noise: standard deviation by group of the observation, in its unit; None for none.
            delay: control steps between a measurement and the observation that shows it.
            groups: columns of all groups.
            space: of the observation vector (n_obs,); measurements are clipped into it.
            kinematics: of the arm.

        Raises:
            ValueError: a group is unknown or a number is out of range.
        """
        self._std = np.zeros(space.shape)
        self._groups, self._space, self._kinematics = groups, space, kinematics
        measured = [name for name in groups if name not in ("q_error", "ref_dq", "ee_pos")]
        for name, std in (noise or {}).items():
            if name not in measured:
                raise ValueError(f"observation_noise of {name!r} is unknown, allowed {', '.join(measured)}")
            if not 0.0 <= std < np.inf:
                raise ValueError(f"observation_noise of {name!r} is {std}, allowed finite numbers from 0")
            self._std[groups[name]] = std
        if isinstance(delay, bool) or delay != int(delay) or not 0 <= delay <= 20:
            raise ValueError(f"observation_delay is {delay} control steps, allowed whole numbers [0, 20]")
        self.delay = int(delay)
        self._exact = not self._std.any()
        self.perfect = self._exact and not self.delay
        self.waiting: Float32 = np.zeros((0, len(self._std)), dtype=np.float32)

    def reset(self) -> None:
        """Forget what was measured; the first vector then stands for those before it."""
        self.waiting = self.waiting[:0]

    def read(self, vector: Float32, rng: np.random.Generator) -> Float32:
        """What is observed in a control step.

        Args:
            vector: true observation (n_obs,).
            rng: source of the noise.

        Returns:
            The measurement that arrives now, a new array (n_obs,).
        """
        if not self._exact:
            vector = self._noisy(vector, rng)
        if not self.delay:
            return vector
        if not len(self.waiting):
            self.waiting = np.repeat(vector[None], self.delay, axis=0)
        queue = np.concatenate([self.waiting, vector[None]])
        self.waiting = queue[1:]
        return queue[0].copy()

    def _noisy(self, vector: Float32, rng: np.random.Generator) -> Float32:
        noise, groups = self._std * rng.normal(size=len(vector)), self._groups
        joints = noise[groups["q"]]
        noise[groups["q_error"]] -= joints
        noise[groups["ee_pos"]] += self._kinematics.jacobian(vector[groups["q"]]) @ joints
        return np.clip(vector + noise, self._space.low, self._space.high).astype(np.float32)
