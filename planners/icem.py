"""iCEM: the cross-entropy method with coloured noise, fewer candidates later, and memory from plan to plan.

Source: Pinneri et al. 2020, Sample-efficient Cross-Entropy Method for Real-time Planning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .cem import CEM
from .interfaces import Scorer
from .noise import colouring_matrix
from .plan import Plan
from .sampling import Search


class ICEM(CEM):
    """CEM with four changes.

    Noise has the power spectrum f^-noise_beta; an iteration has `decay` times the candidates of the one before, at
    least twice the elites; the plan is the best candidate that was found, not a mean of good ones; the elites that a
    plan ends with compete in the next, shifted by a step.

    Uses num_elites, momentum, keep_elites, noise_beta, decay, and the deviations.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._colour = colouring_matrix(self.knots, self.config.noise_beta).to(self.generator.device)
        self._memory: Tensor | None = None

    def plan(self, score: Scorer, warm_start: Tensor | None = None, deadline: float | None = None) -> Plan:
        """See SamplingPlanner; without a warm start what earlier plans found is forgotten."""
        if warm_start is None:
            self._memory = None
        return super().plan(score, warm_start, deadline)

    def begin(self, mean: Tensor) -> Search:
        """Start with the elites of the last plan, where it was one step ago."""
        start = super().begin(mean)
        return start if self._memory is None else replace(start, kept=self._memory)

    def samples(self, iteration: int) -> int:
        c = self.config
        return min(c.num_samples, max(2 * c.num_elites, round(c.num_samples * c.decay**iteration)))

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Refit to the elites; remember them."""
        found = super().update(search, candidates, scores)
        if search.iteration == self.config.iterations - 1:
            found = replace(found, mean=candidates[0], score=float(scores[0]))
        later = torch.cat([candidates[:, 1:], candidates[:, -1:]], dim=1) if self._expand is None else candidates
        self._memory = later[: self.config.keep_elites].clone()
        return found
