"""Transitions of several control steps: what drives each loop follows once the number of loops is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from .block import Conditioning, Prelude, RecurrentBlock


@dataclass(frozen=True)
class Chunk:
    """What drives a transition of m control steps, a `loop_control.Drive`, for any number of loops.

    Attributes:
        block, prelude, embed: the recurrent block, the prelude and the action embedder of the model.
        start: state before the transition (B, S, d).
        action: a_k .. a_{k+m-1} (B, m, nu).
        embedding: e_k (B, S, d) where an observation is shown; None in imagination.
    """

    block: RecurrentBlock
    prelude: Prelude
    embed: Callable[[Tensor], Tensor]
    start: Tensor
    action: Tensor
    embedding: Tensor | None

    def for_depth(self, loops: int | Tensor) -> Conditioning:
        """The drive of `loops` loops, one number for all or (B,): each takes the mean action of its interval."""
        steps = self.action.shape[1]
        u = self.embed(loop_shares(loops, steps).to(self.action) @ self.action)  # (B, T, d)
        e = self.prelude(self.start, u, self.embedding)
        return self.block.condition(self.start, e, duration=steps).for_depth(loops)

    def at(self, remaining: int) -> Conditioning:
        """There is none before the number of loops is known.

        Raises:
            ValueError: always.
        """
        raise ValueError("the number of loops of a chunk is unknown, call for_depth() first")

    def select(self, rows: Tensor | slice) -> Chunk:
        """Narrow to some samples."""
        embedding = None if self.embedding is None else self.embedding[rows]
        return replace(self, start=self.start[rows], action=self.action[rows], embedding=embedding)


def loop_shares(loops: int | Tensor, steps: int) -> Tensor:
    """How the actions of a chunk are spread over its loops.

    Loop t of T covers the interval [t m / T, (t + 1) m / T) in control steps; its action is the mean over it.

    Args:
        loops: T, the same for all samples, or (B,).
        steps: control steps m of the chunk.

    Returns:
        weights (T, m), or (B, largest T, m) with rows of a shorter sample at the end; each row sums to 1.
    """
    if isinstance(loops, int):
        return _shares(loops, steps)
    deepest = int(loops.max())
    table = torch.zeros(deepest + 1, deepest, steps)
    for count in set(loops.tolist()):
        table[count, deepest - count :] = _shares(count, steps)
    return table[loops]


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept may be needed for gradients later
def _shares(loops: int, steps: int) -> Tensor:
    start = torch.arange(loops, dtype=torch.float64)[:, None] * steps / loops
    step = torch.arange(steps, dtype=torch.float64)
    overlap = torch.minimum(start + steps / loops, step + 1) - torch.maximum(start, step)
    return (overlap.clamp_min(0) * loops / steps).float()
