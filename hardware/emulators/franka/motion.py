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

_APPROACH = 0.8 * ACCELERATION
"""Acceleration of the arm's own motion generator [rad/s^2]; the device's is not published."""

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
        low, high = self._look()
        values = np.concatenate((q, dq, ddq, ddq - self.ddq))
        outside = (values < low) | (values > high)
        if outside.any():
            return _FAULTS[int(np.argmax(outside)) // N]
        self.q, self.dq, self.ddq = q, dq, ddq
        return None

    def approach(self, target: Array, speeds: Array) -> Fault | None:
        """Pass one cycle of the arm's own motion generator, which leads each joint to a target and to rest there.

        Args:
            target: joint positions (7,) [rad].
            speeds: largest joint speeds (7,) [rad/s].

        Returns:
            The fault when the target is refused, then nothing has moved.
        """
        low, high = self._look()
        if ((target < low[:N]) | (target > high[:N])).any():
            return Fault.POSITION_LIMITS
        way, step = target - self.q, _APPROACH * DT
        # The largest speed from which it can brake, cycle by cycle, within the way.
        braking = step * (np.sqrt(0.25 + 2.0 * np.abs(way) / (step * DT)) - 0.5)
        dq = np.sign(way) * np.minimum(braking, np.abs(way) / DT)
        dq = np.clip(dq, np.maximum(low[N : 2 * N], -speeds), np.minimum(high[N : 2 * N], speeds))
        change = np.clip(dq - self.dq, -step, step)
        self.ddq = change / DT
        self.dq = self.dq + change
        self.q = self.q + self.dq * DT
        return None

    def _look(self) -> tuple[Array, Array]:
        # Bounds of position, speed, acceleration and its change, one after the other.
        if self._cycles % _LOOK_EVERY == 0:
            low, high = self._limits.speeds(self.q)
            change = np.full(N, _SLACK * JERK * DT)
            rate = np.full(N, _SLACK * ACCELERATION)
            self._bounds = (
                np.concatenate((self._limits.q_min, _SLACK * low - _SPEED_SLACK, -rate, -change)),
                np.concatenate((self._limits.q_max, _SLACK * high + _SPEED_SLACK, rate, change)),
            )
        self._cycles += 1
        return self._bounds

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
