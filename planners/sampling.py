"""What all sampling planners share: propose candidates, score, update, repeat; within a deadline where there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from .config import SamplingConfig
from .cost import IterationCost
from .interfaces import Scorer
from .knots import interpolation_matrix
from .plan import Plan

PROBE = 16
"""Candidates of an iteration that is done to learn what one costs."""


class PlanningError(RuntimeError):
    """No candidate had a finite score."""


@dataclass(frozen=True)
class Search:
    """Where the search of one plan stands.

    Attributes:
        mean, std: of the sampling distribution over knots (K, nu); K = H where every action is free.
        kept: candidates that compete again (any, K, nu).
        best: the candidate with the highest score so far (K, nu); the first mean before the first iteration.
        iteration: iterations done.
        score: of what `mean` was made from; -inf before the first iteration.
        best_score: of `best`; -inf before the first iteration.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    best: Tensor
    iteration: int = 0
    score: float = float("-inf")
    best_score: float = float("-inf")


class SamplingPlanner(ABC):
    """Base of the sampling planners: an algorithm is the two methods `propose` and `update`.

    Args:
        config: settings.
        nu: number of action dimensions.
        ctrl_dt: duration of one action [s].
        generator: source of all randomness; its device is the planner's device.
        clock: tells the time [s]; only its differences count.
    """

    takes_best: ClassVar[bool] = False
    """Whether the plan is the best candidate that was found, instead of the mean."""

    def __init__(
        self,
        config: SamplingConfig,
        nu: int,
        ctrl_dt: float,
        generator: torch.Generator,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.nu, self.ctrl_dt, self.generator, self.clock = config, nu, ctrl_dt, generator, clock
        self.knots = config.knots or config.horizon
        self.cost = IterationCost()
        self._expand: Tensor | None = None
        if config.knots:
            self._expand = interpolation_matrix(config.horizon, config.knots, config.interpolation)
            self._expand = self._expand.to(generator.device)
            self._fit = torch.linalg.pinv(self._expand)  # (K, H): least squares

    # -- an algorithm defines ------------------------------------------------

    @abstractmethod
    def propose(self, search: Search, num: int) -> Tensor:
        """Candidates of the next iteration (num, K, nu), each in [-1, 1]."""

    @abstractmethod
    def update(self, search: Search, candidates: Tensor, scores: Tensor) -> Search:
        """What was learned from an iteration.

        Args:
            search: before it, but for `best`, which knows of it.
            candidates: the elites: those with the highest finite scores (M, K, nu), best first, M at least 1.
            scores: theirs (M,), falling.
        """

    def samples(self, iteration: int) -> int:
        """Candidates of an iteration where time allows."""
        return self.config.num_samples

    def begin(self, mean: Tensor, executed: int) -> Search:
        """State before the first iteration; mean (K, nu), and the actions carried out since the last plan."""
        return Search(mean, torch.full_like(mean, self.config.init_std), mean.new_empty(0, *mean.shape), mean)

    # -- all share -------------------------------------------------------------

    @torch.inference_mode()
    def plan(
        self,
        score: Scorer,
        warm_start: Tensor | None = None,
        executed: int = 1,
        deadline: float | None = None,
    ) -> Plan:
        """Search for the action sequence that scores best.

        Args:
            score: scores candidates (N, H, nu) -> (N,); a non-finite score excludes the candidate.
            warm_start: first guess of the mean (H, nu), for example `last_plan.shift(executed)`.
            executed: actions of the last plan that were carried out since; counts with a warm start only.
            deadline: time that this plan may take [s], above 0; none takes that of the settings. An iteration that is
                expected to come too late takes fewer candidates, or is left out. Without any the plan is the warm
                start.

        Returns:
            what the search ended with, in bounds; also where a later iteration had no finite score.

        Raises:
            PlanningError: in the first iteration no candidate had a finite score.
            ValueError: warm_start or the scores have the wrong shape, or the deadline is not above 0.
        """
        started = self.clock()
        allowed = self.config.deadline if deadline is None else deadline
        if allowed is not None and not allowed > 0:
            raise ValueError(f"deadline is {allowed} s, allowed > 0; leave it out to do all iterations")
        search = self.begin(self._initial_mean(warm_start), executed)
        num_invalid = 0
        while search.iteration < self.config.iterations:
            begun = self.clock()
            num = self._affordable(search.iteration, None if allowed is None else started + allowed - begun)
            if not num:
                break
            candidates = self.propose(search, num)
            scores = self._scores(score, candidates)
            finite = torch.isfinite(scores)
            valid = int(finite.sum())
            num_invalid += len(scores) - valid
            if not valid and search.iteration:
                break
            if not valid:
                raise PlanningError(
                    f"all {len(scores)} candidates have non-finite scores; the model or the objective diverged: "
                    "check the observation and the checkpoint"
                )
            top = torch.topk(torch.where(finite, scores, -torch.inf), min(self.config.num_elites, valid))
            elites = candidates[top.indices]
            if (highest := float(top.values[0])) > search.best_score:
                search = replace(search, best=elites[0], best_score=highest)
            search = replace(self.update(search, elites, top.values), iteration=search.iteration + 1)
            self.cost.observe(num, self.clock() - begun)
        return Plan(
            actions=self.actions(search.best if self.takes_best else search.mean).clamp(-1, 1),
            std=search.std if self._expand is None else (self._expand.square() @ search.std.square()).sqrt(),
            score=search.best_score if self.takes_best else search.score,
            ctrl_dt=self.ctrl_dt,
            iterations=search.iteration,
            num_invalid=num_invalid,
            wall_time=self.clock() - started,
        )

    def noise(self, num: int, colour: Tensor | None) -> Tensor:
        """Noise of unit variance (num, K, nu), correlated in time by colour (K, K)."""
        white = torch.empty(num, self.knots, self.nu, device=self.generator.device).normal_(generator=self.generator)
        return white if colour is None else torch.matmul(colour, white)

    def actions(self, knots: Tensor) -> Tensor:
        """Knots (..., K, nu) -> actions (..., H, nu)."""
        return knots if self._expand is None else (self._expand @ knots).clamp_(-1, 1)

    def fit(self, actions: Tensor) -> Tensor:
        """Actions (..., H, nu) -> the knots that come nearest (..., K, nu), each in [-1, 1]."""
        return actions if self._expand is None else (self._fit @ actions).clamp_(-1, 1)

    def _affordable(self, iteration: int, left: float | None) -> int:
        """Candidates of an iteration that fit in the time left [s]; 0 where fewer than half of the elites do."""
        wanted = self.samples(iteration)
        if left is None:
            return wanted
        few = min(wanted, PROBE)
        if not self.cost.sizes:
            return few
        num = self.cost.fitting(wanted, left)
        if num >= min(wanted, max(2, self.config.num_elites // 2)):
            return num
        if iteration:
            return 0
        if self.cost.sizes == 1 and self.cost.least(few) <= left:  # how much less a few cost is not known yet
            return few
        self.cost.fade()
        return 0

    def _scores(self, score: Scorer, candidates: Tensor) -> Tensor:
        scores = score(self.actions(candidates))
        if scores.shape != (len(candidates),):
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}, allowed ({len(candidates)},); return one score a candidate"
            )
        return scores

    def _initial_mean(self, warm_start: Tensor | None) -> Tensor:
        shape = (self.config.horizon, self.nu)
        if warm_start is None:
            return torch.zeros(self.knots, self.nu, device=self.generator.device)
        if warm_start.shape != shape or not bool(torch.isfinite(warm_start).all()):
            raise ValueError(
                f"warm_start has shape {tuple(warm_start.shape)}, allowed {shape} with finite entries; "
                "pass Plan.shift() of a plan with the same horizon, or None"
            )
        return self.fit(warm_start.to(self.generator.device, torch.float32).clamp(-1, 1))
