"""What the distances and Jacobians at one pose prove about motions near it, without any kinematics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .interface import Array

_ROUNDING = 1e-9
"""What rounding may make of a bound [m]."""

_NONE = np.zeros(0, dtype=np.int64)


class Reference:
    """Exact distances and speeds at one pose, and what they prove about motions near it.

    Args:
        q: the pose (n,) [rad].
        apart: distances there (pairs,) [m].
        motion: how far a pair can move per radian (pairs, n) [m/rad].
        margin: to keep (pairs,) [m].
        jacobians: of the points whose speed is limited, there (points, 3, n) [m/rad].
        reach: how far these can move per radian (points, n) [m/rad].
        far: how far they may move in a tick [m].
    """

    def __init__(
        self, q: Array, apart: Array, motion: Array, margin: Array, jacobians: Array, reach: Array, far: float
    ) -> None:
        self.age = 0
        self._q, self._apart, self._motion, self._far = q, apart - _ROUNDING, motion, far
        self._margin, self._half, self._jacobians = margin, 0.5 * motion, jacobians
        # The second derivatives by joints i and j are at most what the one nearer to the point reaches.
        n = len(q)
        self._bend = np.array([[[r[max(i, j)] for j in range(n)] for i in range(n)] for r in reach]).reshape(-1, n, n)

    def open(
        self, rows: Array, steps: Array, longest: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is not proven for poses (ticks + 1, n): pairs that may come too close, ticks that may be too fast."""
        away = np.abs(rows - self._q)
        pairs = ticks = _NONE
        if len(self._margin):
            left = self._apart - self._motion @ away.max(axis=0)
            pairs = np.flatnonzero(left < np.maximum(self._margin, self._half @ longest))
        if len(self._jacobians):
            change, away = rows[1:] - rows[:-1], np.maximum(away[1:], away[:-1])
            fast = np.zeros(len(change), dtype=bool)
            for jacobian, bend in zip(self._jacobians, self._bend, strict=True):
                way = change @ jacobian.T
                bound = np.sqrt(np.einsum("ij,ij->i", way, way)) + np.einsum("ij,ij->i", away @ bend, steps)
                fast |= bound > self._far
            ticks = np.flatnonzero(fast)
        return pairs, ticks
