"""The gripper as one number: how far it is open. One meaning for actions, observations and the predictor."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arms.arm import Arm

FloatArray = NDArray[np.float64]

GRIPPER_UNITS: dict[str, str] = {"opening": "1", "opening_rate": "1/s"}
"""Columns that follow those of the arm where the fingers move: 0 is closed and 1 open."""


class Fingers:
    """Joints of a gripper that open and close together.

    Attributes:
        n: number of joints that move.
        closed: their positions when closed (n,) [m or rad].
        opened: and when open.
    """

    def __init__(self, arm: Arm, moving: bool) -> None:
        """Look up the joints.

        Args:
            arm: the arm.
            moving: False stands for no joints at all.
        """
        ends = np.array(list(arm.fingers.values()) if moving else [], dtype=np.float64).reshape(-1, 2)
        self.closed, self.opened = ends.T
        self.n = len(ends)

    def targets(self, action: ArrayLike) -> FloatArray:
        """Set-points of the servos.

        Args:
            action: (...) from closed (-1) to open (1); values outside are clipped.

        Returns:
            Positions (..., n) [m or rad].
        """
        share = (np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)[..., None] + 1.0) / 2.0
        return self.closed + share * (self.opened - self.closed)

    def observe(self, q: FloatArray, dq: FloatArray) -> NDArray[np.float32]:
        """How far the fingers are open on average, and how fast that changes.

        Args:
            q: positions (..., n) [m or rad].
            dq: velocities (..., n) [m/s or rad/s].

        Returns:
            New array (..., 2), float32, see `GRIPPER_UNITS`.
        """
        stroke = self.opened - self.closed
        opening, rate = ((q - self.closed) / stroke).mean(axis=-1), (dq / stroke).mean(axis=-1)
        return np.stack([opening, rate], axis=-1).astype(np.float32)
