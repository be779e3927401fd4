"""Prediction heads D(h): light MLPs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """A linear read-out plus one hidden layer whose output starts at zero.

    Args:
        n_in: features in.
        n_out: numbers out.
        hidden: width of the hidden layer.
    """

    def __init__(self, n_in: int, n_out: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.up = nn.Linear(n_in, hidden)
        self.down = nn.Linear(hidden, n_out, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, columns: slice | None = None) -> Tensor:
        """x (..., n_in) -> (..., n_out), or only the outputs in `columns`."""
        rows = slice(None) if columns is None else columns
        direct = F.linear(x, self.linear.weight[rows], self.linear.bias[rows])
        return direct + F.linear(F.silu(self.up(x)), self.down.weight[rows])
