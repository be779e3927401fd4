"""Control steps in wall time."""

from __future__ import annotations

from hardware.clock import Clock, MonotonicClock

LATE_S = 0.01
"""A control step that begins later than this counts as late [s]."""


class Ticker:
    """Waits for one control step after the other.

    Args:
        ctrl_dt: control step [s].
        clock: tells the time.

    Attributes:
        steps: control steps so far.
        late: how many of them began late; after one that is late by a whole control step time is counted anew.
    """

    def __init__(self, ctrl_dt: float, clock: Clock | None = None) -> None:
        self.ctrl_dt, self.clock = ctrl_dt, clock or MonotonicClock()
        self.steps = self.late = 0
        self._due: float | None = None

    def restart(self) -> None:
        """The next control step begins when it is waited for."""
        self._due = None

    def wait(self) -> None:
        """Return when the next control step begins."""
        due = self.clock.now() if self._due is None else self._due
        self.clock.sleep_until(due)
        lateness = self.clock.now() - due
        self.steps += 1
        self.late += lateness > LATE_S
        self._due = (due if lateness < self.ctrl_dt else self.clock.now()) + self.ctrl_dt
