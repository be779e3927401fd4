"""What keeps a fine-tuned model near what it was."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Anchor:
    """Pulls weights back to where they were: w <- w - rate * strength * (w - w_old), beside the optimiser's step.

    A step of Adam is about `rate` at most, so no weight gets much further than 1 / strength from its old value. It is
    apart from the gradient for the reason that AdamW's decay is (arXiv 1711.05101): Adam would scale it away.

    Args:
        parameters: as they are now.
        strength: above 0.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], strength: float) -> None:
        self.parameters: list[Tensor] = [p for p in parameters if p.requires_grad]
        self.strength = strength
        self.old: list[Tensor] = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def pull(self, rate: float) -> None:
        """One step at a learning rate."""
        share = min(1.0, rate * self.strength)
        torch._foreach_lerp_(self.parameters, self.old, share)
