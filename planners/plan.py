"""The result of planning: a sequence of actions and how it was found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """A sequence of actions that the planner recommends.

    Attributes:
        actions: recommended actions (H, nu), each in [-1, 1].
        std: spread of the final sampling distribution (H, nu); small where the planner is certain.
        score: mean score of the elites that `actions` was refitted from, or that of `actions` where they are the best
            candidate found (rewards are maximised); -inf where there was no time for any.
        ctrl_dt: duration of one action [s].
        iterations: number of optimiser iterations done.
        num_invalid: candidates that were dropped because their score was not finite.
        wall_time: time spent planning [s].
        considered: actions that candidates were scored over, see `planner.min_horizon`; those after them are the warm
            start's.
        scored: candidates that the scorer was asked about.
        scored_shallow: candidates that its cheap version was asked about, see `planner.depth`.
        violation: by how much `actions` break the objective's hard constraints; 0 where they break none. Above 0 no
            candidate was feasible, and `actions` violate least.
    """

    actions: Tensor
    std: Tensor
    score: float
    ctrl_dt: float
    iterations: int
    num_invalid: int
    wall_time: float
    considered: int = 0
    scored: int = 0
    scored_shallow: int = 0
    violation: float = 0.0

    @property
    def feasible(self) -> bool:
        """Whether every hard constraint holds."""
        return self.violation == 0

    @property
    def horizon(self) -> int:
        """Number of actions H."""
        return int(self.actions.shape[0])

    def shift(self, steps: int = 1, fill: float = 0.0) -> Tensor:
        """Drop the first actions and append `fill`: the warm start for the next control step.

        Args:
            steps: how many actions have been executed since the plan was made, at least 0.
            fill: value of the appended actions; 0 means "no motion asked for" in delta and velocity modes.

        Returns:
            actions (H, nu); a new tensor.

        Raises:
            ValueError: steps is negative.
        """
        if steps < 0:
            raise ValueError(f"steps is {steps}, allowed >= 0; pass the number of executed actions")
        shifted = torch.full_like(self.actions, fill)
        if steps < self.horizon:
            shifted[: self.horizon - steps] = self.actions[steps:]
        return shifted
