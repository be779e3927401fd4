"""Monitoring mode: a light projection of the imagined latent, compared with what is observed (eq 20)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_STEPS = 64
"""Imagined control steps for which a level of normal mismatch is kept; later steps use the last one."""


class Monitor(nn.Module):
    """g_w and the level of mismatch that is normal after so many imagined steps.

    Args:
        tokens: observed tokens G.
        d: their width.

    Attributes:
        level: 99th percentile of the mismatch on held-out data after 1, 2, ... control steps (MAX_STEPS,);
            0 before calibration.
    """

    level: Tensor

    def __init__(self, tokens: int, d: int) -> None:
        super().__init__()
        self.project = nn.Linear(d, d)
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.register_buffer("level", torch.zeros(MAX_STEPS))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Mean square of g_w(h) - e for tokens (..., G, d) -> (...)."""
        return (self.project(h) - embedding).square().mean(dim=(-2, -1))

    def calibrate(self, mismatch: Tensor, share: float = 0.99) -> None:
        """Take the levels from held-out data.

        Args:
            mismatch: of N imagined trajectories after 1..K control steps (N, K), K at most MAX_STEPS.
            share: of the normal states that score below 1.

        Raises:
            ValueError: there are no trajectories, or more steps than levels.
        """
        if not (len(mismatch) and 1 <= mismatch.shape[1] <= MAX_STEPS):
            raise ValueError(
                f"mismatch has shape {tuple(mismatch.shape)}, allowed at least one trajectory of 1 to {MAX_STEPS} steps"
            )
        levels = torch.quantile(mismatch, share, dim=0).cummax(0).values
        self.level[: len(levels)] = levels
        self.level[len(levels) :] = levels[-1]

    def score(self, mismatch: Tensor, steps: int) -> Tensor:
        """Mismatch in units of its normal level.

        Raises:
            ValueError: steps is below 1, or the levels are not calibrated.
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}, allowed >= 1; a state just encoded has nothing to be compared with")
        level = self.level[min(steps, MAX_STEPS) - 1]
        if not bool(level > 0):
            raise ValueError(
                "the monitor has no levels; calibrate it on held-out data (loopwm_robot.training.calibrate)"
            )
        return mismatch / level
