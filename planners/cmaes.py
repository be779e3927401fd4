"""CMA-ES: a Gaussian whose size and shape are learned apart, from where the search has moved and what scored well.

Sources: Hansen, The CMA Evolution Strategy: A Tutorial (arXiv 1604.00772), its default constants, with the positive
weights alone; Ros and Hansen 2008, A Simple Modification in CMA-ES (sep-CMA-ES: the diagonal learns faster by a factor
of (n + 2) / 3); Hansen 2011, Injecting External Solutions into CMA-ES (far candidates are shortened).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from .cem import CEM
from .search import Search


@dataclass(frozen=True)
class Rates:
    """Constants of CMA-ES for n numbers and the best mu candidates.

    Attributes:
        weights: of the candidates (mu,), best first; their sum is 1.
        mu_eff: how many candidates of equal weight would be as good.
        c_sigma, d_sigma: rate and damping of the step size.
        c_c, c_1, c_mu: rates of the path, of what it teaches and of what the candidates teach.
        chi: expected length of n standard normal numbers.
    """

    weights: Tensor
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi: float


@lru_cache(maxsize=64)
def rates(n: int, mu: int, diagonal: bool) -> Rates:
    """The tutorial's defaults (table 1), and their change for a diagonal covariance."""
    with torch.inference_mode(False):  # it is kept, and may be used anywhere
        weights = math.log(mu + 0.5) - torch.arange(1, mu + 1, dtype=torch.float64).log()
        weights = weights / weights.sum()
    mu_eff = 1 / float(weights.square().sum())
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
    c_mu = 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff)
    faster = (n + 2) / 3 if diagonal else 1.0
    c_1 = min(1.0, c_1 * faster)
    return Rates(
        weights=weights,
        mu_eff=mu_eff,
        c_sigma=c_sigma,
        d_sigma=1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
        c_c=(4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
        c_1=c_1,
        c_mu=min(1 - c_1, c_mu * faster),
        chi=math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
    )


@dataclass(frozen=True)
class Evolution:
    """The Gaussian: sigma times numbers of a covariance C, coloured in time.

    Attributes:
        sigma: step size [action units], ().
        c: covariance (n, n), or its diagonal (n,).
        axes: eigenvectors of c (n, n); None where it is diagonal.
        lengths: square roots of its eigenvalues (n,).
        path_sigma, path_c: where the mean has moved (n,).
    """

    sigma: Tensor
    c: Tensor
    axes: Tensor | None
    lengths: Tensor
    path_sigma: Tensor
    path_c: Tensor

    def stretch(self, z: Tensor) -> Tensor:
        """Standard normal numbers (..., n) -> those of covariance C."""
        y = z * self.lengths
        return y if self.axes is None else y @ self.axes.T

    def unstretch(self, y: Tensor) -> Tensor:
        """The inverse of `stretch`, in the coordinates of the axes: lengths are those of C^(-1/2) y."""
        return (y if self.axes is None else y @ self.axes) / self.lengths

    def whiten(self, y: Tensor) -> Tensor:
        """C^(-1/2) y (..., n)."""
        z = self.unstretch(y)
        return z if self.axes is None else z @ self.axes.T


class CMAES(CEM):
    """CMA-ES with a full covariance. The plan is its mean.

    It begins each plan with init_std and noise correlated by noise_smoothing; half of the candidates are parents,
    whatever num_elites says. Uses num_samples, iterations, noise_smoothing, and the deviations: min_std and max_std
    bound the largest one.
    """

    ranks_some = False
    diagonal: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._n = self.knots * self.nu
        self._bleach = None if self._colour is None else torch.linalg.inv(self._colour)

    def elites(self, num: int) -> int:
        """The parents: the better half."""
        return max(1, num // 2)

    def begin(self, mean: Tensor, executed: int) -> Search:
        """A sphere, but for the colour of the noise."""
        ones, zeros = mean.new_ones(self._n), mean.new_zeros(self._n)
        c, axes = (ones, None) if self.diagonal else (torch.diag(ones), torch.diag(ones))
        evolution = Evolution(mean.new_full((), self.config.init_std), c, axes, ones, zeros, zeros)
        return replace(super().begin(mean, executed), state=evolution)

    def propose(self, search: Search, num: int) -> Tensor:
        """The mean, the rest drawn; all in bounds."""
        e: Evolution = search.state
        white = torch.empty(num, self._n, device=self.generator.device).normal_(generator=self.generator)
        y = e.stretch(white).reshape(num, self.knots, self.nu) * e.sigma
        x = (y if self._colour is None else self._colour @ y).add_(search.mean).clamp_(-1, 1)
        x[0] = search.mean
        return x

    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """Move the mean, then learn step size and shape (tutorial, figure 6)."""
        e: Evolution = search.state
        r = rates(self._n, len(candidates), self.diagonal)
        weights = r.weights.to(scores)
        x = candidates - search.mean
        y = (x if self._bleach is None else self._bleach @ x).flatten(1) / e.sigma  # (M, n)
        longest = math.sqrt(self._n) + 2 * self._n / (self._n + 2)
        y = y * (longest / e.unstretch(y).norm(dim=1, keepdim=True).clamp_min(longest))
        step = weights @ y
        forget = 1 - r.c_sigma
        path_sigma = forget * e.path_sigma + math.sqrt(r.c_sigma * (2 - r.c_sigma) * r.mu_eff) * e.whiten(step)
        length = path_sigma.norm() / r.chi
        usual = math.sqrt(1 - forget ** (2 * (search.iteration + 1))) * (1.4 + 2 / (self._n + 1))
        calm = float(length < usual)  # a path that grows fast says nothing about the shape
        path_c = (1 - r.c_c) * e.path_c + calm * math.sqrt(r.c_c * (2 - r.c_c) * r.mu_eff) * step
        kept = 1 - r.c_1 * (1 - (1 - calm) * r.c_c * (2 - r.c_c)) - r.c_mu
        if self.diagonal:
            c = kept * e.c + r.c_1 * path_c.square() + r.c_mu * (weights @ y.square())
            axes, values = None, c
        else:
            c = kept * e.c + r.c_1 * torch.outer(path_c, path_c) + r.c_mu * (y.T * weights) @ y
            values, axes = torch.linalg.eigh(c)
        moved = step.reshape(self.knots, self.nu) * e.sigma
        moved = moved if self._colour is None else self._colour @ moved
        sigma = e.sigma * torch.exp((r.c_sigma / r.d_sigma * (length - 1)).clamp_max(1))
        deviation = self._deviation(c)
        widest = deviation.max().clamp_min(1e-12)
        sigma = (sigma * widest).clamp(self.config.min_std, self.config.max_std) / widest
        return replace(
            search,
            mean=(search.mean + moved).clamp_(-1, 1),
            std=sigma * deviation,
            score=float(weights @ scores),
            state=Evolution(sigma, c, axes, values.clamp_min(1e-12).sqrt(), path_sigma, path_c),
        )

    def _deviation(self, c: Tensor) -> Tensor:
        """Standard deviation of each number at a step size of 1 (K, nu)."""
        shape = (self.knots, self.nu)
        colour = torch.eye(self.knots).to(c) if self._colour is None else self._colour
        if self.diagonal:
            return (colour.square() @ c.reshape(shape)).sqrt()
        return torch.einsum("ak,kjlj,al->aj", colour, c.reshape(*shape, *shape), colour).clamp_min(0).sqrt()


class SepCMAES(CMAES):
    """CMA-ES with a diagonal covariance: learns much faster, and costs no more than CEM. See CMAES."""

    diagonal = True
