"""Laws that every sampling planner keeps, and what sets each one apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import ALGORITHMS, ICEM, MPPI, PlanningError, SamplingConfig, SamplingPlanner, make_planner
from planners.noise import colouring_matrix

H, NU, DT = 5, 2, 0.05
CONFIG = SamplingConfig(horizon=H, num_samples=256, num_elites=24, iterations=12, init_std=0.5, min_std=1e-3)
NAMES = sorted(ALGORITHMS)
LOCAL = [name for name in NAMES if name != "random_shooting"]
REFITTED = ["cem", "icem", "mppi"]


def planner(name: str, config: SamplingConfig = CONFIG, seed: int = 0, nu: int = NU) -> SamplingPlanner:
    return make_planner(name, config, nu, DT, torch.Generator().manual_seed(seed))


def quadratic(target: Tensor):
    return lambda actions: -(actions - target).square().sum(dim=(1, 2))


def smooth_target() -> Tensor:
    return 0.5 * torch.sin(torch.arange(H * NU).reshape(NU, H).T / 3.0)


TOLERANCE = {"cem": 0.02, "icem": 0.05, "mppi": 0.05, "predictive_sampling": 0.5}


@pytest.mark.parametrize("name, tolerance", TOLERANCE.items())
def test_finds_the_optimum_of_a_quadratic_score(name, tolerance):
    """Predictive sampling keeps its deviation of 0.5: it only gets near."""
    config = replace(CONFIG, noise_smoothing=0.0, iterations=20)
    plan = planner(name, config).plan(quadratic(smooth_target()))
    assert (plan.actions - smooth_target()).abs().max() < tolerance


@pytest.mark.parametrize("name", NAMES)
def test_more_iterations_are_no_worse_and_better_than_nothing(name):
    score = quadratic(smooth_target())
    few = planner(name, replace(CONFIG, iterations=1)).plan(score)
    many = planner(name, replace(CONFIG, iterations=12)).plan(score)
    nothing = score(torch.zeros(1, H, NU))
    assert score(many.actions[None]) >= score(few.actions[None])
    assert score(many.actions[None]) > nothing


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_plan_and_other_seed_other_plan(name):
    score = quadratic(smooth_target())
    a, b, c = (planner(name, seed=s).plan(score).actions for s in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("name", NAMES)
def test_candidates_and_plan_stay_in_bounds_whatever_the_scores_are(name):
    generator = torch.Generator().manual_seed(0)
    seen = []

    def score(actions: Tensor) -> Tensor:
        seen.append(float(actions.detach().abs().max()))
        return torch.randn(len(actions), generator=generator) * 1e6 + 0 * actions.sum(dim=(1, 2))

    for knots, kind in ((0, "cubic"), (3, "cubic"), (2, "linear"), (4, "hold")):
        config = replace(CONFIG, knots=knots, interpolation=kind, init_std=1.0)
        plan = planner(name, config).plan(score, warm_start=torch.full((H, NU), 9.0))
        assert max(seen) <= 1 and plan.actions.abs().max() <= 1
        assert plan.actions.shape == plan.std.shape == (H, NU)


@pytest.mark.parametrize("name", NAMES)
def test_non_finite_candidates_are_never_chosen_and_all_non_finite_raises(name):
    def score(actions: Tensor) -> Tensor:
        value = actions[:, 0, 0]
        return torch.where(value > 0.3, torch.full_like(value, torch.nan), value)

    plan = planner(name).plan(score)
    assert plan.actions[0, 0] <= 0.3 and plan.num_invalid > 0
    with pytest.raises(PlanningError, match="non-finite"):
        planner(name).plan(lambda actions: actions.sum(dim=(1, 2)) * torch.inf)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_candidates_does_not_matter(name):
    score = quadratic(smooth_target())

    def shuffled(actions: Tensor) -> Tensor:
        order = torch.randperm(len(actions), generator=torch.Generator().manual_seed(7))
        scores = torch.empty(len(actions))
        scores[order] = score(actions[order])
        return scores

    assert torch.allclose(planner(name).plan(shuffled).actions, planner(name).plan(score).actions, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("horizon, nu, samples, iterations", [(1, 1, 2, 1), (1, 3, 2, 2), (7, 1, 3, 2), (4, 9, 33, 3)])
def test_any_problem_size(name, horizon, nu, samples, iterations):
    config = SamplingConfig(horizon=horizon, num_samples=samples, num_elites=1, keep_elites=1, iterations=iterations)
    plan = planner(name, config, nu=nu).plan(lambda a: -a.square().sum(dim=(1, 2)))
    assert plan.actions.shape == (horizon, nu) and bool(torch.isfinite(plan.actions).all())
    assert plan.iterations == iterations


@pytest.mark.parametrize("name", LOCAL)
def test_a_warm_start_at_the_optimum_stays_there(name):
    target = smooth_target()
    config = replace(CONFIG, iterations=2, init_std=0.05)
    plan = planner(name, config).plan(quadratic(target), warm_start=target)
    assert (plan.actions - target).abs().max() < 0.05


@pytest.mark.parametrize("name", REFITTED)
def test_the_deviation_shrinks_where_the_optimum_is_certain(name):
    plan = planner(name).plan(quadratic(smooth_target()))
    assert plan.std.max() < 0.1 * CONFIG.init_std


def test_mppi_with_a_low_temperature_takes_the_best_and_with_a_high_one_the_mean():
    """The two limits of the softmax."""
    config = replace(CONFIG, iterations=1, momentum=0.0, keep_elites=0)
    drawn: list[Tensor] = []

    def score(actions: Tensor) -> Tensor:
        drawn.append(actions.clone())
        return quadratic(smooth_target())(actions)

    cold = planner("mppi", replace(config, temperature=1e-6)).plan(score)
    elites = drawn[0][torch.topk(quadratic(smooth_target())(drawn[0]), config.num_elites).indices]
    assert torch.allclose(cold.actions, elites[0], atol=1e-6)
    warm = planner("mppi", replace(config, temperature=1e6)).plan(score)
    assert torch.allclose(warm.actions, elites.mean(0), atol=1e-4)
    assert isinstance(planner("mppi"), MPPI)


def test_icem_has_fewer_candidates_later_and_at_least_twice_the_elites():
    counts: list[int] = []
    config = replace(CONFIG, num_samples=100, num_elites=10, keep_elites=4, decay=0.5, iterations=5)
    planner("icem", config).plan(lambda a: counts.append(len(a)) or -a.square().sum(dim=(1, 2)))
    assert counts == [100, 50, 25, 20, 20]


def test_icem_returns_the_best_candidate_it_saw():
    score = quadratic(smooth_target())
    best = torch.tensor(-torch.inf)

    def watch(actions: Tensor) -> Tensor:
        nonlocal best
        found = score(actions)
        best = torch.maximum(best, found.max())
        return found

    plan = planner("icem").plan(watch)
    assert score(plan.actions[None])[0] == pytest.approx(float(best), abs=1e-7)
    assert plan.score == pytest.approx(float(best), abs=1e-7)


@pytest.mark.parametrize("executed", [0, 1, 3, 9])
@pytest.mark.parametrize("knots", [0, H])
def test_icem_starts_a_warm_plan_with_the_elites_of_the_last_one_as_they_go_on(executed, knots):
    config = replace(CONFIG, iterations=1, keep_elites=3, knots=knots, interpolation="linear")
    found = planner("icem", config)
    score, drawn = quadratic(smooth_target()), []

    def watch(actions: Tensor) -> Tensor:
        drawn.append(actions.clone())
        return score(actions)

    first = found.plan(watch)
    elites = drawn[0][torch.topk(score(drawn[0]), 3).indices]
    kept = elites[:, [min(k + executed, H - 1) for k in range(H)]]
    assert isinstance(found, ICEM)
    found.plan(watch, first.shift(executed), executed)
    assert torch.allclose(drawn[1][1:4], kept, atol=1e-5)
    assert torch.equal(first.actions, elites[0])  # the plan was the best of them
    found.plan(watch)  # a cold start knows nothing
    assert not torch.allclose(drawn[2][1], kept[0], atol=1e-3)


def test_icem_remembers_knots_as_the_actions_they_stand_for():
    """Fewer knots than actions: what goes on from now is fitted anew."""
    config = replace(CONFIG, iterations=1, keep_elites=1, knots=2, interpolation="linear")
    found, drawn = planner("icem", config), []
    line = torch.linspace(-0.8, 0.8, H)[:, None].expand(-1, NU)

    def watch(actions: Tensor) -> Tensor:
        drawn.append(actions.clone())
        return quadratic(line)(actions)

    first = found.plan(watch)
    found.plan(watch, first.shift(), 1)
    wanted = found.fit(torch.cat([first.actions[1:], first.actions[-1:]]))
    assert torch.allclose(drawn[1][1], found.actions(wanted), atol=1e-5)


@pytest.mark.parametrize("name", ["icem", "predictive_sampling", "random_shooting"])
def test_the_best_candidate_is_the_plan_whenever_the_search_ends(name):
    """Also where elites do not compete again, and where time ends the search."""
    for seed in range(20):
        best, now = torch.tensor(-torch.inf), 0.0

        def watch(actions: Tensor) -> Tensor:
            nonlocal best, now
            now += 1e-3 * len(actions)
            found = quadratic(smooth_target())(actions)
            best = torch.maximum(best, found.max())
            return found

        config = replace(CONFIG, num_samples=64, num_elites=8, keep_elites=0, iterations=3)
        found = planner(name, config, seed)
        found.clock = lambda: now  # noqa: B023
        found.cost.observe(64, 0.064)
        found.cost.observe(32, 0.032)
        deadline = (None, 0.1)[seed % 2]
        plan = found.plan(watch, deadline=deadline)
        assert plan.iterations == (3 if deadline is None else 2)
        assert plan.score == pytest.approx(float(best), abs=1e-6)
        assert float(quadratic(smooth_target())(plan.actions[None])) == pytest.approx(float(best), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_found_is_kept_when_a_later_iteration_has_no_finite_score(name):
    calls = 0

    def score(actions: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return quadratic(smooth_target())(actions) * (torch.nan if calls > 1 else 1.0)

    plan = planner(name).plan(score)
    once = planner(name, replace(CONFIG, iterations=1)).plan(quadratic(smooth_target()))
    assert plan.iterations == 1 and torch.equal(plan.actions, once.actions)
    assert plan.num_invalid > 0


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_coloured_noise_has_unit_variance_and_is_smoother_the_larger_beta_is(beta):
    noise = colouring_matrix(16, beta) @ torch.randn(16, 100_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(noise.var(dim=1), torch.ones(16), atol=0.03)  # 6 sigma of 1e5 samples
    step = (noise[1:] - noise[:-1]).square().mean()
    expected = {0.0: 2.0, 1.0: 0.85, 2.0: 0.25}[beta]
    assert float(step) == pytest.approx(expected, rel=0.25)


def test_an_unknown_algorithm_names_the_known_ones():
    with pytest.raises(ValueError, match=r"planner.algorithm is 'sgd', allowed cem, icem"):
        planner("sgd")


@pytest.mark.parametrize("steps, nu", [(1, 1), (5, 1), (6, 7), (40, 7)])
@pytest.mark.parametrize("fade", [0.0, 0.5])
def test_candidates_are_mirrored_and_their_noise_is_coloured_less_in_each_iteration(steps, nu, fade):
    """One product for all actions, one for each candidate, or none: the covariance that is asked for."""
    made = SamplingConfig(horizon=steps, iterations=2, noise_smoothing=0.8, noise_fade=fade)
    found = planner("cem", made, nu=nu)
    mean, std = torch.full((steps, nu), 0.1), torch.linspace(0.02, 0.1, steps * nu).view(steps, nu)
    for iteration, smoothing in enumerate((0.8, 0.8 * fade)):
        search = replace(found.begin(mean, 0), std=std, iteration=iteration)
        x = found.around(search, 8001) - mean
        assert torch.allclose(x[:4000], -x[4001:], atol=1e-6)
        z = (x / std)[:4001].transpose(1, 2).reshape(-1, steps)
        lag = (torch.arange(steps)[:, None] - torch.arange(steps)).abs()
        expected = smoothing**lag if smoothing else torch.eye(steps)
        assert torch.allclose(z.T @ z / len(z), expected, atol=0.1)  # 5 standard errors of 4,001 samples
