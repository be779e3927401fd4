"""Cross-entropy method: sample action sequences, keep the elites, refit a Gaussian, repeat.

Source: Rubinstein and Kroese, The Cross-Entropy Method (2004); as an MPC in Chua et al. 2018 (PETS). The mean is
warm-started by shifting the last plan; the elites of an iteration compete again in the next one (Pinneri et al. 2020).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .noise import for_all, smoothing_matrix
from .sampling import SamplingPlanner
from .search import Search


class CEM(SamplingPlanner):
    """Cross-entropy planner over bounded action sequences.

    Uses num_elites, momentum, keep_elites, noise_smoothing, and the deviations.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        colour = self.colour()
        self._colour = None if colour is None else colour.to(self.generator.device)
        self._mix = None if self._colour is None else for_all(self._colour, self.nu)

    def colour(self) -> Tensor | None:
        """What makes the noise of a candidate correlated in time (K, K); None is white."""
        smoothing = self.config.noise_smoothing
        return smoothing_matrix(self.knots, smoothing) if smoothing else None

    def propose(self, search: Search, num: int) -> Tensor:
        """The mean, then kept elites, the rest sampled; all in bounds."""
        x = self.noise(num, self._mix).mul_(search.std).add_(search.mean).clamp_(-1, 1)
        x[0] = search.mean
        kept = search.kept[: num - 1]
        x[1 : 1 + len(kept)] = kept
        return x

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Refit the Gaussian to the elites."""
        c = self.config
        mean = candidates.mean(0)
        std = (candidates - mean).square_().mean(0).sqrt_()  # several times faster than torch.std
        mean = torch.lerp(mean, search.mean, c.momentum)
        std = torch.lerp(std, search.std, c.momentum).clamp_(c.min_std, c.max_std)
        return replace(search, mean=mean, std=std, kept=candidates[: c.keep_elites], score=float(scores.mean()))
