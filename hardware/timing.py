"""A ticker on absolute deadlines, and histograms of what it measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .clock import Clock

_LOW, _PER_DECADE, _BINS = 1e-6, 20, 140


class Tick(NamedTuple):
    """Nominal time [s], how late the tick runs [s], and how many ticks were left out before it."""

    t: float
    lateness: float
    skipped: int


class Ticker:
    """Ticks at t_start + k * period: lateness does not add up, and ticks missed altogether are left out and
    counted.

    Args:
        clock: where time comes from.
        period: time between ticks [s].
    """

    def __init__(self, clock: Clock, period: float) -> None:
        self._clock, self.period = clock, period
        self.lateness = Histogram()
        self.misses = 0
        self.skipped = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new grid now: after something that may block, such as opening a device."""
        self._start, self._k = self._clock.now(), 0

    def wait(self, early: float = 0.0, rehearse: Callable[[], None] = lambda: None) -> Tick:
        """Sleep until the next deadline.

        Args:
            early: the processor is taken so long before it and not let go again, so that no wake-up makes the tick
                late [s] ..
            rehearse: .. and has this to do meanwhile, unless the tick is late already.
        """
        self._k += 1
        deadline = self._start + self._k * self.period
        self._clock.sleep_until(deadline - early)
        if early > 0.0 and self._clock.now() < deadline:
            rehearse()
            self._clock.spin_until(deadline)
        late = max(self._clock.now() - deadline, 0.0)
        self.lateness.add(late)
        skipped = 0
        if late > self.period:
            self.misses += 1
            skipped = int(late / self.period)
            self.skipped += skipped
            self._k += skipped
            deadline = self._start + self._k * self.period
        return Tick(deadline, late, skipped)


class Histogram:
    """Counts of durations in bins of equal ratio, 12 % wide, from 1 us to 10 s."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS + 1, dtype=np.int64)
        self.total = 0
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration [s]."""
        index = 0 if seconds <= _LOW else min(int(math.log10(seconds / _LOW) * _PER_DECADE) + 1, _BINS)
        self._counts[index] += 1
        self.total += 1
        self.max = max(self.max, seconds)

    def percentile(self, percent: float) -> float:
        """Return the upper edge of the bin that holds a percentile [s]; 0 while empty."""
        if self.total == 0:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self._counts), percent / 100.0 * self.total))
        return min(_LOW * 10.0 ** (index / _PER_DECADE), self.max)

    def summary(self, name: str) -> dict[str, float]:
        """Return median, p99 and maximum [s] under ``<name>_s_p50`` and so on."""
        p50, p99 = self.percentile(50.0), self.percentile(99.0)
        return {f"{name}_s_p50": p50, f"{name}_s_p99": p99, f"{name}_s_max": self.max}
