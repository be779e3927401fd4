"""Model + objective = scorer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .interfaces import Objective, RolloutModel


class TrajectoryScorer:
    """Scores candidates by imagining them with a model from one start state.

    Args:
        model: imagines trajectories.
        state: where they start; whatever the model calls a state.
        objective: scores them.
    """

    def __init__(self, model: RolloutModel, state: Any, objective: Objective) -> None:
        self.model, self.state, self.objective = model, state, objective

    def __call__(self, actions: Tensor) -> Tensor:
        return self.objective(self.model.rollout(self.state, actions), actions)
