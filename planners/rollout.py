"""Model + objective = scorer."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
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
        if torch.is_grad_enabled():
            self.state = recordable(self.state)
        return self.objective(self.model.rollout(self.state, actions), actions)


def recordable(state: Any) -> Any:
    """The same state where autograd can take it up: tensors made in torch's inference mode are copied.

    Args:
        state: tensors, in any nesting of data classes, tuples, lists and dicts; other things stay what they are.
    """
    if isinstance(state, Tensor):
        return state.clone() if state.is_inference() else state
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        fields = [field.name for field in dataclasses.fields(state) if field.init]
        return dataclasses.replace(state, **{name: recordable(getattr(state, name)) for name in fields})
    if isinstance(state, tuple):
        items = [recordable(item) for item in state]
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    if isinstance(state, list):
        return [recordable(item) for item in state]
    if isinstance(state, dict):
        return {key: recordable(item) for key, item in state.items()}
    return state
