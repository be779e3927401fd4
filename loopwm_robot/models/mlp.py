"""Multilayer perceptrons of the peers, and the range check of their settings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn


class MLP(nn.Module):
    """Hidden layers of linear map, LayerNorm and activation, then a linear map.

    Args:
        n_in: features in.
        n_out: numbers out.
        hidden: width of the hidden layers.
        layers: how many of them.
        activation: class of the activation.
    """

    def __init__(self, n_in: int, n_out: int, hidden: int, layers: int, activation: type[nn.Module]) -> None:
        super().__init__()
        widths = [n_in, *[hidden] * layers]
        self.hidden = nn.Sequential(
            *(nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), activation()) for a, b in pairwise(widths))
        )
        self.out = nn.Linear(widths[-1], n_out)

    def forward(self, x: Tensor, columns: slice | None = None) -> Tensor:
        """x (..., n_in) -> (..., n_out), or only the outputs in `columns`."""
        rows = slice(None) if columns is None else columns
        return nn.functional.linear(self.hidden(x), self.out.weight[rows], self.out.bias[rows])


def check_ranges(name: str, config: Any, *ranges: tuple[str, float, float]) -> None:
    """Check settings against their allowed ranges.

    Args:
        name: of the group of settings, such as model.rssm.
        config: holds them as attributes.
        ranges: attribute, smallest and largest allowed value.

    Raises:
        ValueError: names the first setting that is out of its range.
    """
    for field, low, high in ranges:
        value = getattr(config, field)
        if not low <= value <= high:
            raise ValueError(f"{name}.{field} is {value}, allowed [{low:g}, {high:g}]; change configs/model/")
