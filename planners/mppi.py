"""Model-predictive path integral control: candidates weigh in by how well they score.

Source: Williams et al. 2017, Information Theoretic MPC; with elites and a refitted deviation as in TD-MPC (Hansen et
al. 2022, section 3.1).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cem import CEM
from .search import Search


class MPPI(CEM):
    """Mean and deviation of the elites, weighted by softmax(score / temperature).

    Scores are in units of their standard deviation over the elites, so that the temperature means the same for every
    objective. With num_elites = num_samples and min_std = max_std this is plain MPPI.

    Uses num_elites, temperature, momentum, keep_elites, noise_smoothing, noise_fade, and the deviations.
    """

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Weighted refit."""
        c = self.config
        scale = c.temperature * max(float(scores.std(correction=0)), 1e-12)
        weight = torch.softmax((scores - scores[0]) / scale, 0)  # (E,)
        flat = candidates.flatten(1)  # (E, K nu)
        mean = weight @ flat
        variance = weight @ (flat - mean).square_()
        shape = search.mean.shape
        mean = torch.lerp(mean.view(shape), search.mean, c.momentum).clamp_(-1, 1)
        std = torch.lerp(variance.sqrt_().view(shape), search.std, c.momentum).clamp_(c.min_std, c.max_std)
        return replace(search, mean=mean, std=std, kept=candidates[: c.keep_elites], score=float(weight @ scores))
