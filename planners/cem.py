"""Cross-entropy method: sample action sequences, keep the elites, refit a Gaussian, repeat.

Source: Rubinstein and Kroese, The Cross-Entropy Method (2004); as an MPC in Chua et al. 2018 (PETS). The mean is
warm-started by shifting the last plan; the elites of an iteration compete again in the next one (Pinneri et al. 2020).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from .noise import for_all, smoothing_matrix
from .sampling import SamplingPlanner
from .search import Search

FAINT = 0.02
"""Share of the noise's correlation below which it counts as white."""


class CEM(SamplingPlanner):
    """Cross-entropy planner over bounded action sequences.

    Noise is correlated in time to begin with, so that candidates get somewhere; from iteration to iteration it turns
    white, as fine corrections may be of any kind.

    Uses num_elites, momentum, keep_elites, noise_smoothing, noise_fade, and the deviations.
    """

    mirrored: ClassVar[bool] = True
    """Whether samples come in pairs on both sides of the mean."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        self._colour = self._on_device(self.colour(1.0))
        self._mixes: list[Tensor | None] = []  # of each iteration, as `for_all` gives them
        for i in range(c.iterations):
            strength = c.noise_fade**i
            colour = self._on_device(self.colour(strength)) if strength > FAINT else None
            self._mixes.append(None if colour is None else for_all(colour, self.nu))

    def colour(self, strength: float) -> Tensor | None:
        """What makes the noise of a candidate correlated in time (K, K); None is white.

        Args:
            strength: factor on the setting, in [0, 1].
        """
        smoothing = self.config.noise_smoothing * strength
        return smoothing_matrix(self.knots, smoothing) if smoothing else None

    def propose(self, search: Search, num: int) -> Tensor:
        """The mean, then kept elites, the rest sampled; all in bounds."""
        x = self.around(search, num)
        x[0] = search.mean
        kept = search.kept[: num - 1]
        x[1 : 1 + len(kept)] = kept
        return x

    def around(self, search: Search, num: int) -> Tensor:
        """Samples of the Gaussian in bounds (num, K, nu).

        A pair on both sides of the mean costs the random numbers of one, which take longest where there are many; and
        the mean of all is that of the distribution (Brockhoff et al. 2010, Mirrored Sampling).
        """
        mean, std, half = search.mean.flatten(), search.std.flatten(), (num + 1) // 2 if self.mirrored else num
        mix = self._mixes[search.iteration]
        noise = torch.empty(half, len(mean), device=mean.device).normal_(generator=self.generator)
        if mix is None:
            noise *= std
        elif len(mix) == len(mean):
            noise = noise @ (mix * std)
        else:
            noise = (mix @ noise.view(half, *search.mean.shape)).flatten(1) * std
        x = torch.empty(num, len(mean), device=mean.device)
        torch.add(mean, noise, out=x[:half])
        torch.sub(mean, noise[: num - half], out=x[half:])
        return x.clamp_(-1, 1).view(num, *search.mean.shape)

    def _on_device(self, colour: Tensor | None) -> Tensor | None:
        return None if colour is None else colour.to(self.generator.device)

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Refit the Gaussian to the elites."""
        c = self.config
        mean = candidates.mean(0)
        std = (candidates - mean).square_().mean(0).sqrt_()  # several times faster than torch.std
        mean = torch.lerp(mean, search.mean, c.momentum)
        std = torch.lerp(std, search.std, c.momentum).clamp_(c.min_std, c.max_std)
        return replace(search, mean=mean, std=std, kept=candidates[: c.keep_elites], score=float(scores.mean()))
