"""Where the search of one plan stands, and what it tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class PlanningError(RuntimeError):
    """No candidate had a finite score."""


@dataclass(frozen=True)
class Search:
    """Where the search of one plan stands.

    Attributes:
        mean, std: of the sampling distribution over knots (K, nu); K = H where every action is free.
        kept: candidates that compete again (any, K, nu).
        best: the candidate with the highest score so far (K, nu); the first mean before the first iteration.
        iteration: iterations done.
        score: of what `mean` was made from; -inf before the first iteration.
        best_score: of `best`; -inf before the first iteration.
        chosen: which of the proposed candidates `update` is told of (M,); None before the first iteration.
        state: whatever else an algorithm carries from one iteration to the next.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    best: Tensor
    iteration: int = 0
    score: float = float("-inf")
    best_score: float = float("-inf")
    chosen: Tensor | None = None
    state: Any = None


@dataclass(frozen=True)
class Iteration:
    """What an iteration tried.

    Attributes:
        search: before it.
        candidates: (N, K, nu).
        scores: theirs (N,), -inf where not finite.
    """

    search: Search
    candidates: Tensor
    scores: Tensor


@dataclass
class Tally:
    """Candidates of one plan; see Plan."""

    considered: int = 0
    scored: int = 0
    scored_shallow: int = 0
    num_invalid: int = 0


@dataclass(frozen=True)
class Terms:
    """What a plan is made under.

    Attributes:
        until: its deadline on the planner's clock [s]; None where there is none.
        told: candidates of a policy as knots (any, K, nu).
        cancel: whether to end the search.
    """

    until: float | None
    told: Tensor | None
    cancel: Callable[[], bool]

    def left(self, now: float, reserve: float = 0.0) -> float | None:
        """Time left [s] but for a reserve; None where there is no deadline."""
        return None if self.until is None else self.until - now - reserve
