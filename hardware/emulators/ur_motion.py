"""Motion of the emulated controller: the reference that the drives follow, cycle by cycle.

`servoj` is modelled as a first-order lag of the length of its lookahead time: a ramp is followed that much late, as on
the arm (34 ms were measured for 30 ms: Universal_Robots_Client_Library#86). Its gain, the arm's payload and speed
scaling are not modelled. `stopl` decelerates the joints instead of the tool.
"""

from __future__ import annotations

import numpy as np

from ..interface import Array

STOP_RATE = 8.0
"""Deceleration of a stopped program and of a protective stop [rad/s^2]; made up."""


class Motion:
    """The reference and what moves it.

    Args:
        q: first pose (6,) [rad].
        dt: control cycle [s].
    """

    def __init__(self, q: Array, dt: float) -> None:
        self.q, self.dq, self._dt = np.array(q), np.zeros(6), dt
        self._target: Array | None = None
        self._lookahead = 0.1
        self._speed: Array | None = None
        self._rate = STOP_RATE

    @property
    def at_rest(self) -> bool:
        """Whether the reference stands still and nothing asks it to move."""
        return self._target is None and self._speed is None and not self.dq.any()

    def settle(self, q: Array) -> None:
        """Put the reference onto a pose (6,) [rad], at rest."""
        self.q, self.dq, self._target, self._speed = np.array(q), np.zeros(6), None, None

    def servo(self, target: Array, lookahead: float) -> None:
        """Follow a position (6,) [rad] until told otherwise."""
        self._target, self._lookahead, self._speed = np.array(target), lookahead, None

    def speed(self, speed: Array, acceleration: float) -> None:
        """Approach a joint speed (6,) [rad/s] at an acceleration of the leading joint [rad/s^2]."""
        self._speed, self._rate, self._target = np.array(speed), acceleration, None

    def stop(self, rate: float = STOP_RATE) -> None:
        """Decelerate all joints together, the leading one at a rate [rad/s^2]."""
        self._target, self._speed, self._rate = None, None, rate

    def wanted(self) -> Array:
        """Speed of the next cycle (6,) [rad/s], not taken yet: the supervision looks at it first."""
        if self._target is not None:
            return (self._target - self.q) / max(self._lookahead, self._dt)
        change = (np.zeros(6) if self._speed is None else self._speed) - self.dq
        leading = float(np.abs(change).max())
        return self.dq + change * min(1.0, self._rate * self._dt / leading if leading > 0.0 else 1.0)

    def step(self) -> Array:
        """Pass one cycle and return the reference (6,) [rad]."""
        self.dq = self.wanted()
        self.q = self.q + self.dq * self._dt
        return self.q
