"""What an iteration costs, learned while planning."""

from __future__ import annotations

from collections import deque

REMEMBERED = 16
"""Iterations that the expectation is made from."""
SURPRISES = 1000
"""Iterations whose surprise is remembered: about one in so many is worse than all of those before."""
SHORT = 1e-9
"""Least time that is expected of an iteration [s], so that one may divide by it."""
STALL = 2.5
"""Multiple of the expected time from which an iteration was held up by something that no plan can wait for."""
FADE = 0.9
"""How fast what was slow is forgotten while nothing is tried."""
RECOVERY = 1.01
"""How fast surprises count again once something is."""
PROBE = 16
"""Candidates of an iteration that is done to learn what one costs."""


class IterationCost:
    """Expected time of an iteration by its number of candidates: a line through the latest ones.

    An iteration has a part that does not depend on the number of candidates, so time is no multiple of it. A plan in
    time matters more than a few candidates: the largest excess over the line is added, or as large a share of the
    expectation as the greatest surprise among many more iterations, if that is more.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, float]] = []  # the latest last
        self._surprises: deque[float] = deque(maxlen=SURPRISES)  # time taken over time expected, by the line alone
        self._worst = 1.0
        self._courage = 1.0  # factor on the greatest surprise

    def observe(self, candidates: int, seconds: float) -> None:
        """An iteration was done. The oldest is forgotten, but for the last one that is of another size."""
        if self.sizes > 1:
            fixed, each = self._line()
            self._surprised(seconds / max(fixed + each * candidates, SHORT))
        self._courage = min(1.0, RECOVERY * self._courage)
        self._seen.append((candidates, seconds))
        if len(self._seen) > REMEMBERED:
            oldest = self._seen.pop(0)
            if self.sizes == 1 and oldest[0] != candidates:
                self._seen[0] = oldest

    @property
    def sizes(self) -> int:
        """Different numbers of candidates among those remembered: two of them make a line."""
        return len({n for n, _ in self._seen})

    def fade(self) -> None:
        """Nothing was tried: take everything for a little faster, or a slow moment would count for ever."""
        self._seen = [(n, FADE * t) for n, t in self._seen]
        self._courage = max(1.0 / STALL, FADE * self._courage)  # with less, no surprise would count

    def fitting(self, wanted: int, seconds: float) -> int:
        """Largest number of candidates up to `wanted` that is expected to take at most `seconds` [s]; 0 where none is.

        While one size only is known, smaller ones are expected to take as long, and larger ones in proportion.
        """
        if self.sizes == 1:
            size, longest = self._seen[0][0], max(t for _, t in self._seen)
            return min(wanted, int(size * seconds / longest)) if longest <= seconds else 0
        if self.expected(wanted) <= seconds:
            return wanted
        rooms = [(seconds - a) / b if b > 0 else float(wanted if a <= seconds else 0) for a, b in self._bounds()]
        return max(0, int(min(wanted, *rooms)))

    def expected(self, candidates: int) -> float:
        """Time that an iteration with so many candidates is expected to take [s]; 0 before the first."""
        if self.sizes == 1:
            return max(t for _, t in self._seen) * max(1.0, candidates / self._seen[0][0])
        return max(fixed + each * candidates for fixed, each in self._bounds()) if self._seen else 0.0

    def least(self, candidates: int) -> float:
        """Time that fewer candidates than ever take at least [s]: in proportion, as if nothing were fixed."""
        return min(t * candidates / n for n, t in self._seen)

    def affordable(self, wanted: int, enough: int, left: float, first: bool) -> int:
        """Candidates of an iteration that fit in the time left; 0 where it is better left out.

        Args:
            wanted: as many as there may be.
            enough: fewer are worth no iteration.
            left: time left [s].
            first: of its plan, which has nothing to fall back on but the warm start.
        """
        few = min(wanted, PROBE)
        if not self.sizes:
            return few
        num = self.fitting(wanted, left)
        if num >= min(wanted, enough):
            return num
        if not first:
            return 0
        if self.sizes == 1 and self.least(few) <= left:  # how much less a few cost is not known yet
            return few
        self.fade()
        return 0

    def _surprised(self, surprise: float) -> None:
        """Remember the time that an iteration took over what was expected; the largest one changes seldom."""
        oldest = self._surprises[0] if len(self._surprises) == SURPRISES else 0.0
        self._surprises.append(min(STALL, surprise))
        others = self._worst if oldest < self._worst else max(self._surprises)
        self._worst = max(1.0, others, self._surprises[-1])

    def _line(self) -> tuple[float, float]:
        """Time of an iteration without candidates, and for each candidate [s]; neither is negative."""
        count = len(self._seen)
        mean_n = sum(n for n, _ in self._seen) / count
        mean_t = sum(t for _, t in self._seen) / count
        spread = sum((n - mean_n) ** 2 for n, _ in self._seen)
        each = sum((n - mean_n) * (t - mean_t) for n, t in self._seen) / spread if spread else 0.0
        each = min(max(each, 0.0), mean_t / mean_n)
        return mean_t - each * mean_n, each

    def _bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Two lines; an iteration hardly ever takes longer than the higher one."""
        fixed, each = self._line()
        excess = max(t - fixed - each * n for n, t in self._seen)
        surprise = max(1.0, self._courage * self._worst)
        return (fixed + excess, each), (fixed * surprise, each * surprise)
