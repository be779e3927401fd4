"""The simplest planners: keep the best candidate. Baselines, and good enough where plans are warm-started often."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cem import CEM
from .search import Search


class PredictiveSampling(CEM):
    """Candidates around the best so far, at a fixed deviation; the best one is the plan.

    Source: Howell et al. 2022, Predictive Sampling. Uses init_std and noise_smoothing.
    """

    takes_best = True

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Go on around the best."""
        return replace(search, mean=search.best)


class RandomShooting(PredictiveSampling):
    """Candidates uniform over all actions; the best one is the plan. Uses num_samples and iterations alone."""

    def propose(self, search: Search, num: int) -> Tensor:
        """The best so far, then uniform samples."""
        x = torch.empty(num, self.knots, self.nu, device=self.generator.device)
        x.uniform_(-1, 1, generator=self.generator)
        x[0] = search.mean
        return x
