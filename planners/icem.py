"""iCEM: the cross-entropy method with coloured noise, fewer candidates later, and memory from plan to plan.

Source: Pinneri et al. 2020, Sample-efficient Cross-Entropy Method for Real-time Planning.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from .cem import CEM
from .noise import colouring_matrix
from .search import Search

LEAST = 1e-6
"""Deviation that counts as none [action units]."""


class ICEM(CEM):
    """CEM with six changes, the first four those of the source.

    Noise has the power spectrum f^-noise_beta; an iteration has `decay` times the candidates of the one before, at
    least twice the elites; the plan is the best candidate that was found, not a mean of good ones; the elites that a
    plan ends with compete in the next, later by the actions that were carried out. So does its deviation, to a share
    `keep_std`: what a plan has settled need not be searched again. Elites weigh by their rank, as in CMA-ES (Hansen,
    arXiv 1604.00772, equation 49), which makes more of few.

    Uses num_elites, momentum, keep_elites, keep_std, noise_beta, noise_fade, decay, and the deviations.
    """

    takes_best = True
    _memory: Tensor | None = None  # actions (any, H, nu)
    _spread: Tensor | None = None  # of the last plan (K, nu)

    def forget(self) -> None:
        """See SamplingPlanner; what earlier plans found is forgotten too."""
        super().forget()
        self._memory = self._spread = None

    def begin(self, mean: Tensor, executed: int) -> Search:
        """Start with the elites of the last plan, as they go on from now; their last action is repeated."""
        start = super().begin(mean, executed)
        if self._memory is None or self._spread is None:
            return start
        last = self.config.horizon - 1
        later = torch.arange(executed, executed + last + 1, device=mean.device).clamp_max(last)
        return replace(start, kept=self.fit(self._memory[:, later]), std=self._begin_std(start.std, executed))

    def _begin_std(self, fresh: Tensor, executed: int) -> Tensor:
        """Geometric mean of init_std and the last plan's deviation, where that said something of the action."""
        share, spread = self.config.keep_std, self._spread
        if not share or spread is None:
            return fresh
        # Knots lie apart: they keep their place, as the times that they stand for overlap.
        moved = min(executed, self.knots) if self._expand is None else 0
        known = len(fresh) - moved
        fresh[:known] = fresh[:known] ** (1 - share) * spread[moved:].clamp_min(LEAST) ** share
        return fresh.clamp_(self.config.min_std, self.config.max_std)

    def samples(self, iteration: int) -> int:
        c = self.config
        return min(c.num_samples, max(2 * c.num_elites, round(c.num_samples * c.decay**iteration)))

    def colour(self, strength: float) -> Tensor | None:
        beta = self.config.noise_beta * strength
        return colouring_matrix(self.knots, beta) if beta else None

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Refit to the elites, weighted by rank; remember them."""
        c, shape = self.config, search.mean.shape
        weight, flat = rank_weights(len(candidates)).to(candidates), candidates.flatten(1)
        mean = weight @ flat
        std = (weight @ (flat - mean).square_()).sqrt_().view(shape)
        mean = torch.lerp(mean.view(shape), search.mean, c.momentum).clamp_(-1, 1)
        std = torch.lerp(std, search.std, c.momentum).clamp_(c.min_std, c.max_std)
        kept = candidates[: c.keep_elites]
        self._memory, self._spread = self.actions(kept).clone(), std
        return replace(search, mean=mean, std=std, kept=kept, score=float(weight @ scores))


@lru_cache(maxsize=64)
def rank_weights(count: int) -> Tensor:
    """Weights of `count` candidates (count,), best first: log(count + 1/2) - log(rank), their sum 1."""
    with torch.inference_mode(False):  # it is kept, and may be used anywhere
        weights = math.log(count + 0.5) - torch.arange(1, count + 1, dtype=torch.float64).log()
        return (weights / weights.sum()).float()
