"""The learned policy, imagined by its model: candidates for the planner, and a controller of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from planners import Prior

from .models.dynamics import DynamicsModel
from .types import LatentState

NOISE = 0.2
"""Deviation of the noise on the actions of all sequences but the first [action units]."""


class PolicyPrior:
    """Action sequences of a model's learned policy.

    Args:
        model: has learned one, and imagines where it leads.
        horizon: actions H in a sequence.
        generator: of the noise that makes the sequences differ, on the model's device.
        noise: its deviation [action units].
    """

    def __init__(
        self, model: DynamicsModel, horizon: int, generator: torch.Generator, noise: float = NOISE
    ) -> None:
        self.model, self.horizon, self.generator, self.noise = model, horizon, generator, noise

    def at(self, state: LatentState) -> Prior:
        """What the policy would do from a state (1, S, d): num -> (num, H, nu), the first sequence without noise."""

        def prior(num: int) -> Tensor:
            return self.sequences(state, num)

        return prior

    def sequences(self, state: LatentState, num: int) -> Tensor:
        """`num` sequences from a state (1, S, d): (num, H, nu), each in [-1, 1]."""
        state, chosen = state.expand(num), []
        for k in range(self.horizon):
            action = self.model.act(state.h, state.goal)
            noise = torch.randn(action.shape, generator=self.generator, device=action.device) * self.noise
            noise[0] = 0
            action = (action + noise).clamp(-1, 1)
            chosen.append(action)
            if k + 1 < self.horizon:
                state, _ = self.model.step(state, action)
        return torch.stack(chosen, 1)
