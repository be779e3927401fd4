"""Tokens that mean something: which numbers of an observation form a token, and layers with weights for each token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Groups = Mapping[str, Sequence[int]]
"""Named columns of an observation that belong to one body: joint1: (0, 7, 14, 21), ..., object: (31, 32, 33)."""

TokenScheme = Literal["single", "bodies", "parts"]
TOKEN_SCHEMES: tuple[TokenScheme, ...] = ("single", "bodies", "parts")


@dataclass(frozen=True)
class TokenLayout:
    """Which columns of an observation each of G tokens stands for.

    Attributes:
        names: of the tokens.
        columns: of each token; together every column exactly once.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]

    @staticmethod
    def make(n_obs: int, groups: Groups | None, scheme: str = "single") -> TokenLayout:
        """Choose the tokens.

        Args:
            n_obs: numbers in an observation.
            groups: what belongs together; none leaves one token.
            scheme: single (all in one), bodies (the robot, and each object), parts (each group).

        Raises:
            ValueError: an unknown scheme, a scheme that needs groups where there are none, or groups that do not name
                every column exactly once.
        """
        if scheme not in TOKEN_SCHEMES:
            raise ValueError(f"model.tokens is '{scheme}', allowed {', '.join(TOKEN_SCHEMES)}")
        if n_obs == 0:  # there are pictures only
            return TokenLayout((), ())
        if scheme == "single":
            return TokenLayout(("all",), (tuple(range(n_obs)),))
        if not groups:
            raise ValueError(
                f"model.tokens is '{scheme}' for observations whose groups are unknown; "
                "give groups, or set model.tokens=single"
            )
        if sorted(column for columns in groups.values() for column in columns) != list(range(n_obs)):
            raise ValueError(
                f"groups {dict(groups)} must name each of the {n_obs} columns of the observation exactly once"
            )
        parts = {name: tuple(map(int, columns)) for name, columns in groups.items()}
        if scheme == "bodies":
            robot = sorted(c for name, columns in parts.items() if not name.startswith("object") for c in columns)
            parts = {"robot": tuple(robot)} | {n: c for n, c in parts.items() if n.startswith("object")}
        return TokenLayout(tuple(parts), tuple(parts.values()))

    @property
    def num(self) -> int:
        """Tokens G."""
        return len(self.columns)

    @property
    def width(self) -> int:
        """Numbers in the largest token."""
        return max(map(len, self.columns), default=0)

    def with_images(self, count: int) -> TokenLayout:
        """The same followed by tokens of a picture, which stand for no columns."""
        names = tuple(f"image{i + 1}" for i in range(count))
        return TokenLayout(self.names + names, self.columns + ((),) * count)


class GroupedLinear(nn.Module):
    """y_s = W_s x_s + b_s: a linear layer for each of S tokens, as one batched matrix product.

    Args:
        tokens: S.
        n_in, n_out: features of a token.
        zero: start at zero.
    """

    def __init__(self, tokens: int, n_in: int, n_out: int, *, bias: bool = True, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(tokens, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tokens, n_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor, tokens: Tensor | None = None, outputs: slice | None = None) -> Tensor:
        """x (..., S, n_in), or (..., 1, n_in) that all tokens share -> (..., S, n_out).

        Args:
            x: features.
            tokens: indices of the tokens that x holds; none means all.
            outputs: which outputs to compute; none means all.
        """
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if tokens is not None:
            weight, bias = weight[tokens], None if bias is None else bias[tokens]
        if outputs is not None:
            weight, bias = weight[..., outputs], None if bias is None else bias[..., outputs]
        if len(weight) == 1:
            y = torch.nn.functional.linear(x, weight[0].T, None if bias is None else bias[0])
            return y
        lead = x.shape[:-2]
        if x.shape[-2] == 1:  # shared: one product with all weights side by side
            y = x.reshape(-1, x.shape[-1]) @ weight.transpose(0, 1).reshape(weight.shape[1], -1)
            y = y.view(*lead, len(weight), weight.shape[2])
            return y if bias is None else y + bias
        flat = x.reshape(-1, *x.shape[-2:]).transpose(0, 1)  # (S, B, n_in)
        y = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, weight)
        return y.transpose(0, 1).reshape(*lead, len(weight), weight.shape[2])


def observed_channels(layout: TokenLayout, tokens: int, d: int) -> Tensor:
    """Which channels of S tokens hold an observed number (S, d): the first ones of each token, where they all fit.

    A token with more numbers than channels has none: its state is an embedding that a decoder has to read.
    """
    observed = torch.zeros(tokens, d)
    for s, columns in enumerate(layout.columns):
        if len(columns) <= d:
            observed[s, : len(columns)] = 1
    return observed


class TokenEncoder(nn.Module):
    """Observation (..., n_obs), normalised -> a token (..., G, d) for each group.

    The numbers of a group stand in the first channels of its token; the rest, its memory, starts from a learned
    function of them.
    """

    index: Tensor
    present: Tensor
    observed: Tensor

    def __init__(self, layout: TokenLayout, d: int) -> None:
        super().__init__()
        width = layout.width
        index = [[*columns, *[0] * (width - len(columns))] for columns in layout.columns]
        present = [[1.0] * len(columns) + [0.0] * (width - len(columns)) for columns in layout.columns]
        self.register_buffer("index", torch.tensor(index), persistent=False)  # (G, width)
        self.register_buffer("present", torch.tensor(present), persistent=False)
        self.register_buffer("observed", observed_channels(layout, layout.num, d), persistent=False)
        self.padded = any(len(columns) < width for columns in layout.columns)
        self.linear = GroupedLinear(layout.num, width, d)
        self.up = GroupedLinear(layout.num, width, 2 * d)
        self.down = GroupedLinear(layout.num, 2 * d, d, zero=True)

    def forward(self, obs: Tensor) -> Tensor:
        x = obs.unsqueeze(-2) if len(self.index) == 1 else obs[..., self.index]  # (..., G, width)
        if self.padded:
            x = x * self.present
        encoded: Tensor = self.linear(x) + self.down(nn.functional.silu(self.up(x)))
        d = encoded.shape[-1]
        kept = nn.functional.pad(x, (0, d - x.shape[-1])) if x.shape[-1] <= d else x[..., :d]
        return torch.where(self.observed > 0, kept, encoded)


class TokenDecoder(nn.Module):
    """Tokens (..., S, d) -> observation (..., n_obs), normalised: each number is read from the token of its group.

    Where the numbers stand in the channels themselves, reading them is all; otherwise a linear map and a layer that
    starts at zero.
    """

    position: Tensor

    def __init__(self, layout: TokenLayout, d: int, hidden: int) -> None:
        super().__init__()
        self.layout = layout
        self.direct = layout.width <= d
        width = d if self.direct else layout.width
        place = {c: s * width + i for s, columns in enumerate(layout.columns) for i, c in enumerate(columns)}
        position = torch.tensor([place[c] for c in sorted(place)], dtype=torch.long)  # (n_obs,)
        self.register_buffer("position", position, persistent=False)
        if not self.direct:
            self.linear = GroupedLinear(layout.num, d, width)
            self.up = GroupedLinear(layout.num, d, hidden)
            self.down = GroupedLinear(layout.num, hidden, width, bias=False, zero=True)

    def forward(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """All numbers, or only those in `columns`."""
        h = h[..., : self.layout.num, :]
        if not self.direct:
            h = self.linear(h) + self.down(nn.functional.silu(self.up(h)))
        return h.flatten(-2)[..., self.position if columns is None else self.position[columns]]
