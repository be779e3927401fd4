"""What all sampling planners share: propose candidates, score, update, repeat; within a deadline where there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .config import SamplingConfig
from .interfaces import Scorer
from .knots import interpolation_matrix
from .plan import Plan

FADE = 0.9
"""How fast a slow iteration is forgotten: the expected cost falls by a tenth at most from one iteration to the next."""

PROBE = 16
"""Candidates of the very first iteration under a deadline, when it is not known what one costs."""


class PlanningError(RuntimeError):
    """No candidate had a finite score."""


@dataclass(frozen=True)
class Search:
    """Where the search of one plan stands.

    Attributes:
        mean, std: of the sampling distribution over knots (K, nu); K = H where every action is free.
        kept: candidates that compete again (any, K, nu).
        iteration: iterations done.
        score: of what `mean` was made from; -inf before the first iteration.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    iteration: int = 0
    score: float = float("-inf")


class SamplingPlanner(ABC):
    """Base of the sampling planners: an algorithm is the two methods `propose` and `update`.

    Args:
        config: settings.
        nu: number of action dimensions.
        ctrl_dt: duration of one action [s].
        generator: source of all randomness; its device is the planner's device.
        clock: tells the time [s]; only its differences count.
    """

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
        self.candidate_cost = 0.0  # expected time for one candidate in one iteration [s]; 0 where nothing is known
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
            search: before it.
            candidates: with finite scores only (M, K, nu), best first, M at least 1.
            scores: theirs (M,), falling.
        """

    def samples(self, iteration: int) -> int:
        """Candidates of an iteration where time allows."""
        return self.config.num_samples

    def begin(self, mean: Tensor) -> Search:
        """State before the first iteration; mean (K, nu)."""
        return Search(mean, torch.full_like(mean, self.config.init_std), mean.new_empty(0, *mean.shape))

    # -- all share -------------------------------------------------------------

    @torch.inference_mode()
    def plan(self, score: Scorer, warm_start: Tensor | None = None, deadline: float | None = None) -> Plan:
        """Search for the action sequence that scores best.

        Args:
            score: scores candidates (N, H, nu) -> (N,); a non-finite score excludes the candidate.
            warm_start: first guess of the mean (H, nu), for example `last_plan.shift()`.
            deadline: time that this plan may take [s], above 0; none takes that of the settings. What an iteration
                costs is learned from those before: one that would come too late takes fewer candidates, or is left out.
                Without any the plan is the warm start.

        Returns:
            the final mean of the distribution, in bounds.

        Raises:
            PlanningError: in some iteration no candidate had a finite score.
            ValueError: warm_start or the scores have the wrong shape, or the deadline is not above 0.
        """
        started = self.clock()
        allowed = self.config.deadline if deadline is None else deadline
        if allowed is not None and not allowed > 0:
            raise ValueError(f"deadline is {allowed} s, allowed > 0; leave it out to do all iterations")
        search = self.begin(self._initial_mean(warm_start))
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
            if not valid:
                raise PlanningError(
                    f"all {len(scores)} candidates have non-finite scores; the model or the objective diverged: "
                    "check the observation and the checkpoint"
                )
            best = torch.topk(torch.where(finite, scores, -torch.inf), self.ranked(valid))
            updated = self.update(search, candidates[best.indices], best.values)
            search = replace(updated, iteration=search.iteration + 1)
            spent = (self.clock() - begun) / num
            self.candidate_cost = max(spent, FADE * self.candidate_cost)
        return Plan(
            actions=self._actions(search.mean).clamp(-1, 1),
            std=search.std if self._expand is None else (self._expand.square() @ search.std.square()).sqrt(),
            score=search.score,
            ctrl_dt=self.ctrl_dt,
            iterations=search.iteration,
            num_invalid=num_invalid,
            wall_time=self.clock() - started,
        )

    def ranked(self, valid: int) -> int:
        """How many of the candidates with finite scores `update` is shown."""
        return min(self.config.num_elites, valid)

    def noise(self, num: int, colour: Tensor | None) -> Tensor:
        """Noise of unit variance (num, K, nu), correlated in time by colour (K, K)."""
        white = torch.empty(num, self.knots, self.nu, device=self.generator.device).normal_(generator=self.generator)
        return white if colour is None else torch.matmul(colour, white)

    def _affordable(self, iteration: int, left: float | None) -> int:
        """Candidates of an iteration that fit in the time left [s]; 0 where fewer than two do."""
        wanted = self.samples(iteration)
        if left is None:
            return wanted
        if not self.candidate_cost:
            return min(wanted, PROBE)
        fitting = min(wanted, int(max(left, 0.0) / self.candidate_cost))
        if fitting >= 2:
            return fitting
        if not iteration:  # or one slow iteration would be the last one for ever
            self.candidate_cost *= FADE
        return 0

    def _scores(self, score: Scorer, candidates: Tensor) -> Tensor:
        scores = score(self._actions(candidates))
        if scores.shape != (len(candidates),):
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}, allowed ({len(candidates)},); return one score a candidate"
            )
        return scores

    def _actions(self, knots: Tensor) -> Tensor:
        """Knots (..., K, nu) -> actions (..., H, nu)."""
        return knots if self._expand is None else (self._expand @ knots).clamp_(-1, 1)

    def _initial_mean(self, warm_start: Tensor | None) -> Tensor:
        shape = (self.config.horizon, self.nu)
        if warm_start is None:
            return torch.zeros(self.knots, self.nu, device=self.generator.device)
        if warm_start.shape != shape or not bool(torch.isfinite(warm_start).all()):
            raise ValueError(
                f"warm_start has shape {tuple(warm_start.shape)}, allowed {shape} with finite entries; "
                "pass Plan.shift() of a plan with the same horizon, or None"
            )
        mean = warm_start.to(self.generator.device, torch.float32).clamp(-1, 1)
        return mean if self._expand is None else (self._fit @ mean).clamp_(-1, 1)
