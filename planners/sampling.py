"""What all sampling planners share: propose candidates, score, update, repeat; within a deadline where there is one."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import ClassVar

import torch
from torch import Tensor

from .config import SamplingConfig
from .cost import PROBE, REMEMBERED, IterationCost
from .interfaces import Prior, Scorer
from .knots import interpolation_matrix
from .limits import ActionLimits, Past, check_previous
from .plan import Plan
from .prior import ask
from .search import Iteration, PlanningError, Search, Tally, Terms
from .staged import Promotion


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
    ranks_some: ClassVar[bool] = True
    """Whether `update` makes sense of a part of the candidates, scored anew; see `planner.depth`."""

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
        self.cost, self.shallow_cost = IterationCost(), IterationCost()
        self._ends: deque[float] = deque([0.0], REMEMBERED)  # time from the last iteration to the plan [s]
        self.promotion = Promotion(config.promoted, config.num_samples, config.agreement)
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

    def follow(self, actions: Tensor) -> None:
        """Not the last plan but other actions (H, nu) are carried out: limits on rate and jerk follow on these."""
        self._past.remember(self._before, actions)

    def take_over(self, other: SamplingPlanner, actions: Tensor) -> None:
        """The last plan of another planner, as actions (H, nu), is carried out: limits follow on it."""
        self._before = other._before
        self.follow(actions)

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
        until = None if allowed is None else started + allowed - max(self._ends)
        terms = Terms(until, self._told(prior), cancel or _never)
        search, tally = self.begin(mean, executed), Tally(self.config.horizon)
        shallow: Scorer | None = getattr(score, "shallow", None)
        if shallow is not None and self.config.depth == "staged" and self.ranks_some and self.promotion.begin():
            search = self._staged(score, shallow, search, terms, tally)
        else:
            search, _ = self._search(score, self.cost, search, terms, tally)
        searched = self.clock()
        actions = self.actions(search.best if self.takes_best else search.mean).clamp(-1, 1)
        if tally.considered < len(actions):  # nothing is known of what comes after
            actions = torch.cat([actions[: tally.considered], self.actions(mean)[tally.considered :]])
            actions = self.limited(actions)
        elif self._expand is None:
            actions = self.limited(actions)
        self._past.remember(self._before, actions)
        std = search.std if self._expand is None else (self._expand.square() @ search.std.square()).sqrt()
        ended = self.clock()
        if not search.iteration:  # a slow moment would count for ever so many plans
            self._ends.clear()
        self._ends.append(ended - searched)
        return Plan(
            actions=actions,
            std=std,
            score=search.best_score if self.takes_best else search.score,
            ctrl_dt=self.ctrl_dt,
            iterations=search.iteration,
            wall_time=ended - started,
            **asdict(tally),
        )

    def _search(
        self, score: Scorer, cost: IterationCost, search: Search, terms: Terms, tally: Tally, reserve: float = 0.0
    ) -> tuple[Search, Iteration | None]:
        """Iterate until all is done or the time is over, and from the second on leave a reserve [s].

        Returns:
            what was found, and the last iteration if there was any.
        """
        last, whole = None, self.config.horizon
        steps = self._steps(cost, terms.left(self.clock()))
        tally.considered = steps

        def over(actions: Tensor) -> Tensor:
            return score(actions[:, :steps])

        while search.iteration < self.config.iterations and not terms.cancel():
            begun = self.clock()
            left = terms.left(begun, reserve if search.iteration else 0.0)
            num = self._affordable(search.iteration, cost, left if left is None else left * whole / steps)
            if not num:
                break
            candidates = self.propose(search, num)
            if terms.told is not None and (self.repeats_prior or not search.iteration):
                candidates[max(1, num - len(terms.told)) :] = terms.told[: num - 1]
            if self._expand is None:
                candidates = self.limited(candidates)
            scores = self._scores(score if steps == whole else over, candidates, tally)
            if scores is None and search.iteration:
                break
            last = Iteration(search, candidates, _required(scores, num))
            search = replace(self._learn(last), iteration=search.iteration + 1)
            cost.observe(num, (self.clock() - begun) * whole / steps)
        return search, last

    def _staged(self, score: Scorer, shallow: Scorer, search: Search, terms: Terms, tally: Tally) -> Search:
        """Search with the shallow scorer, then rank the best of the last iteration with the full one."""
        reserve = self.cost.expected(self.promotion.count + self.takes_best)
        search, last = self._search(shallow, self.shallow_cost, search, terms, tally, reserve)
        tally.scored, tally.scored_shallow = 0, tally.scored
        return search if last is None or terms.cancel() else self._rank(score, search, last, terms, tally)

    def _rank(self, score: Scorer, search: Search, last: Iteration, terms: Terms, tally: Tally) -> Search:
        """Do the last iteration over with the best of its candidates, scored in full where time allows."""
        begun = self.clock()
        wanted = min(self.promotion.count, len(last.scores))
        num, least, more = wanted, self._enough(wanted), int(self.takes_best)
        left = terms.left(begun)
        if left is not None:
            known = self.cost.sizes > 0
            num = self.cost.fitting(wanted + more, left) - more if known else min(wanted, PROBE)
            if num < least and known:
                self.cost.fade()
                return search
        top = torch.topk(last.scores, num)
        chosen = last.candidates[top.indices]
        if self.takes_best:
            chosen = torch.cat([chosen, search.best[None]])
        scores = _required(self._scores(score, chosen, tally), len(chosen))
        self.cost.observe(len(chosen), self.clock() - begun)
        if num < least:  # done to learn what it costs
            return search
        self.promotion.observe(top.values, scores[:num])
        tally.considered = self.config.horizon
        before = replace(last.search, best_score=float("-inf"))
        return replace(self._learn(Iteration(before, chosen, scores)), iteration=search.iteration)

    def _learn(self, done: Iteration) -> Search:
        """The search after an iteration; its best candidates are the elites."""
        values, indices = torch.topk(done.scores, min(self.elites(len(done.scores)), len(done.scores)))
        told: list[float] = values.cpu().tolist()  # one call
        if told[-1] == -math.inf:
            valid = sum(map(math.isfinite, told))
            values, indices = values[:valid], indices[:valid]
        elites, search = done.candidates[indices], done.search
        better = (highest := told[0]) > search.best_score
        best, best_score = (elites[0], highest) if better else (search.best, search.best_score)
        return self.update(replace(search, chosen=indices, best=best, best_score=best_score), elites, values)

    def limited(self, actions: Tensor) -> Tensor:
        """Actions (..., H, nu) within the limits on rate and jerk, following on what was carried out."""
        return actions if self.limits is None else self.limits(actions, self._before)

    def actions(self, knots: Tensor) -> Tensor:
        """Knots (..., K, nu) -> actions (..., H, nu), within the limits where they are interpolated."""
        return knots if self._expand is None else self.limited((self._expand @ knots).clamp_(-1, 1))

    def fit(self, actions: Tensor) -> Tensor:
        """Actions (..., H, nu) -> the knots that come nearest (..., K, nu), each in [-1, 1]."""
        return actions if self._expand is None else (self._fit @ actions).clamp_(-1, 1)

    def _affordable(self, iteration: int, cost: IterationCost, left: float | None) -> int:
        """Candidates of an iteration that fit in the time left [s]; 0 where fewer than num_elites / 2 do."""
        wanted = self.samples(iteration)
        if left is None:
            return wanted
        return cost.affordable(wanted, self._enough(wanted), left, first=not iteration)

    def _steps(self, cost: IterationCost, left: float | None) -> int:
        """Actions that candidates are scored over: all of them, or those that the time left [s] has room for."""
        c = self.config
        needed = cost.expected(self._enough(self.samples(0)))
        if not c.min_horizon or left is None or needed <= left:
            return c.horizon
        steps = int(c.horizon * left / needed)
        return steps if steps >= c.min_horizon else c.horizon

    def _enough(self, wanted: int) -> int:
        """Candidates that make an iteration worth its while."""
        return min(wanted, max(2, self.config.num_elites // 2))

    def _scores(self, score: Scorer, candidates: Tensor, tally: Tally) -> Tensor | None:
        """Scores of candidates (N,), those that are not finite at -inf; None where none is."""
        scores = score(self.actions(candidates))
        if scores.shape != (len(candidates),):
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}, allowed ({len(candidates)},); return one score a candidate"
            )
        tally.scored += len(scores)
        if math.isfinite(float(scores.detach().sum())):  # so are all of them: one small call instead of three
            return scores
        finite = torch.isfinite(scores)
        valid = int(finite.sum())
        tally.num_invalid += len(scores) - valid
        if valid == len(scores):  # too large to be added up
            return scores
        return torch.where(finite, scores, -torch.inf) if valid else None

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


def _required(scores: Tensor | None, num: int) -> Tensor:
    if scores is None:
        raise PlanningError(
            f"all {num} candidates have non-finite scores; the model or the objective diverged: "
            "check the observation and the checkpoint"
        )
    return scores


def _never() -> bool:
    return False
