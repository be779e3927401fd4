"""The servos' clocks: is an answer new, how old is it, has a servo restarted.

Each servo counts milliseconds from 0 to 32767 since it started (Realtime Tick). Between two answers it must have
counted about as much as the host. Less means that the answer is old: it waited somewhere on its way, which no client
tells. A count that does not fit at all means a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...interface import Array

PERIOD_S = 32.768
ODD_S = 0.25
"""A count that is off by more than this [s] does not fit: a restart, or an answer out of a long queue."""
DRIFT = 0.01
"""Largest error of a servo's clock that is put up with: 1 %. Own choice; the manual names none."""


class ServoClock:
    """Follows the clocks of n servos.

    Args:
        n: number of servos.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self._ticks: Array | None = None
        self._begin = self._host = 0.0
        self._forgiving = False
        self._elapsed, self._ahead = np.zeros(self._n), np.zeros(self._n)

    def forgive(self) -> None:
        """Take the next counts as they come, after a restart on purpose; the device time goes on."""
        self._forgiving = True

    def update(self, ticks_ms: Sequence[int], now: float) -> tuple[float, float, list[int]]:
        """Take the counts of one answer.

        Args:
            ticks_ms: count of each servo (n,) [ms].
            now: host time of the answer [s].

        Returns:
            device time [s], which advances only as far as the slowest of the clocks; age of the oldest answer [s];
            indices of servos whose count does not fit: they must be looked at, their age starts at 0 again.
        """
        ticks = np.asarray(ticks_ms, dtype=np.float64) * 1e-3
        if self._ticks is None:
            self._ticks, self._begin, self._host = ticks, now, now
            return 0.0, 0.0, []
        passed = now - self._host
        step = np.mod(ticks - self._ticks, PERIOD_S)
        # A long silence may hide whole turns of the counter: only the difference to the host's time is known.
        wrong = np.mod(step - passed + 0.5 * PERIOD_S, PERIOD_S) - 0.5 * PERIOD_S
        odd = np.abs(wrong) > ODD_S + DRIFT * passed
        known, self._forgiving = self._forgiving, False
        self._elapsed += np.where(odd, passed if known else 0.0, np.maximum(passed + wrong, 0.0))
        self._ticks, self._host = ticks, now
        # How far the host is ahead; the least that was seen is taken for age 0, and may grow with the drift.
        ahead = now - self._begin - self._elapsed
        self._ahead = np.where(odd, ahead, np.minimum(self._ahead + DRIFT * passed, ahead))
        suspects = [] if known else np.flatnonzero(odd).tolist()
        return float(self._elapsed.min()), float((ahead - self._ahead).max()), suspects
