"""CMA-ES: its constants, and what sets it apart from methods that know no correlations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import CMAES, SamplingConfig, SepCMAES, make_planner
from planners.cmaes import rates

H, NU = 6, 2
N = H * NU
CONFIG = SamplingConfig(
    horizon=H, num_samples=32, num_elites=8, iterations=100, init_std=0.5, min_std=1e-5, noise_smoothing=0.0
)


def planner(name: str, config: SamplingConfig = CONFIG, seed: int = 0):
    return make_planner(name, config, NU, 0.05, torch.Generator().manual_seed(seed))


def ellipsoid(rotated: bool, condition: float = 1000.0):
    """-(x - x*)' M (x - x*) with eigenvalues from 1 to `condition`, along the axes or not."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(N, N, generator=generator))[0] if rotated else torch.eye(N)
    matrix = axes @ torch.diag(torch.logspace(0, math.log10(condition), N)) @ axes.T
    best = torch.rand(N, generator=generator) - 0.5

    def score(actions: Tensor) -> Tensor:
        x = actions.flatten(1) - best
        return -((x @ matrix) * x).sum(1)

    return score


@pytest.mark.parametrize(
    "n, samples, mu_eff, c_1, c_mu, c_c",
    [  # computed by pycma 4 (Hansen's own code), CMA_active=False
        (12, 32, 9.178828913628552, 0.010748710634000827, 0.07347517590997174, 0.2718171969787905),
        (42, 128, 34.1786696607011, 0.0010476312517115796, 0.03294922249911933, 0.10107127645967888),
        (5, 8, 2.60017882611318, 0.047292304159400896, 0.04785904960298248, 0.45019955799280803),
    ],
)
def test_constants_are_those_of_hansens_code(n, samples, mu_eff, c_1, c_mu, c_c):
    r = rates(n, samples // 2, False)
    assert (r.mu_eff, r.c_1, r.c_mu, r.c_c) == pytest.approx((mu_eff, c_1, c_mu, c_c), rel=1e-9)
    assert r.c_sigma == pytest.approx((mu_eff + 2) / (n + mu_eff + 5))  # tutorial, equation 55
    assert float(r.weights.sum()) == pytest.approx(1) and bool((r.weights.diff() < 0).all())
    diagonal = rates(n, samples // 2, True)
    assert diagonal.c_1 == pytest.approx(c_1 * (n + 2) / 3)
    assert diagonal.c_mu == pytest.approx(min(c_mu * (n + 2) / 3, 1 - diagonal.c_1))


@pytest.mark.parametrize("mu", [1, 2, 3, 2048])
@pytest.mark.parametrize("n", [1, 2, 7, 200])
@pytest.mark.parametrize("diagonal", [False, True])
def test_constants_are_rates_for_any_size(n, mu, diagonal):
    r = rates(n, mu, diagonal)
    assert r.c_mu >= 0 and r.c_1 > 0 and r.c_1 + r.c_mu <= 1 + 1e-12
    assert 0 < r.c_sigma < 1 and 0 < r.c_c <= 1 and r.d_sigma >= 1


@pytest.mark.parametrize("seed", range(3))
def test_correlated_actions_are_learned_where_others_stop_early(seed):
    """A rotated ellipsoid of condition 1000: the full covariance comes a hundred times nearer than any other."""
    score = ellipsoid(rotated=True)
    loss = {name: -float(score(planner(name, seed=seed).plan(score).actions[None])) for name in ("cma_es", "cem")}
    loss["sep"] = -float(score(planner("sep_cma_es", seed=seed).plan(score).actions[None]))
    assert loss["cma_es"] < 0.01 and loss["cma_es"] < 0.01 * min(loss["cem"], loss["sep"])


@pytest.mark.parametrize("seed", range(3))
def test_the_diagonal_is_enough_for_scales_and_learned_faster(seed):
    score = ellipsoid(rotated=False)
    names = ("cma_es", "sep_cma_es")
    full, diagonal = (-float(score(planner(name, seed=seed).plan(score).actions[None])) for name in names)
    assert diagonal < 1e-5 < full < 0.01


@pytest.mark.parametrize("name", ["cma_es", "sep_cma_es"])
def test_the_deviation_ends_as_the_inverse_of_the_scales(name):
    """At the optimum of an ellipsoid along the axes the covariance is that of the inverse Hessian, up to a factor."""
    scales = torch.logspace(0, 2, N).reshape(H, NU)
    config = replace(CONFIG, iterations=60, num_samples=64, min_std=0.0)
    plan = planner(name, config).plan(lambda a: -(scales * (a - 0.1).square()).sum((1, 2)))
    ratio = plan.std * scales.sqrt()
    assert ratio.max() / ratio.min() < 4  # condition 10 of the deviations without any learning


@pytest.mark.parametrize("name", ["cma_es", "sep_cma_es"])
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_the_plans_deviation_is_that_of_its_candidates(name, smoothing):
    """First iteration: init_std, whatever the colour; as drawn, within 5 sigma of 4,000 samples."""
    config = replace(CONFIG, num_samples=4000, iterations=2, init_std=0.1, noise_smoothing=smoothing)
    seen: list[Tensor] = []
    found = planner(name, config)
    plan = found.plan(lambda a: seen.append(a[1:].clone()) or a[:, 0, 0])
    assert torch.allclose(seen[0].std(0), torch.full((H, NU), 0.1), rtol=0.06)
    once = planner(name, replace(config, iterations=1)).plan(lambda a: a[:, 0, 0])
    assert torch.allclose(seen[1].std(0), once.std, rtol=0.06)
    assert plan.actions[0, 0] > 0.1


@pytest.mark.parametrize("name", ["cma_es", "sep_cma_es"])
def test_the_step_size_grows_along_a_slope_up_to_its_bound_and_shrinks_at_an_optimum(name):
    """A far optimum, and one under the mean."""
    config = replace(CONFIG, iterations=12, init_std=0.01, max_std=0.2)
    slope = planner(name, config).plan(lambda a: a.sum((1, 2)))
    assert slope.std.max() > 0.05 and slope.std.max() <= 0.2 + 1e-6
    rest = planner(name, replace(config, init_std=0.1, iterations=30)).plan(lambda a: -a.square().sum((1, 2)))
    assert rest.std.max() < 0.01


def test_far_candidates_of_a_policy_move_the_mean_no_further_than_usual():
    """One candidate at the bound, 0.9 away with a deviation of 0.01: its step is shortened, the deviation stays."""
    config = replace(CONFIG, iterations=1, init_std=0.01, prior_samples=1)
    found = planner("cma_es", config)
    plan = found.plan(lambda a: a.sum((1, 2)), prior=lambda num: torch.full((num, H, NU), 0.9))
    longest = 0.01 * (math.sqrt(N) + 2 * N / (N + 2))
    assert plan.actions.norm() < longest and plan.std.max() < 0.02
    assert isinstance(found, CMAES) and issubclass(SepCMAES, CMAES)
