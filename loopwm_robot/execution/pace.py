"""How far ahead to plan: as many control steps as a plan takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

_SLOWER, _FASTER = 2, 10
"""Plans in a row that must ask for a longer or a shorter lead: one hiccup is no slow machine."""


def steps_in(seconds: float, ctrl_dt: float) -> int:
    """Control steps of ctrl_dt [s] that some seconds need, rounded up."""
    return math.ceil(seconds / ctrl_dt - 1e-9)


class Lead(Protocol):
    """Says how many control steps from now the next plan begins."""

    @property
    def lead(self) -> int:
        """That number, at least 0."""
        ...

    def took(self, seconds: float) -> None:
        """Note how long a plan took [s]."""
        ...


@dataclass(frozen=True)
class GivenLead:
    """A lead that stays as it is."""

    lead: int

    def took(self, seconds: float) -> None:
        return None


class Pace:
    """Chooses the lead from how long plans take, also on a machine that is sometimes too slow for every control step.

    A lead of one plans in every control step. When planning takes longer than that, a plan that begins two steps
    ahead is ready in time, and the actions until then are known just as exactly: the loop gets slower, never wrong.

    Args:
        ctrl_dt: control step [s].
        margin: a plan must be ready this long before it begins [s].
        longest: largest lead.
    """

    def __init__(self, ctrl_dt: float, margin: float, longest: int) -> None:
        self._ctrl_dt, self._margin, self._longest = ctrl_dt, margin, longest
        self.lead = 1
        self._recent: list[int] = []

    def took(self, seconds: float) -> None:
        """Note how long a plan took, from its control instant on [s]."""
        needed = steps_in(seconds + self._margin, self._ctrl_dt)
        self._recent = [*self._recent[1 - _FASTER :], min(max(needed, 1), self._longest)]
        slower, faster = min(self._recent[-_SLOWER:]), max(self._recent)
        if slower > self.lead and len(self._recent) >= _SLOWER:
            self.lead = slower
        elif faster < self.lead and len(self._recent) == _FASTER:
            self.lead, self._recent = self.lead - 1, []
