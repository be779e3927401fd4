"""Laws of a plan, for problems of any size: what is asked for comes back, whenever it is stopped."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from planners import ALGORITHMS, Plan, PlanningError, SamplingConfig, SamplingPlanner, make_planner

H, NU = 4, 2
CONFIG = SamplingConfig(horizon=H, num_samples=16, num_elites=4, keep_elites=2, iterations=4, prior_samples=3)
NAMES = sorted(ALGORITHMS)


def make(name: str, config: SamplingConfig = CONFIG, nu: int = NU, seed: int = 0) -> SamplingPlanner:
    return make_planner(name, config, nu, 0.05, torch.Generator().manual_seed(seed))


def score(actions: Tensor) -> Tensor:
    return -(actions - 0.3).square().sum(dim=(1, 2))


def assert_valid(plan: Plan, horizon: int = H, nu: int = NU) -> None:
    assert plan.actions.shape == plan.std.shape == (horizon, nu)
    assert plan.actions.abs().max() <= 1 and bool(torch.isfinite(plan.std).all()) and bool((plan.std >= 0).all())


@st.composite
def problems(draw: st.DrawFn) -> tuple[SamplingConfig, int]:
    horizon, samples = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    elites = draw(st.integers(1, samples))
    limit = st.none() | st.floats(0.01, 2)
    config = SamplingConfig(
        horizon=horizon,
        num_samples=samples,
        num_elites=elites,
        keep_elites=draw(st.integers(0, elites)),
        iterations=draw(st.integers(1, 3)),
        momentum=draw(st.sampled_from([0.0, 0.1, 0.9])),
        noise_smoothing=draw(st.sampled_from([0.0, 0.5, 0.9])),
        knots=draw(st.integers(0, horizon)),
        interpolation=draw(st.sampled_from(["hold", "linear", "cubic"])),
        rate_limit=draw(limit),
        jerk_limit=draw(limit),
        prior_samples=draw(st.integers(0, 5)),
    )
    return config, draw(st.integers(1, 5))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(problem=problems(), seed=st.integers(0, 2**31), share=st.sampled_from([0.0, 0.3]))
def test_any_problem_has_a_valid_plan_that_is_no_worse_where_the_best_is_taken(name, problem, seed, share):
    """One candidate, one step and one action dimension included; some candidates have no score."""
    config, nu = problem
    planner, luck = make(name, config, nu, seed), torch.Generator().manual_seed(seed)
    best = -torch.inf

    def unsteady(actions: Tensor) -> Tensor:
        nonlocal best
        assert actions.shape[1:] == (config.horizon, nu) and 1 <= len(actions) <= config.num_samples
        assert actions.abs().max() <= 1
        missing = torch.rand(len(actions), generator=luck) < share
        missing[0] = False
        found = torch.where(missing, torch.nan, score(actions))
        best = max(best, float(found.detach()[~missing].max()))
        return found

    plan = planner.plan(unsteady, prior=lambda num: torch.full((num, config.horizon, nu), 0.2))
    assert_valid(plan, config.horizon, nu)
    assert plan.iterations == config.iterations
    if planner.takes_best:
        assert plan.score == pytest.approx(best, abs=1e-5)
        assert float(score(plan.actions[None])) == pytest.approx(best, abs=1e-4)
    assert_valid(planner.plan(unsteady, plan.shift()), config.horizon, nu)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_candidate_is_the_warm_start(name):
    config = replace(CONFIG, num_samples=1, num_elites=1, keep_elites=1, iterations=1)
    warm, seen = torch.rand(H, NU, generator=torch.Generator().manual_seed(5)), []
    plan = make(name, config).plan(lambda a: seen.append(a.detach().clone()) or score(a), warm)
    assert torch.equal(seen[0], warm[None])
    assert torch.allclose(plan.actions, warm, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("calls", range(5))
def test_a_cancelled_plan_is_what_was_found_before(name, calls):
    """Asked before each iteration: after k of them the plan is that of k iterations."""
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > calls

    warm = torch.full((H, NU), 0.1)
    plan = make(name).plan(score, warm, cancel=cancel)
    assert_valid(plan)
    assert plan.iterations == min(calls, CONFIG.iterations)
    if calls:
        other = make(name, replace(CONFIG, iterations=min(calls, CONFIG.iterations))).plan(score, warm)
        assert torch.equal(plan.actions, other.actions) and plan.score == other.score
    else:
        assert torch.equal(plan.actions, warm) and plan.score == float("-inf")


@pytest.mark.parametrize("name", NAMES)
def test_an_event_cancels_from_inside_a_score(name):
    """It is set while the second iteration is scored: that one still counts."""
    stop, calls = threading.Event(), 0

    def watch(actions: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            stop.set()
        return score(actions)

    plan = make(name).plan(watch, cancel=stop.is_set)
    assert plan.iterations == 2
    assert_valid(plan)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("failing", [1, 3])
def test_an_error_in_the_score_leaves_the_planner_as_usable_as_before(name, failing):
    planner, calls = make(name, replace(CONFIG, rate_limit=0.1)), 0
    first = planner.plan(score)

    def broken(actions: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return score(actions)

    with pytest.raises(KeyboardInterrupt):
        planner.plan(broken, first.shift())
    plan = planner.plan(score, first.shift())
    assert_valid(plan)
    assert (plan.actions[0] - first.actions[0]).abs().max() <= 0.1 + 1e-6  # goes on from the first plan


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_plan_leaves_the_last_one_in_force(name):
    planner = make(name, replace(CONFIG, rate_limit=0.1))
    first = planner.plan(score)
    with pytest.raises(PlanningError):
        planner.plan(lambda a: score(a) * torch.nan, first.shift())
    plan = planner.plan(score, first.shift())
    assert (plan.actions[0] - first.actions[0]).abs().max() <= 0.1 + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_shift_then_plan_stays_at_the_optimum_of_a_stationary_problem(name):
    """The best action is 0.3 at every step: a plan of it, shifted and filled, is as good as the plan was."""
    config = replace(CONFIG, iterations=6, num_samples=64, num_elites=8, init_std=0.05, min_std=0.0)
    planner, best = make(name, config), torch.full((H, NU), 0.3)
    plan = planner.plan(score, best)
    for _ in range(3):
        assert float(score(plan.actions[None])) > -0.02
        plan = planner.plan(score, plan.shift(1, fill=0.3))
    unshifted = planner.plan(score, plan.actions, executed=0)
    assert float(score(unshifted.actions[None])) > -0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_is_among_the_candidates_and_wins_where_it_is_best(name):
    best, seen = torch.linspace(-0.9, 0.9, H * NU).reshape(H, NU), []

    def sharp(actions: Tensor) -> Tensor:
        seen.append(actions.detach().clone())
        return -(actions - best).square().sum((1, 2))

    def prior(num: int) -> Tensor:
        assert num == 3
        return torch.stack([best, torch.full((H, NU), torch.nan), torch.full((H, NU), 7.0)])

    planner = make(name, replace(CONFIG, iterations=2))
    plan = planner.plan(sharp, prior=prior)
    for k, candidates in enumerate(seen):
        among = bool((candidates == best).all((1, 2)).any())
        assert among if planner.repeats_prior or not k else True
        assert bool(torch.isfinite(candidates).all()) and candidates.abs().max() <= 1
    if planner.takes_best:
        assert torch.equal(plan.actions, best)
    without = make(name, replace(CONFIG, iterations=2)).plan(sharp)
    assert sharp(plan.actions[None]) > sharp(without.actions[None])


def test_a_prior_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"prior gave shape \(3, 1, 2\), allowed \(3, 4, 2\)"):
        make("cem").plan(score, prior=lambda num: torch.zeros(num, 1, NU))


def test_no_prior_samples_ask_no_policy():
    plan = make("cem", replace(CONFIG, prior_samples=0)).plan(score, prior=lambda num: torch.zeros(9))
    assert torch.equal(plan.actions, make("cem").plan(score).actions)


TINY = SamplingConfig(horizon=2, num_samples=4, num_elites=2, keep_elites=1, iterations=1, rate_limit=0.5)


MANY = [pytest.param(name, 3000, marks=pytest.mark.slow) for name in ("cem", "icem")]


@pytest.mark.parametrize("name, plans", [*((name, 100) for name in NAMES), *MANY])
def test_memory_does_not_grow_from_plan_to_plan(name, plans):
    """Python's own allocations, in which every tensor has a part.

    A leak shows in every block of plans; what the interpreter puts aside once (its caches for hot code) does not.
    """
    planner = make(name, TINY, nu=1)
    plan = planner.plan(score)
    grown = []
    gc.collect()
    gc.freeze()  # what was there before costs the collections below no time
    tracemalloc.start(1)
    try:
        for _ in range(4):
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(plans):
                plan = planner.plan(score, plan.shift(), deadline=1.0)
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    smallest_object = 16  # bytes, of Python's allocator
    assert min(grown) < smallest_object * plans, f"{grown} bytes in four times {plans} plans"
