"""iCEM: the cross-entropy method with coloured noise, fewer candidates later, and memory from plan to plan.

Source: Pinneri et al. 2020, Sample-efficient Cross-Entropy Method for Real-time Planning.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cem import CEM
from .noise import colouring_matrix
from .search import Search


class ICEM(CEM):
    """CEM with four changes.

    Noise has the power spectrum f^-noise_beta; an iteration has `decay` times the candidates of the one before, at
    least twice the elites; the plan is the best candidate that was found, not a mean of good ones; the elites that a
    plan ends with compete in the next, later by the actions that were carried out.

    Uses num_elites, momentum, keep_elites, noise_beta, decay, and the deviations.
    """

    takes_best = True
    _memory: Tensor | None = None  # actions (any, H, nu)

    def forget(self) -> None:
        """See SamplingPlanner; what earlier plans found is forgotten too."""
        super().forget()
        self._memory = None

    def begin(self, mean: Tensor, executed: int) -> Search:
        """Start with the elites of the last plan, as they go on from now; their last action is repeated."""
        start = super().begin(mean, executed)
        if self._memory is None:
            return start
        last = self.config.horizon - 1
        later = torch.arange(executed, executed + last + 1, device=mean.device).clamp_max(last)
        return replace(start, kept=self.fit(self._memory[:, later]))

    def samples(self, iteration: int) -> int:
        c = self.config
        return min(c.num_samples, max(2 * c.num_elites, round(c.num_samples * c.decay**iteration)))

    def colour(self) -> Tensor:
        return colouring_matrix(self.knots, self.config.noise_beta)

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Refit to the elites; remember them."""
        found = super().update(search, candidates, scores)
        self._memory = self.actions(found.kept).clone()
        return found
