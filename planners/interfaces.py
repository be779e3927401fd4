"""What a planner calls. Models and objectives fit these protocols structurally; nothing needs to inherit.

At its smallest a planner needs one function, `Scorer`: action sequences in, scores out. A dynamics model that can
imagine trajectories fits `RolloutModel`; `planners.rollout.TrajectoryScorer` turns model and objective into a `Scorer`.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from .plan import Plan


class Scorer(Protocol):
    """Scores candidate action sequences; higher is better."""

    def __call__(self, actions: Tensor) -> Tensor:
        """Score candidates.

        Args:
            actions: (N, H, nu), each in [-1, 1].

        Returns:
            scores (N,); a candidate that cannot be scored gets a non-finite value and is never chosen. A planner whose
            `needs_gradient` is true differentiates them with respect to the actions.
        """
        ...


class StagedScorer(Scorer, Protocol):
    """A scorer with a cheap version of itself, such as a model with fewer loops; see `planner.depth`."""

    @property
    def shallow(self) -> Scorer | None:
        """Ranks candidates nearly as this does, and costs less; None where there is no such thing."""
        ...


class Prior(Protocol):
    """What a policy would do from the state that is planned from."""

    def __call__(self, num: int) -> Tensor:
        """Action sequences (num, H, nu), each in [-1, 1], differing by the policy's own noise."""
        ...


class Trajectory(Protocol):
    """N imagined trajectories of H steps. Decoding is lazy: only what an objective asks for is computed."""

    def observations(self, columns: slice | None = None) -> Tensor:
        """Predicted observations after each action (N, H, n), physical units; all numbers or those of `columns`."""
        ...

    def rewards(self) -> Tensor:
        """Predicted rewards (N, H)."""
        ...


class RolloutModel(Protocol):
    """A model that imagines what action sequences lead to."""

    @property
    def nu(self) -> int:
        """Number of action dimensions."""
        ...

    @property
    def ctrl_dt(self) -> float:
        """Duration of one action [s]."""
        ...

    def rollout(self, state: Any, actions: Tensor) -> Trajectory:
        """Imagine N action sequences (N, H, nu) from one start state (whatever the model calls a state)."""
        ...


class Objective(Protocol):
    """What makes a trajectory good."""

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        """Score trajectories made by actions (N, H, nu); returns (N,), higher is better."""
        ...


class Planner(Protocol):
    """Finds actions that score well."""

    def plan(self, score: Scorer, warm_start: Tensor | None = None, executed: int = 1) -> Plan:
        """Search for actions that score well.

        Args:
            score: scores candidates.
            warm_start: a first guess (H, nu).
            executed: actions of the last plan that were carried out since it was made.
        """
        ...
