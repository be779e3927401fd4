"""Where the search of a plan stands."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    best: Tensor
    iteration: int = 0
    score: float = float("-inf")
    best_score: float = float("-inf")


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

    scored: int = 0
    scored_shallow: int = 0
    num_invalid: int = 0
