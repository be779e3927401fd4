"""Risk: what a plan is worth when several models disagree about what it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .composite import evaluate, is_constrained, rank
from .interfaces import Objective, RolloutModel, Trajectory
from .view import EnsembleTrajectory, members_of

MEASURES = ("mean", "cvar", "worst")


def cvar(scores: Tensor, alpha: float) -> Tensor:
    """Conditional value at risk: mean of the worst share `alpha` of equally likely scores.

    Scores are maximised, so the worst are the lowest. Where alpha K is no whole number the last of them counts in part,
    so that it falls continuously from the mean (alpha = 1) to the worst (alpha <= 1 / K). It equals
    max_t t - E[(t - score)+] / alpha (Rockafellar and Uryasev 2000, "Optimization of conditional value-at-risk").

    Args:
        scores: (K, N), one row for each model.
        alpha: in (0, 1].

    Returns:
        (N,).

    Raises:
        ValueError: alpha is out of range.
    """
    check_alpha(alpha)
    count = len(scores)
    share = (alpha * count - torch.arange(count, device=scores.device, dtype=scores.dtype)).clamp(0, 1)
    return (share / share.sum()) @ scores.sort(0).values


class Risk:
    """Judges candidates by their scores in all models of an ensemble: mean, CVaR or worst case.

    The same measure of the violations decides about hard constraints. With each of them a candidate is feasible only
    if it is in every model. What is about all models together, `Uncertainty`, stands outside:
    Composite([Uncertainty("q")], ..., base=Risk(objective)).

    Args:
        objective: scores what one model imagines.
        measure: mean, cvar or worst.
        alpha: of cvar: share of the models that counts, in (0, 1].

    Raises:
        ValueError: the measure is unknown or alpha out of range; when called: a single model imagined the trajectories.
    """

    def __init__(self, objective: Objective, measure: str = "mean", alpha: float = 0.25) -> None:
        if measure not in MEASURES:
            raise ValueError(f"risk is '{measure}', allowed {', '.join(MEASURES)}")
        check_alpha(alpha)
        self.objective, self.measure, self.alpha = objective, measure, alpha

    @property
    def constrained(self) -> bool:
        """Whether the objective has hard constraints."""
        return is_constrained(self.objective)

    def evaluate(self, trajectory: Trajectory, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Score (N,) and violation (N,), see `Composite.evaluate`."""
        members = members_of(trajectory, f"the risk measure '{self.measure}'")
        pairs = [evaluate(self.objective, member, actions) for member in members]
        scores, violations = (torch.stack(values) for values in zip(*pairs, strict=True))
        return self.over_models(scores), -self.over_models(-violations)

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        """Order of the candidates (N,); one that diverges in a model is not finite."""
        score, violation = self.evaluate(trajectory, actions)
        return rank(score, violation) if self.constrained else score

    def over_models(self, scores: Tensor) -> Tensor:
        """The measure of scores (K, N) -> (N,)."""
        if self.measure == "mean":
            return scores.mean(0)
        return scores.amin(0) if self.measure == "worst" else cvar(scores, self.alpha)


@dataclass(frozen=True)
class ModelSet:
    """Several models as one: each imagines every candidate. They share actions and observations.

    Attributes:
        models: at least one.
    """

    models: Sequence[RolloutModel]

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("ModelSet has 0 models, allowed >= 1; name the models")
        for name in ("nu", "ctrl_dt"):
            if len(found := {getattr(model, name) for model in self.models}) > 1:
                raise ValueError(f"the models of a ModelSet have {name} {sorted(found)}, allowed one for all of them")

    @property
    def nu(self) -> int:
        """Number of action dimensions."""
        return self.models[0].nu

    @property
    def ctrl_dt(self) -> float:
        """Duration of one action [s]."""
        return self.models[0].ctrl_dt

    def encode(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Start state of each model, for models that have `encode`."""
        models: Sequence[Any] = self.models
        return [model.encode(*args, **kwargs) for model in models]

    def rollout(self, state: Sequence[Any], actions: Tensor) -> EnsembleTrajectory:
        """Imagine action sequences (N, H, nu) with every model, each from its own start state."""
        pairs = zip(self.models, state, strict=True)
        return EnsembleTrajectory([model.rollout(start, actions) for model, start in pairs])


def check_alpha(alpha: float) -> None:
    """Refuse a share outside (0, 1].

    Raises:
        ValueError: it is.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha}, allowed (0, 1]; 1 is the mean, small values the worst case")
