"""Knots: what they reproduce, and what plans made of them look like."""

from __future__ import annotations

import pytest
import torch

from planners import CEM, SamplingConfig
from planners.knots import INTERPOLATIONS, interpolation_matrix


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("horizon, knots", [(1, 1), (6, 1), (6, 2), (9, 3), (10, 4), (6, 6)])
def test_rows_sum_to_one_so_constant_knots_give_constant_actions(kind, horizon, knots):
    matrix = interpolation_matrix(horizon, knots, kind)
    assert matrix.shape == (horizon, knots)
    assert torch.allclose(matrix.sum(1), torch.ones(horizon), atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_actions_pass_through_their_knots(kind):
    knots = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    actions = interpolation_matrix(10, 4, kind) @ knots  # a knot every third action
    assert torch.allclose(actions[::3], knots, atol=1e-6)


def test_hold_repeats_each_knot():
    assert torch.equal(
        interpolation_matrix(6, 3, "hold") @ torch.tensor([[1.0], [2.0], [3.0]]),
        torch.tensor([[1.0], [1.0], [2.0], [2.0], [3.0], [3.0]]),
    )


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_straight_lines_are_reproduced(kind):
    line = torch.linspace(-1, 1, 9)[:, None]
    knots = line[::2]
    assert torch.allclose(interpolation_matrix(9, 5, kind) @ knots, line, atol=1e-6)


def test_cubic_is_the_natural_spline():
    """Against SciPy's."""
    from scipy.interpolate import CubicSpline

    values = torch.randn(5, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spline = CubicSpline(torch.linspace(0, 12, 5), values, bc_type="natural")
    found = interpolation_matrix(13, 5, "cubic").double() @ values
    assert torch.allclose(found, torch.from_numpy(spline(torch.arange(13))), atol=1e-6)


@pytest.mark.parametrize("kind", ["hold", "linear"])
def test_averages_stay_within_the_bounds_of_the_knots(kind):
    assert interpolation_matrix(11, 4, kind).min() >= 0


REFUSED = [(0, "cubic", "knots is 0"), (7, "hold", "knots is 7"), (3, "spline", "interpolation is 'spline'")]


@pytest.mark.parametrize("knots, kind, told", REFUSED)
def test_bad_requests_are_refused(knots, kind, told):
    with pytest.raises(ValueError, match=told):
        interpolation_matrix(6, knots, kind)


def test_a_plan_of_knots_lies_in_their_space_and_finds_the_best_of_it():
    target = torch.linspace(-0.8, 0.8, 9)[:, None]
    config = SamplingConfig(
        horizon=9, knots=3, interpolation="linear", num_samples=256, iterations=12, init_std=0.5, min_std=1e-3,
        noise_smoothing=0.0,
    )  # fmt: skip
    seen = []

    def score(actions: torch.Tensor) -> torch.Tensor:
        seen.append(actions)
        return -(actions - target).square().sum(dim=(1, 2))

    planner = CEM(config, 1, 0.05, torch.Generator().manual_seed(0))
    plan = planner.plan(score)
    assert torch.allclose(plan.actions, target, atol=0.02)
    bends = (seen[0][:, 2:] - 2 * seen[0][:, 1:-1] + seen[0][:, :-2]).squeeze(-1)
    assert bends[:, [0, 1, 2, 4, 5, 6]].abs().max() < 1e-5  # only the middle knot bends the line
    warm = planner.plan(score, plan.actions)
    assert torch.allclose(warm.actions, target, atol=0.02)


def test_settings_of_knots_are_checked():
    with pytest.raises(ValueError, match=r"planner\.knots is 7, allowed \[0, 6\]"):
        SamplingConfig(horizon=6, knots=7)
    with pytest.raises(ValueError, match=r"planner\.interpolation is 'spline', allowed hold, linear, cubic"):
        SamplingConfig(interpolation="spline")
