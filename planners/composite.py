"""Soft costs and hard constraints put together, and how candidates rank that break some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .interfaces import Objective, Trajectory
from .objectives import check_discount, discount_weights
from .term import Layout, Term
from .view import View

INFEASIBLE = -1e9
"""Candidates that break a constraint score INFEASIBLE (1 + violation); all others score above INFEASIBLE / 2."""


def rank(score: Tensor, violation: Tensor) -> Tensor:
    """One number that orders candidates: the feasible ones by score, below them the others by violation.

    The order holds from one set of candidates to another. As a factor of 1 + violation even float32 tells violations
    apart that differ by 1e-7.

    Args:
        score: (N,).
        violation: (N,), at least 0; 0 breaks nothing.

    Returns:
        (N,) float32 or better; not finite where the violation, or the score of a feasible candidate, is not.
    """
    violation = violation.to(torch.promote_types(violation.dtype, torch.float32))
    bounded = torch.where(score.isfinite(), score.clamp_min(INFEASIBLE / 2), score).to(violation)
    return torch.where(violation == 0, bounded, INFEASIBLE * (1 + violation))


def evaluate(objective: Objective, trajectory: Trajectory, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Score (N,) and violation (N,) of trajectories; objectives without constraints violate nothing."""
    split: Any = getattr(objective, "evaluate", None)
    if split is not None:
        score, violation = split(trajectory, actions)
        return score, violation
    score = objective(trajectory, actions)
    return score, torch.zeros_like(score)


def is_constrained(objective: Objective) -> bool:
    """Whether candidates can break something."""
    return bool(getattr(objective, "constrained", False))


class Composite:
    """An objective made of terms.

        score     = base - sum_soft weight sum_k discount^k e_k      (terminal terms: weight e_H)
        violation = sum_hard weight sum_k e_k

    Args:
        terms: costs and constraints; your own are subclasses of `Term` with a method `excess`.
        layout: columns of the observation by name, for example `envs.observation_groups(7)`.
        ctrl_dt: duration of one action [s].
        goal: (n_goal,), for terms without a target of their own; (H, n_goal) where it moves: after each action.
        base: an objective that the terms are added to.
        discount: of later steps, in (0, 1].

    Raises:
        ValueError: there is nothing to optimise, a term does not fit the layout, or a number is out of range.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        layout: Layout,
        ctrl_dt: float,
        goal: Tensor | None = None,
        base: Objective | None = None,
        discount: float = 1.0,
    ) -> None:
        check_discount(discount)
        if not ctrl_dt > 0:
            raise ValueError(f"ctrl_dt is {ctrl_dt} s, allowed > 0; pass the duration of one action")
        if not terms and base is None:
            raise ValueError("the objective has no terms, allowed one or more; add a cost such as Reach")
        for term in terms:
            term.check(layout, goal)
        self.terms, self.layout, self.ctrl_dt, self.goal = tuple(terms), layout, ctrl_dt, goal
        self.base, self.discount = base, discount

    @property
    def constrained(self) -> bool:
        """Whether some terms are hard."""
        return any(term.hard for term in self.terms) or (self.base is not None and is_constrained(self.base))

    def evaluate(self, trajectory: Trajectory, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Score and violation of trajectories.

        Args:
            trajectory: N imagined trajectories.
            actions: that made them (N, H, nu).

        Returns:
            score (N,), higher is better, and violation (N,), 0 where every constraint holds.
        """
        score, violation = actions.new_zeros(len(actions)), actions.new_zeros(len(actions))
        if self.base is not None:
            score, violation = evaluate(self.base, trajectory, actions)
        goal = self.goal if self.goal is None or self.goal.ndim == 1 else self.goal[: actions.shape[1]]
        whole = View(trajectory, actions, self.layout, self.ctrl_dt, goal)
        last = whole.terminal() if any(term.when == "terminal" for term in self.terms) else whole
        for term in self.terms:
            view = last if term.when == "terminal" else whole
            excess = (term.excess(view) - term.tolerance).clamp_min(0)
            if term.hard:
                violation = violation + term.weight * excess.sum(1)
            else:
                score = score - term.weight * (excess @ discount_weights(excess.shape[1], self.discount, excess))
        return score, violation

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        """Order of the candidates (N,), see `rank`."""
        score, violation = self.evaluate(trajectory, actions)
        return rank(score, violation) if self.constrained else score
