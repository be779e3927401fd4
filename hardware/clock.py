"""Clocks: monotonic time, shared by all processes of a machine, and a clock that a test moves by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the bridge needs to know about time."""

    def now(self) -> float:
        """Return the time [s]."""

    def sleep_until(self, t: float) -> None:
        """Return at time t [s], or at once when t has passed."""

    def spin_until(self, t: float) -> None:
        """Return at time t [s] without letting the processor go: nobody has to wake it up."""


class MonotonicClock:
    """CLOCK_MONOTONIC: never steps, and is the same in every process, so both sides mean the same t0."""

    def now(self) -> float:
        """Return the time since an arbitrary origin [s]."""
        return time.monotonic()

    def sleep_until(self, t: float) -> None:
        """Sleep until time t [s]."""
        left = t - time.monotonic()
        if left > 0.0:
            time.sleep(left)

    def spin_until(self, t: float) -> None:
        """Look at the time until it is t [s]."""
        while time.monotonic() < t:
            pass


class FakeClock:
    """A clock that moves only when told to, for tests and for lock-step simulation."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def now(self) -> float:
        """Return the present fake time [s]."""
        return self._now

    def sleep_until(self, t: float) -> None:
        """Jump to time t [s]; a fake clock never goes back."""
        self._now = max(self._now, float(t))

    def spin_until(self, t: float) -> None:
        """Jump to time t [s] as well."""
        self.sleep_until(t)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by a duration [s]."""
        if not seconds >= 0.0:
            raise ValueError(f"clock advance {seconds} s, must be at least 0 s: time does not run backwards")
        self._now += float(seconds)
