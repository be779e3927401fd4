"""Does a whole stop keep clear of obstacles, of the arm itself and of its workspace's walls?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .chain import Chain
from .geometry import FastPoints, clearances, look
from .interface import Array, Reason
from .pairs import kinematics_in, list_pairs
from .scene import SceneConfig


class Guard:
    """Checks motions of a chain in a scene (``geometry``); leading axes are independent arms.

    Args:
        chain: the arm.
        scene: what to keep clear of.
        dt: tick [s].

    Attributes:
        names: of the pairs that are looked at.
        pairs: their numbers.
    """

    def __init__(self, chain: Chain, scene: SceneConfig, dt: float) -> None:
        self.chain, self.scene, self.dt = chain, scene, float(dt)
        self.names, self.pairs = list_pairs(chain, scene)
        self._arm = kinematics_in(chain, scene)
        fast = np.array([chain.index(name) for name in scene.speed_of if scene.speed_max], dtype=np.int64)
        far = float(scene.speed_max) * self.dt
        self._points = FastPoints(fast, chain.reach()[fast], far, np.uint32(Reason.POINT_SPEED))

    def clearances(self, q: ArrayLike) -> Array:
        """Distance of every pair in ``names``, surface to surface.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            distances (..., pairs) [m]; between axes or behind a plane below 0 where they overlap.
        """
        poses, lead = self.chain.as_poses(q)
        return clearances(self._arm, self.pairs, poses).reshape(*lead, len(self.names))

    def too_close(self, q: ArrayLike) -> list[str]:
        """Names of the pairs that are closer than their margin at one pose (n,) [rad]."""
        return [self.names[i] for i in np.flatnonzero(self.clearances(q) < self.pairs.margin)]

    def check(self, now: Array, path: Array, why: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
        """Look at motions as a whole.

        Args:
            now: present pose (..., n) [rad].
            path: poses to come, one per tick (ticks, ..., n) [rad].
            why: what speaks against each motion already (...); None for nothing. Such motions are not looked at.

        Returns:
            0 where it is clear, else ``Reason`` bits (...).
        """
        lead, n = now.shape[:-1], self.chain.n
        known = np.zeros(now.size // n, dtype=np.uint32) if why is None else np.ascontiguousarray(why).reshape(-1)
        poses = np.ascontiguousarray(path).reshape(len(path), -1, n)
        return self.first_clear(np.ascontiguousarray(now).reshape(-1, n), poses, known).reshape(lead)

    def first_clear(self, now: Array, path: Array, why: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """``geometry.look`` at several ways to go on for each arm; the first clear one of an arm is found."""
        return look(self._arm, self.pairs, self._points, now, path, why)
