"""CEM on analytic problems whose optimum is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import CEM, Plan, PlanningError, SamplingConfig
from planners.noise import smoothing_matrix

H, NU, DT = 5, 3, 0.05
SHARP = SamplingConfig(
    horizon=H, num_samples=256, num_elites=24, iterations=12, init_std=0.5, min_std=1e-3, noise_smoothing=0.0
)
"""Converges to the optimum of small problems: wide white noise, many iterations."""


def planner(config: SamplingConfig = SHARP, seed: int = 0) -> CEM:
    return CEM(config, NU, DT, torch.Generator().manual_seed(seed))


def quadratic(target: Tensor):
    return lambda actions: -(actions - target).square().sum(dim=(1, 2))


def test_finds_the_optimum_of_a_quadratic_score():
    target = torch.rand(H, NU, generator=torch.Generator().manual_seed(1)) - 0.5
    plan = planner().plan(quadratic(target))
    assert torch.allclose(plan.actions, target, atol=0.02)  # action units; the final std is 1e-3
    assert plan.iterations == SHARP.iterations and plan.num_invalid == 0 and plan.wall_time > 0
    assert plan.ctrl_dt == DT and plan.horizon == H


def test_optimum_outside_the_bounds_is_met_at_the_bound():
    config = replace(SHARP, iterations=30)  # near a bound clipping halves the effective spread: slower
    plan = planner(config).plan(quadratic(torch.full((H, NU), 3.0)))
    assert torch.allclose(plan.actions, torch.ones(H, NU), atol=0.01)


def test_candidates_and_plan_stay_in_bounds():
    seen = []

    def score(actions: Tensor) -> Tensor:
        seen.append(actions.abs().max().item())
        return actions.sum(dim=(1, 2))

    plan = planner().plan(score, warm_start=torch.full((H, NU), 5.0))
    assert max(seen) <= 1 and plan.actions.abs().max() <= 1


def test_lqr_double_integrator_matches_the_exact_solution():
    """x' = x + v dt, v' = v + a dt; CEM must reach the cost of the least-squares optimum within 1 %."""
    dt, horizon = 0.2, 6
    x0 = torch.tensor([0.3, 0.0])
    transition = torch.tensor([[1.0, dt], [0.0, 1.0]])
    control = torch.tensor([0.0, dt])
    free, rows = [], torch.zeros(horizon, 2, horizon)
    state = x0
    for k in range(horizon):
        state = transition @ state
        free.append(state)
        for j in range(k + 1):
            rows[k, :, j] = torch.linalg.matrix_power(transition, k - j) @ control

    def cost(actions: Tensor) -> Tensor:
        states = torch.stack(free) + torch.einsum("kij,nj->nki", rows, actions[..., 0])
        return states.square().sum(dim=(1, 2)) + 0.01 * actions.square().sum(dim=(1, 2))

    a = torch.cat([rows.reshape(-1, horizon), 0.1 * torch.eye(horizon)])
    b = torch.cat([-torch.stack(free).reshape(-1), torch.zeros(horizon)])
    exact = torch.linalg.lstsq(a, b[:, None]).solution.T[..., None]  # (1, H, 1)
    assert exact.abs().max() < 1  # the optimum is inside the bounds
    config = replace(SHARP, horizon=horizon)
    plan = CEM(config, 1, dt, torch.Generator().manual_seed(0)).plan(lambda x: -cost(x))
    assert cost(plan.actions[None]).item() <= 1.01 * cost(exact).item()


def test_same_seed_same_plan_and_other_seed_other_plan():
    score = quadratic(torch.zeros(H, NU))
    a, b, c = (planner(seed=s).plan(score).actions for s in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_order_of_candidates_does_not_matter():
    """Elites are chosen by score: scoring in shuffled order gives the same plan."""
    target = torch.full((H, NU), 0.2)

    def shuffled(actions: Tensor) -> Tensor:
        order = torch.randperm(len(actions), generator=torch.Generator().manual_seed(7))
        scores = torch.empty(len(actions))
        scores[order] = quadratic(target)(actions[order])
        return scores

    assert torch.allclose(planner().plan(shuffled).actions, planner().plan(quadratic(target)).actions, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_candidates_are_never_elite(bad):
    """Half of the space scores `bad`; its optimum would lie there, yet the plan stays outside."""

    def score(actions: Tensor) -> Tensor:
        value = actions[:, 0, 0]
        return torch.where(value > 0.3, torch.full_like(value, bad), value)

    plan = planner().plan(score)
    assert plan.actions[0, 0] <= 0.3 and plan.num_invalid > 0


def test_fewer_finite_candidates_than_elites():
    def score(actions: Tensor) -> Tensor:
        scores = torch.full((len(actions),), torch.nan)
        scores[:2] = actions[:2].sum(dim=(1, 2))
        return scores

    plan = planner().plan(score)
    assert torch.isfinite(plan.actions).all() and torch.isfinite(plan.std).all()


def test_all_non_finite_raises():
    with pytest.raises(PlanningError, match="all 256 candidates"):
        planner().plan(lambda actions: torch.full((len(actions),), torch.nan))


def test_wrong_score_shape_raises():
    with pytest.raises(ValueError, match=r"scores have shape \(256, 1\)"):
        planner().plan(lambda actions: actions.sum(dim=(1, 2))[:, None])


@pytest.mark.parametrize("warm", [torch.zeros(H + 1, NU), torch.full((H, NU), torch.nan)])
def test_bad_warm_start_raises(warm):
    with pytest.raises(ValueError, match="warm_start"):
        planner().plan(quadratic(torch.zeros(H, NU)), warm_start=warm)


def test_warm_start_speeds_up_convergence():
    target = torch.rand(H, NU, generator=torch.Generator().manual_seed(5)) - 0.5
    config = SamplingConfig(horizon=H, num_samples=64, num_elites=8, iterations=2)
    score = quadratic(target)
    cold = planner(config).plan(score)
    warm = planner(config).plan(score, warm_start=target)
    assert score(warm.actions[None]) > score(cold.actions[None])


def test_the_mean_is_a_candidate():
    """Row 0 is the mean itself: with a warm start at the optimum it is among the scored candidates."""
    target = torch.full((H, NU), 0.25)
    seen = []
    planner().plan(lambda actions: seen.append(actions[0].clone()) or quadratic(target)(actions), warm_start=target)
    assert torch.equal(seen[0], target)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_smoothed_noise_has_unit_variance_and_the_given_correlation(correlation):
    noise = smoothing_matrix(8, correlation) @ torch.randn(8, 200_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(noise.var(dim=1), torch.ones(8), atol=0.02)  # 4 sigma of 2e5 samples is 0.013
    assert torch.allclose((noise[1:] * noise[:-1]).mean(dim=1), torch.full((7,), correlation), atol=0.02)


@pytest.mark.parametrize(
    "field, value",
    [
        ("horizon", 0),
        ("num_samples", 0),
        ("num_elites", 0),
        ("num_elites", 129),
        ("iterations", 0),
        ("min_std", -0.1),
        ("max_std", 0.0),
        ("init_std", 2.0),
        ("momentum", 1.0),
        ("keep_elites", 25),
        ("noise_smoothing", 1.0),
    ],
)
def test_config_out_of_range_names_field_value_and_range(field, value):
    with pytest.raises(ValueError, match=rf"planner\.{field} is {value}, allowed \["):
        SamplingConfig(**{field: value})


def make_plan(actions: Tensor) -> Plan:
    return Plan(actions, torch.ones_like(actions), 0.0, DT, 1, 0, 0.0)


def test_shift_drops_executed_actions_and_fills_the_end():
    actions = torch.arange(6.0).reshape(3, 2)
    plan = make_plan(actions)
    assert torch.equal(plan.shift(), torch.tensor([[2.0, 3.0], [4.0, 5.0], [0.0, 0.0]]))
    assert torch.equal(plan.shift(0), actions) and torch.equal(plan.shift(9, fill=0.5), torch.full((3, 2), 0.5))
    assert torch.equal(plan.actions, actions)  # unchanged
    assert torch.equal(make_plan(plan.shift()).shift(), plan.shift(2))
    with pytest.raises(ValueError, match="steps is -1"):
        plan.shift(-1)


def test_shift_then_plan_tracks_a_moving_optimum():
    """Receding horizon on a fixed path of optima: the shifted plan starts closer than a cold one."""
    path = torch.sin(torch.linspace(0, 6, 20))[:, None].expand(-1, NU) * 0.5
    config = SamplingConfig(horizon=H, num_samples=64, num_elites=8, iterations=1, noise_smoothing=0.0)
    solver, plan, warm_cost, cold_cost = planner(config), None, 0.0, 0.0
    for t in range(10):
        score = quadratic(path[t : t + H])
        plan = solver.plan(score, None if plan is None else plan.shift())
        warm_cost -= score(plan.actions[None]).item()
        cold_cost -= score(solver.plan(score).actions[None]).item()
    assert warm_cost < cold_cost
