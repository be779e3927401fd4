"""Motion of the emulated arm: the reference that its drives follow, and what the controller refuses to follow.

A set-point that is missing is replaced by one of constant acceleration, as the arm does.
"""

from __future__ import annotations

import numpy as np

from ...interface import Array
from ...wire.franka import Fault, Generator
from ...wire.franka_models import ACCELERATION, JERK, Description, N
from ...wire.franka_udp import SetPoint

DT = 1e-3
"""Cycle of the controller [s]."""

_SLACK = 1.02  # what rounding to single precision and missing set-points add
_SPEED_SLACK = 1e-3  # rad/s
_LOOK_EVERY = 8  # cycles; speeds near an end change slowly
_FAULTS = (Fault.POSITION_LIMITS, Fault.VELOCITY_LIMITS, Fault.VELOCITY_DISCONTINUITY, Fault.ACCELERATION_DISCONTINUITY)


class Motion:
    """The reference and what moves it.

    Args:
        q: first pose (7,) [rad].
        description: the limits that are supervised.
    """

    def __init__(self, q: Array, description: Description) -> None:
        self._limits = description
        self.settle(q)

    def settle(self, q: Array) -> None:
        """Put the reference onto a pose (7,) [rad], at rest."""
        self.q = np.array(q, dtype=np.float64)
        self.dq, self.ddq = np.zeros_like(self.q), np.zeros_like(self.q)
        self._cycles = 0

    @property
    def at_rest(self) -> bool:
        """Whether the reference stands still."""
        return not self.dq.any()

    def follow(self, generator: Generator, setpoint: SetPoint) -> Fault | None:
        """Pass one cycle with a set-point; the fault when it is refused, then nothing has moved."""
        if generator is Generator.JOINT_POSITION:
            q = np.array(setpoint.q)
            dq = (q - self.q) / DT
        else:
            dq = np.array(setpoint.dq)
            q = self.q + dq * DT
        ddq = (dq - self.dq) / DT
        if self._cycles % _LOOK_EVERY == 0:
            self._bounds = self._look()
        self._cycles += 1
        low, high = self._bounds
        values = np.concatenate((q, dq, ddq, ddq - self.ddq))
        outside = (values < low) | (values > high)
        if outside.any():
            return _FAULTS[int(np.argmax(outside)) // N]
        self.q, self.dq, self.ddq = q, dq, ddq
        return None

    def _look(self) -> tuple[Array, Array]:
        # Bounds of position, speed, acceleration and its change, one after the other.
        low, high = self._limits.speeds(self.q)
        change = np.full(N, _SLACK * JERK * DT)
        rate = np.full(N, _SLACK * ACCELERATION)
        return (
            np.concatenate((self._limits.q_min, _SLACK * low - _SPEED_SLACK, -rate, -change)),
            np.concatenate((self._limits.q_max, _SLACK * high + _SPEED_SLACK, rate, change)),
        )

    def coast(self) -> None:
        """Pass one cycle without a set-point: constant acceleration."""
        self.dq = self.dq + self.ddq * DT
        self.q = self.q + self.dq * DT

    def brake(self) -> None:
        """Pass one cycle of a stop: each joint at its rated acceleration."""
        change = np.clip(-self.dq, -ACCELERATION * DT, ACCELERATION * DT)
        self.ddq = change / DT
        self.dq = self.dq + change
        self.q = np.clip(self.q + self.dq * DT, self._limits.q_min, self._limits.q_max)
