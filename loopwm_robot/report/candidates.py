"""What a planner considered for one plan: where each candidate would lead, how it scored, which were the elites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs import Polyline
from planners import AvoidSphere, Trajectory
from planners.composite import INFEASIBLE

from ..agent import MPCAgent
from ..types import Observed, Seen

COLOURS = "viridis"
"""From the worst candidate to the best."""
BROKEN = (0.78, 0.31, 0.04)
"""Colour of candidates that break a hard constraint."""
OBSTACLE = (0.80, 0.20, 0.20, 0.30)


@dataclass(frozen=True)
class Candidates:
    """All candidates of one plan, in the order in which they were scored.

    Attributes:
        paths: positions of the end effector (N, H + 1, 3) [m], from where it is now.
        scores: (N,); not finite where a candidate could not be scored.
        iteration: in which a candidate was made, from 0 (N,).
        elite: among the best of its iteration (N,).
        loops: of the model in each step (N, H); None for models without.
        chosen: positions under the plan (H + 1, 3) [m].
        feasible: whether the plan breaks no hard constraint.
    """

    paths: NDArray[np.float64]
    scores: NDArray[np.float64]
    iteration: NDArray[np.int64]
    elite: NDArray[np.bool_]
    loops: NDArray[np.int64] | None
    chosen: NDArray[np.float64]
    feasible: bool = True

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Candidates that break a hard constraint (N,)."""
        return self.scores < INFEASIBLE / 2

    def shade(self) -> NDArray[np.float64]:
        """Share of the candidates that are worse, in [0, 1] (N,); among those that break no constraint."""
        shade = np.zeros(len(self.scores))
        fine = np.isfinite(self.scores) & ~self.broken
        order = np.argsort(self.scores[fine], kind="stable")
        shade[np.flatnonzero(fine)[order]] = np.linspace(0, 1, len(order)) if len(order) > 1 else 1.0
        return shade

    def colours(self) -> NDArray[np.float64]:
        """Red, green and blue of each candidate (N, 3)."""
        colours = np.asarray(matplotlib.colormaps[COLOURS](self.shade()))[:, :3]
        colours[self.broken] = BROKEN
        return colours

    def shown(self, count: int) -> NDArray[np.int64]:
        """At most `count` candidates evenly from the worst to the best, the best last; diverged ones are left out."""
        order = np.argsort(np.where(np.isfinite(self.scores), self.scores, -np.inf), kind="stable")
        order = order[np.isfinite(self.scores[order]) & np.isfinite(self.paths[order]).all(axis=(1, 2))]
        if len(order) <= count:
            return order
        return order[np.linspace(0, len(order) - 1, count).round().astype(int)]

    def polylines(self, count: int) -> list[Polyline]:
        """Paths for a picture of the scene, `count` of them at most; elites are thicker."""
        colours = self.colours()
        return [
            Polyline(self.paths[i], (*colours[i], 0.9 if self.elite[i] else 0.45), 0.0022 if self.elite[i] else 0.0012)
            for i in self.shown(count)
        ]


class CandidateWatch:
    """Keeps what an agent considers, from plan to plan; made for looking, it decodes nothing while planning.

    Args:
        agent: whose plans are watched from now on.
        columns: of the end effector's position in the observation.
    """

    def __init__(self, agent: MPCAgent, columns: slice) -> None:
        self.agent, self.columns = agent, columns
        self._iterations: list[tuple[Trajectory, Tensor]] = []
        agent.watch = self

    def __call__(self, trajectory: Trajectory, actions: Tensor, scores: Tensor) -> None:
        self._iterations.append((trajectory, scores))

    def begin(self) -> None:
        """Forget what was considered before: call it before each plan."""
        self._iterations.clear()

    @torch.inference_mode()
    def candidates(self, obs: Seen, state: Any) -> Candidates:
        """What was considered for the last plan.

        Args:
            obs: what it was made for.
            state: the model's state for it.

        Raises:
            ValueError: nothing was.
        """
        plan = self.agent.last_plan
        if plan is None or not self._iterations:
            raise ValueError("the agent has considered no candidates, allowed after a plan; call begin(), then act()")
        vector = obs.vector if isinstance(obs, Observed) else obs
        start = np.asarray(vector[self.columns], np.float64)
        num_elites = int(getattr(getattr(self.agent.planner, "config", None), "num_elites", 1))
        parts = [self._paths(trajectory, start) for trajectory, _ in self._iterations]
        scores = [np.asarray(s.detach().cpu(), np.float64) for _, s in self._iterations]
        loops: list[Any] = [getattr(trajectory, "loops", None) for trajectory, _ in self._iterations]
        known = all(part is not None for part in loops)
        return Candidates(
            np.concatenate(parts),
            np.concatenate(scores),
            np.repeat(np.arange(len(scores)), [len(s) for s in scores]),
            np.concatenate([best(s, num_elites) for s in scores]),
            np.concatenate([part.cpu().numpy() for part in loops]) if known else None,
            self._paths(self.agent.model.rollout(state, plan.actions[None]), start)[0],
            plan.feasible,
        )

    def _paths(self, trajectory: Trajectory, start: NDArray[np.float64]) -> NDArray[np.float64]:
        ends = np.asarray(trajectory.observations(self.columns).detach().cpu(), np.float64)  # (N, H, 3)
        return np.concatenate([np.broadcast_to(start, (len(ends), 1, 3)), ends], axis=1)


@dataclass(frozen=True)
class Scene:
    """What is drawn into a picture beside the path of the plan: some candidates, and obstacles."""

    columns: slice
    watch: CandidateWatch | None = None
    count: int = 0
    obstacles: Sequence[Polyline] = ()

    def begin(self) -> None:
        """A plan is about to be made."""
        if self.watch is not None:
            self.watch.begin()

    def overlay(self, obs: Seen, state: Any) -> list[Polyline]:
        """Paths and obstacles for the last plan, made for obs from the model's state."""
        considered = self.watch.candidates(obs, state).polylines(self.count) if self.watch is not None else []
        return [*considered, *self.obstacles]


def best(scores: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Which are the `count` highest finite scores (N,)."""
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")[:count]
    chosen = np.zeros(len(scores), bool)
    chosen[order] = np.isfinite(scores[order])
    return chosen


def ball(sphere: AvoidSphere) -> Polyline:
    """A sphere to draw: a capsule that has no length to speak of."""
    centre = np.asarray(sphere.centre, np.float64)
    return Polyline(np.stack([centre, centre + np.array([0, 0, 1e-5])]), OBSTACLE, sphere.radius)


def spheres(terms: Sequence[Any]) -> list[AvoidSphere]:
    """The spheres that the end effector avoids, among the costs of a planner."""
    return [term for term in terms if isinstance(term, AvoidSphere) and term.of == "ee_pos"]
