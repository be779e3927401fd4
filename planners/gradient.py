"""Gradient ascent through a differentiable model: several candidates climb at once, the best point of all is the plan.

Source: Kingma and Ba 2015, Adam, with its default rates of the moments. Several starts, as the returns of a learned
model have many local optima.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .cem import CEM
from .interfaces import Scorer
from .search import Search, Tally

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Kingma and Ba 2015, algorithm 1."""


@dataclass(frozen=True)
class Climbers:
    """Where the candidates of the next iteration stand, best first, and what Adam knows of each.

    Attributes:
        x: (M, K, nu).
        first, second: moments of the gradient (M, K, nu).
        age: steps done (M,).
    """

    x: Tensor
    first: Tensor
    second: Tensor
    age: Tensor


class GradientAscent(CEM):
    """Adam from several starts: the warm start, a policy's candidates, and random ones around the warm start.

    A candidate whose score or gradient is not finite starts anew. Actions are clamped to bounds and limits after each
    step. Scores have to be differentiable; each iteration costs a forward and a backward pass.

    Uses num_samples (the starts), iterations, learning_rate, init_std and noise_smoothing (of random starts).
    """

    takes_best = True
    needs_gradient = True
    mirrored = False
    repeats_prior = False
    ranks_some = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._slope = torch.zeros(0)  # of the latest scores (num, K, nu)

    def elites(self, num: int) -> int:
        """All climb on."""
        return num

    def propose(self, search: Search, num: int) -> Tensor:
        """Those on their way; new ones where there are not enough."""
        fresh = super().propose(search, num)
        if search.state is not None:
            climbing = search.state.x[:num]
            fresh[: len(climbing)] = climbing
        return fresh

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """One step of Adam for each candidate."""
        slope = self._slope[search.chosen]
        well = slope.isfinite().all(dim=(1, 2))
        x, slope, chosen = candidates[well], slope[well], search.chosen[well]  # type: ignore[index]
        first, second, age = self._known(search, chosen, slope)
        first = torch.lerp(slope, first, BETA_1)
        second = torch.lerp(slope.square(), second, BETA_2)
        age = age + 1
        unbiased = (1 - BETA_1 ** age)[:, None, None], (1 - BETA_2 ** age)[:, None, None]
        step = (first / unbiased[0]) / ((second / unbiased[1]).sqrt() + EPSILON)
        x = (x + self.config.learning_rate * step).clamp_(-1, 1)
        return replace(search, mean=search.best, state=Climbers(x, first, second, age))

    def _known(self, search: Search, chosen: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Moments and age of the chosen candidates; new ones have none."""
        first, second = torch.zeros_like(like), torch.zeros_like(like)
        age = like.new_zeros(len(like))
        if search.state is not None:
            old = chosen < len(search.state.x)
            for mine, theirs in ((first, search.state.first), (second, search.state.second), (age, search.state.age)):
                mine[old] = theirs[chosen[old]]
        return first, second, age

    def _scores(self, score: Scorer, candidates: Tensor, tally: Tally) -> Tensor | None:
        with torch.enable_grad():
            x = candidates.clone().requires_grad_()
            scores = super()._scores(score, x, tally)
            if scores is None:
                return None
            slope = None
            if scores.requires_grad:
                total = torch.where(torch.isfinite(scores), scores, 0.0).sum()
                (slope,) = torch.autograd.grad(total, x, allow_unused=True)
        if slope is None:
            raise ValueError(
                "planner.algorithm is 'gradient', but the scores have no gradient, allowed those of a differentiable "
                "model and objective; take another algorithm, or leave out torch.no_grad"
            )
        self._slope = slope
        return scores.detach()
