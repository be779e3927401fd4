"""Model + objective = scorer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .composite import evaluate, is_constrained, rank
from .interfaces import Objective, RolloutModel, Trajectory
from .plan import Plan

Watch = Callable[[Trajectory, Tensor, Tensor], None]
"""Is shown every iteration of a plan: trajectories, actions (N, H, nu) and scores (N,)."""


class TrajectoryScorer:
    """Scores candidates by imagining them with a model from one start state.

    Args:
        model: imagines trajectories.
        state: where they start; whatever the model calls a state.
        objective: scores them.
        watch: is shown what was imagined and how it scored.
        shallow: the same model with fewer loops, for a cheap version of the scores.
    """

    def __init__(
        self,
        model: RolloutModel,
        state: Any,
        objective: Objective,
        *,
        watch: Watch | None = None,
        shallow: RolloutModel | None = None,
    ) -> None:
        self.model, self.state, self.objective, self.watch = model, state, objective, watch
        self.shallow = None if shallow is None else TrajectoryScorer(shallow, state, objective, watch=watch)
        self.constrained = is_constrained(objective)
        self._best: tuple[float, Tensor] | None = None

    def __call__(self, actions: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.state = recordable(self.state)
        trajectory = self.model.rollout(self.state, actions)
        scores = self.objective(trajectory, actions)
        if self.constrained:
            self._remember(actions, scores)
        if self.watch is not None:
            self.watch(trajectory, actions, scores)
        return scores

    @torch.no_grad()
    def settle(self, plan: Plan) -> Plan:
        """Hold a plan to the hard constraints, if the objective has some.

        The mean of feasible candidates may break them, left and right of an obstacle for example. Then the best
        candidate that was scored takes its place; where none was feasible, the one that violates least.

        Args:
            plan: made with this scorer.

        Returns:
            the plan with its own score and violation.
        """
        if not self.constrained:
            return plan
        actions = plan.actions
        score, violation = self._evaluate(actions)
        own = float(rank(score, violation))
        if self._best is not None and violation != 0 and not own >= self._best[0]:
            actions = self._best[1]
            score, violation = self._evaluate(actions)
        return dataclasses.replace(plan, actions=actions, score=float(score), violation=float(violation))

    def _evaluate(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Score and violation of one sequence (H, nu)."""
        score, violation = evaluate(self.objective, self.model.rollout(self.state, actions[None]), actions[None])
        return score[0], violation[0]

    def _remember(self, actions: Tensor, scores: Tensor) -> None:
        """Keep the best candidate so far."""
        comparable = torch.where(scores.isfinite(), scores, -torch.inf).detach()
        highest, index = comparable.max(0)
        if math.isfinite(float(highest)) and (self._best is None or float(highest) > self._best[0]):
            self._best = float(highest), actions[index].detach().clone()


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
