"""What all sampling planners share: propose candidates, score, update, repeat; within a deadline where there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from .config import SamplingConfig
from .cost import IterationCost
from .interfaces import Prior, Scorer
from .knots import interpolation_matrix
from .limits import ActionLimits, Past, check_previous
from .plan import Plan
from .prior import ask
from .search import PlanningError, Search


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
    needs_gradient: ClassVar[bool] = False
    """Whether scores have to be differentiable in the actions; then nothing runs in torch's inference mode."""
    repeats_prior: ClassVar[bool] = True
    """Whether a policy's candidates compete in every iteration, instead of the first."""

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
        self.limits: ActionLimits | None = None
        if config.rate_limit is not None or config.jerk_limit is not None:
            self.limits = ActionLimits(config.rate_limit, config.jerk_limit)
        self._past = Past()
        self._before = torch.zeros(2, nu, device=generator.device)
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
            search: before it, but for `best` and `chosen`, which know of it.
            candidates: the elites: those with the highest finite scores (M, K, nu), best first, M at least 1.
            scores: theirs (M,), falling.
        """

    def samples(self, iteration: int) -> int:
        """Candidates of an iteration where time allows."""
        return self.config.num_samples

    def elites(self, num: int) -> int:
        """How many of `num` candidates `update` is told of, at most."""
        return self.config.num_elites

    def begin(self, mean: Tensor, executed: int) -> Search:
        """State before the first iteration; mean (K, nu), and the actions carried out since the last plan."""
        return Search(mean, torch.full_like(mean, self.config.init_std), mean.new_empty(0, *mean.shape), mean)

    def forget(self) -> None:
        """A plan begins without a warm start: earlier plans say nothing about it."""
        self._past.forget()

    # -- all share -------------------------------------------------------------

    def plan(
        self,
        score: Scorer,
        warm_start: Tensor | None = None,
        executed: int = 1,
        deadline: float | None = None,
        *,
        previous: Tensor | None = None,
        prior: Prior | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Plan:
        """Search for the action sequence that scores best.

        Args:
            score: scores candidates (N, H, nu) -> (N,); a non-finite score excludes the candidate.
            warm_start: first guess of the mean (H, nu), for example `last_plan.shift(executed)`.
            executed: actions of the last plan that were carried out since; counts with a warm start only.
            deadline: time that this plan may take [s], above 0; none takes that of the settings. An iteration that is
                expected to come too late takes fewer candidates, or is left out. Without any the plan is the warm
                start.
            previous: the latest actions that were carried out (1 or more, nu), the last one last: where the limits on
                rate and jerk begin. None takes those of the last plan, and rest (0) without a warm start.
            prior: a policy, whose action sequences are among the candidates.
            cancel: asked before each iteration; once it says yes the plan is what was found before.

        Returns:
            what the search ended with, within bounds and limits; also where a later iteration had no finite score.

        Raises:
            PlanningError: in the first iteration no candidate had a finite score.
            ValueError: an argument or what `score` or `prior` gave has the wrong shape or is out of range.
        """
        with torch.inference_mode(not self.needs_gradient), torch.no_grad():
            return self._plan(score, warm_start, executed, deadline, previous, prior, cancel)

    def _plan(
        self,
        score: Scorer,
        warm_start: Tensor | None,
        executed: int,
        deadline: float | None,
        previous: Tensor | None,
        prior: Prior | None,
        cancel: Callable[[], bool] | None,
    ) -> Plan:
        started = self.clock()
        allowed = self.config.deadline if deadline is None else deadline
        if allowed is not None and not allowed > 0:
            raise ValueError(f"deadline is {allowed} s, allowed > 0; leave it out to do all iterations")
        if warm_start is None:
            self.forget()
        mean = self._initial_mean(warm_start)
        self._before = self._past.after(executed, mean) if previous is None else check_previous(previous, mean)
        search = self.begin(mean, executed)
        told = self._told(prior)
        num_invalid = 0
        while search.iteration < self.config.iterations and not (cancel and cancel()):
            begun = self.clock()
            num = self._affordable(search.iteration, None if allowed is None else started + allowed - begun)
            if not num:
                break
            candidates = self.propose(search, num)
            if told is not None and (self.repeats_prior or not search.iteration):
                candidates[max(1, num - len(told)) :] = told[: num - 1]
            if self._expand is None:
                candidates = self.limited(candidates)
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
            ranked = scores if valid == len(scores) else torch.where(finite, scores, -torch.inf)
            top = torch.topk(ranked, min(self.elites(num), valid))
            elites = candidates[top.indices]
            search = replace(search, chosen=top.indices)
            if (highest := float(top.values[0])) > search.best_score:
                search = replace(search, best=elites[0], best_score=highest)
            search = replace(self.update(search, elites, top.values), iteration=search.iteration + 1)
            self.cost.observe(num, self.clock() - begun)
        actions = self.actions(search.best if self.takes_best else search.mean).clamp(-1, 1)
        actions = actions if self._expand is not None else self.limited(actions)
        self._past.remember(self._before, actions)
        return Plan(
            actions=actions,
            std=search.std if self._expand is None else (self._expand.square() @ search.std.square()).sqrt(),
            score=search.best_score if self.takes_best else search.score,
            ctrl_dt=self.ctrl_dt,
            iterations=search.iteration,
            num_invalid=num_invalid,
            wall_time=self.clock() - started,
        )

    def noise(self, num: int, colour: Tensor | None) -> Tensor:
        """Noise of unit variance (num, K, nu), correlated in time by colour (K, K), or by `for_all` of it."""
        white = torch.empty(num, self.knots, self.nu, device=self.generator.device).normal_(generator=self.generator)
        if colour is None:
            return white
        if len(colour) == self.knots:
            return torch.matmul(colour, white)
        return (white.flatten(1) @ colour).view_as(white)

    def limited(self, actions: Tensor) -> Tensor:
        """Actions (..., H, nu) within the limits on rate and jerk, following on what was carried out."""
        return actions if self.limits is None else self.limits(actions, self._before)

    def actions(self, knots: Tensor) -> Tensor:
        """Knots (..., K, nu) -> actions (..., H, nu), within the limits where they are interpolated."""
        return knots if self._expand is None else self.limited((self._expand @ knots).clamp_(-1, 1))

    def fit(self, actions: Tensor) -> Tensor:
        """Actions (..., H, nu) -> the knots that come nearest (..., K, nu), each in [-1, 1]."""
        return actions if self._expand is None else (self._fit @ actions).clamp_(-1, 1)

    def _affordable(self, iteration: int, left: float | None) -> int:
        """Candidates of an iteration that fit in the time left [s]; 0 where fewer than num_elites / 2 do."""
        wanted = self.samples(iteration)
        if left is None:
            return wanted
        return self.cost.affordable(wanted, max(2, self.config.num_elites // 2), left, first=not iteration)

    def _scores(self, score: Scorer, candidates: Tensor) -> Tensor:
        scores = score(self.actions(candidates))
        if scores.shape != (len(candidates),):
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}, allowed ({len(candidates)},); return one score a candidate"
            )
        return scores

    def _told(self, prior: Prior | None) -> Tensor | None:
        """Candidates of a policy as knots (any, K, nu)."""
        num = min(self.config.prior_samples, self.config.num_samples - 1)
        if prior is None or not num:
            return None
        return self.fit(ask(prior, num, self.config.horizon, self.nu).to(self._before))

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
