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
        looks: the numbers of the arm, the pairs and the points that ``geometry.look`` takes.
    """

    def __init__(self, chain: Chain, scene: SceneConfig, dt: float) -> None:
        self.chain, self.scene, self.dt = chain, scene, float(dt)
        self.names, self.pairs = list_pairs(chain, scene)
        fast = np.array([chain.index(name) for name in scene.speed_of if scene.speed_max], dtype=np.int64)
        far = float(scene.speed_max) * self.dt
        points = FastPoints(fast, chain.reach()[fast], far, np.uint32(Reason.POINT_SPEED))
        self.looks = kinematics_in(chain, scene), self.pairs, points

    def clearances(self, q: ArrayLike) -> Array:
        """Distance of every pair in ``names``, surface to surface.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            distances (..., pairs) [m]; between axes or behind a plane below 0 where they overlap.
        """
        poses, lead = self.chain.as_poses(q)
        return clearances(self.looks[0], self.pairs, poses).reshape(*lead, len(self.names))

    def too_close(self, q: ArrayLike) -> list[str]:
        """Names of the pairs that are closer than their margin at one pose (n,) [rad]."""
        return [self.names[i] for i in np.flatnonzero(self.clearances(q) < self.pairs.rows["margin"])]

    def check(self, now: Array, path: Array) -> NDArray[np.uint32]:
        """Look at motions as a whole.

        Args:
            now: present pose (..., n) [rad].
            path: poses to come, one per tick (ticks, ..., n) [rad].

        Returns:
            0 where it is clear, else ``Reason`` bits (...).
        """
        rows, lead = self.chain.as_poses(now)
        poses = self.chain.as_poses(path)[0].reshape(len(path), *rows.shape)
        nothing, nobody = np.zeros(len(rows), dtype=np.uint32), np.full(len(rows), -1)
        return look(*self.looks, rows, poses, nothing, nobody, True).reshape(lead)
