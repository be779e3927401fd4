"""Observation encoders and the scaling of observations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Affine scaling to zero mean and unit deviation; the statistics travel with the weights.

    Args:
        n: numbers to scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))

    def fit(self, data: Tensor, min_std: float = 1e-3) -> None:
        """Take mean and deviation from data (rows, n); a constant column keeps a deviation of at least min_std."""
        self.mean.copy_(data.mean(0))
        self.std.copy_(data.std(0, correction=0).clamp_min(min_std))

    def forward(self, x: Tensor) -> Tensor:
        """Physical to normalised units."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor, columns: slice | None = None) -> Tensor:
        """Normalised to physical units; `columns` says which numbers x holds."""
        if columns is None:
            columns = slice(None)
        return torch.addcmul(self.mean[columns], x, self.std[columns])


class VectorEncoder(nn.Module):
    """Vector observation (..., n_obs) -> tokens (..., S, d): a linear map plus a residual layer that starts at zero."""

    def __init__(self, n_obs: int, tokens: int, d: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.linear = nn.Linear(n_obs, tokens * d)
        self.up = nn.Linear(n_obs, 2 * d)
        self.down = nn.Linear(2 * d, tokens * d)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, obs: Tensor) -> Tensor:
        embedded = self.linear(obs) + self.down(F.silu(self.up(obs)))
        return embedded.unflatten(-1, (self.tokens, -1))
