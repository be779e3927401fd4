"""Scaling of observations."""

from __future__ import annotations

import torch
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
        if not self.mean.numel():
            return
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
