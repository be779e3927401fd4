"""Model + objective = scorer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .interfaces import Objective, RolloutModel, Scorer


class TrajectoryScorer:
    """Scores candidates by imagining them with a model from one start state.

    Args:
        model: imagines trajectories.
        state: where they start; whatever the model calls a state.
        objective: scores them.
        shallow: the same model with fewer loops, for a cheap version of the scores.
    """

    def __init__(
        self, model: RolloutModel, state: Any, objective: Objective, shallow: RolloutModel | None = None
    ) -> None:
        self.model, self.state, self.objective = model, state, objective
        self.shallow: Scorer | None = None if shallow is None else TrajectoryScorer(shallow, state, objective)

    def __call__(self, actions: Tensor) -> Tensor:
        return self.objective(self.model.rollout(self.state, actions), actions)
