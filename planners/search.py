"""Where the search of one plan stands."""

from __future__ import annotations

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
