"""What costs see of imagined trajectories: columns by name, decoded once and only where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .interfaces import Trajectory


@dataclass(frozen=True)
class View:
    """Imagined trajectories, with the names of their columns.

    Attributes:
        trajectory: N trajectories of K steps.
        actions: that made them (N, H, nu).
        layout: columns by name.
        ctrl_dt: duration of one action [s].
        goal: (n_goal,), if there is one; (K, n_goal) where it moves: after each step.
    """

    trajectory: Trajectory
    actions: Tensor
    layout: Mapping[str, slice]
    ctrl_dt: float
    goal: Tensor | None = None
    _decoded: dict[str, Tensor] = field(default_factory=dict)

    def group(self, name: str) -> Tensor:
        """A group of observed numbers after each step (N, K, n)."""
        if name not in self._decoded:
            self._decoded[name] = self.trajectory.observations(self.layout[name])
        return self._decoded[name]

    def terminal(self) -> View:
        """The same after the last step alone (K = 1): models that decode late decode nothing else."""
        goal = self.goal if self.goal is None or self.goal.ndim == 1 else self.goal[-1:]
        return View(last_of(self.trajectory), self.actions, self.layout, self.ctrl_dt, goal)


@dataclass(frozen=True)
class LastStep:
    """The last step of trajectories that cannot leave the others out by themselves."""

    trajectory: Trajectory

    def observations(self, columns: slice | None = None) -> Tensor:
        """Observations after the last action (N, 1, n)."""
        return self.trajectory.observations(columns)[:, -1:]

    def rewards(self) -> Tensor:
        """Rewards of the last action (N, 1)."""
        return self.trajectory.rewards()[:, -1:]


@dataclass(frozen=True)
class EnsembleTrajectory:
    """The same candidates as several models imagine them; read as one trajectory it is their mean."""

    parts: Sequence[Trajectory]

    def members(self) -> Sequence[Trajectory]:
        """One trajectory for each model."""
        return self.parts

    def observations(self, columns: slice | None = None) -> Tensor:
        """Mean observations (N, H, n)."""
        return sum_of([part.observations(columns) for part in self.parts]) / len(self.parts)

    def rewards(self) -> Tensor:
        """Mean rewards (N, H)."""
        return sum_of([part.rewards() for part in self.parts]) / len(self.parts)

    def terminal(self) -> EnsembleTrajectory:
        """Only the last step."""
        return EnsembleTrajectory([last_of(part) for part in self.parts])


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Sum of tensors of one shape."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def last_of(trajectory: Trajectory) -> Trajectory:
    """The last step of trajectories, decoded as late as they can."""
    terminal: Any = getattr(trajectory, "terminal", None)
    return LastStep(trajectory) if terminal is None else terminal()


def members_of(trajectory: Trajectory, wanted_by: str) -> Sequence[Trajectory]:
    """What each model of an ensemble imagines.

    Raises:
        ValueError: a single model imagined it.
    """
    members: Any = getattr(trajectory, "members", None)
    if members is None:
        raise ValueError(
            f"{wanted_by} needs several models, got one; plan with an ensemble (loopwm train model=ensemble), with "
            "planner.model=simulator planner.simulator.randomised=8, or with planners.ModelSet"
        )
    return members()
