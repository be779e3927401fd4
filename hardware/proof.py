"""What distances and Jacobians of a moment ago prove about motions near there, without any kinematics.

A pair at distance d at a pose is, wherever its joints went from there, at least d minus the sum of their ways times
the bounds of ``Pairs.motion`` away. A point's speed changes by at most its second derivatives times the same ways.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .interface import Array

_ROUNDING = 1e-9
"""What rounding may make of a bound [m]."""


class KnownDistances:
    """Exact distances, each at the pose where it was last looked at.

    Args:
        motion: how far a pair can move per radian (pairs, n) [m/rad].
        margin: to keep (pairs,) [m].
    """

    def __init__(self, motion: Array, margin: Array) -> None:
        self._motion, self._half, self._margin = motion, 0.5 * motion, margin
        self._apart = np.full(len(margin), -np.inf)
        self._q = np.zeros_like(motion)

    def learn(self, q: Array, which: NDArray[np.int64], apart: Array) -> None:
        """Take the distances (which,) [m] of some pairs at a pose (n,) [rad]."""
        self._q[which], self._apart[which] = q, apart - _ROUNDING

    def open(self, low: Array, high: Array, longest: Array) -> NDArray[np.int64]:
        """Pairs that may come too close, or touch between two ticks.

        Args:
            low: smallest position of each joint in the motion (n,) [rad].
            high: largest (n,) [rad].
            longest: longest step of each joint in one tick (n,) [rad].
        """
        away = np.maximum(high - self._q, self._q - low)
        left = self._apart - np.einsum("ij,ij->i", self._motion, away)
        return (left < np.maximum(self._margin, self._half @ longest)).nonzero()[0]


class KnownWalls:
    """Distances of one point to planes and their slopes at one pose: exact but for the second order.

    Args:
        which: numbers of the pairs (walls,).
        normal: of the planes (walls, 3).
        reach: how far the point can move per radian (n,) [m/rad].
    """

    def __init__(self, which: NDArray[np.int64], normal: Array, reach: Array) -> None:
        self.which, self._normal, self._half_bend = which, normal, 0.5 * _bend(reach[None])[0]
        self._q, self._slope = np.zeros(len(reach)), np.zeros((len(which), len(reach)))
        self._apart = np.full(len(which), -np.inf)

    def learn(self, q: Array, apart: Array, jacobian: Array) -> None:
        """Take distances (walls,) [m] and the Jacobian of the point (3, n) [m/rad] at a pose (n,) [rad]."""
        self._q, self._apart, self._slope = q, apart - _ROUNDING, self._normal @ jacobian

    def prove(self, low: Array, high: Array) -> NDArray[np.bool_]:
        """Which walls the point stays in front of while its joints are between two poses (n,) [rad]."""
        down, up = low - self._q, high - self._q
        away = np.maximum(up, -down)
        nearer = np.minimum(self._slope * down, self._slope * up).sum(axis=1)
        return np.asarray(self._apart + nearer - away @ self._half_bend @ away >= 0.0)


class KnownSpeeds:
    """Jacobians of points at one pose, and the ticks in which a point may be too fast.

    Args:
        q: the pose (n,) [rad].
        jacobians: there (points, 3, n) [m/rad].
        reach: how far the points can move per radian (points, n) [m/rad].
        far: how far they may move in a tick [m].
    """

    def __init__(self, q: Array, jacobians: Array, reach: Array, far: float) -> None:
        self.age, self.far = 0, far
        self._q, self._jacobians = q, jacobians
        self._gram = np.swapaxes(jacobians, -1, -2) @ jacobians
        self._bend = _bend(reach)

    def prove(self, low: Array, high: Array, slowest: Array, fastest: Array) -> bool:
        """Whether no tick of a motion can be too fast, from its extremes alone.

        The square of a way J d is a sum over pairs of joints, each term at most what the extremes of both make of it.

        Args:
            low, high: of the positions (n,) [rad].
            slowest, fastest: least and largest step of each joint in a tick, with its sign (n,) [rad].
        """
        way = np.maximum(high - self._q, self._q - low)
        down, up = np.minimum(slowest, 0.0), np.maximum(fastest, 0.0)
        alike = np.maximum(np.outer(down, down), np.outer(up, up))
        against = np.outer(down, up)
        against = np.minimum(against, against.T)
        squared = np.maximum(self._gram * alike, self._gram * against).sum(axis=(1, 2))
        bound = np.sqrt(squared) + (way @ self._bend) @ np.maximum(up, -down)
        return not (bound > self.far).any()

    def open(self, rows: Array, steps: Array) -> NDArray[np.int64]:
        """Ticks of a motion (ticks + 1, n) that may be too fast; steps are the sizes of its steps (ticks, n)."""
        away, change = np.abs(rows - self._q), rows[1:] - rows[:-1]
        away = np.maximum(away[1:], away[:-1])
        fast = np.zeros(len(change), dtype=bool)
        for jacobian, bend in zip(self._jacobians, self._bend, strict=True):
            moved = change @ jacobian.T
            bound = np.sqrt(np.einsum("ij,ij->i", moved, moved)) + np.einsum("ij,ij->i", away @ bend, steps)
            fast |= bound > self.far
        return np.flatnonzero(fast)


def _bend(reach: Array) -> Array:
    """Second derivatives of points by joints i and j at most (points, n, n): what the joint nearer to it reaches."""
    joints = np.arange(reach.shape[1])
    return np.asarray(reach[:, np.maximum.outer(joints, joints)])
