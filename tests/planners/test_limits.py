"""Limits on rate and jerk: kept by every candidate and every plan, whatever the scores are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import ALGORITHMS, ActionLimits, SamplingConfig, make_planner
from planners.limits import reach

H, NU = 8, 2
CONFIG = SamplingConfig(horizon=H, num_samples=32, num_elites=6, keep_elites=3, iterations=3, init_std=0.8)
NAMES = sorted(ALGORITHMS)
LIMITS = [(0.2, None), (None, 0.05), (0.3, 0.1), (2.0, 1.0), (0.01, 0.004)]
ROUNDING = 1e-6  # action units; float32 near 1


def changes(actions: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """First differences (..., H, nu) and second ones, going on from what was before (2, nu)."""
    line = torch.cat([past.expand(*actions.shape[:-2], 2, actions.shape[-1]), actions], -2)
    first = line.diff(dim=-2)
    return first[..., 1:, :], first.diff(dim=-2)


def assert_kept(actions: Tensor, past: Tensor, rate: float | None, jerk: float | None) -> None:
    first, second = changes(actions, past)
    assert actions.abs().max() <= 1
    assert rate is None or first.abs().max() <= rate + ROUNDING
    assert jerk is None or second.abs().max() <= jerk + 2 * ROUNDING


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate, jerk", LIMITS)
def test_any_sequence_becomes_one_within_the_limits_and_then_stays_what_it_is(rate, jerk):
    limits, past = ActionLimits(rate, jerk), torch.zeros(2, NU)
    found = limits(3 * gaussian(0, 500, 40, NU), past)
    assert_kept(found, past, rate, jerk)
    assert torch.allclose(limits(found, past), found, atol=ROUNDING)


@pytest.mark.parametrize("rate, jerk", LIMITS)
def test_full_speed_ahead_never_ends_where_no_action_is_allowed(rate, jerk):
    """The hardest case for jerk: towards a bound for a long time, then back."""
    wanted = torch.cat([torch.full((300, 1), 5.0), torch.full((300, 1), -5.0)])
    past = torch.zeros(2, 1)
    found = ActionLimits(rate, jerk)(wanted, past)
    assert_kept(found, past, rate, jerk)
    if rate != 0.01:  # which is on its way for longer
        assert found[299] == pytest.approx(1, abs=1e-3) and found[-1] == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("rate, jerk", LIMITS)
def test_what_follows_on_any_part_of_a_limited_sequence_keeps_the_limits(rate, jerk):
    limits = ActionLimits(rate, jerk)
    line = limits(2 * gaussian(1, 60, NU), torch.zeros(2, NU))
    for k in range(0, 58, 3):
        past = line[k : k + 2]
        assert_kept(limits(gaussian(k, 50, 10, NU), past), past, rate, jerk)


def test_the_largest_step_leaves_room_to_slow_down_and_no_more():
    for room in (0.0, 0.01, 0.05, 0.3, 1.0, 2.0):
        for jerk in (0.02, 0.1, 0.5, 3.0):
            step = float(reach(torch.tensor(room, dtype=torch.float64), jerk))
            way, slower = 0.0, step
            while slower > 0:
                way, slower = way + slower, slower - jerk
            assert way == pytest.approx(room, abs=1e-9)


@pytest.mark.parametrize(
    "past, first", [((0.0, 0.9), 0.9 + 0.16 / 3), ((-0.5, 0.5), 0.6), ((0.9, -0.9), -0.9 - 0.16 / 3)]
)
def test_where_the_past_allows_no_way_bounds_come_first_then_the_rate(past, first):
    """Jumps that a rate of 0.1 forbids were carried out by somebody else: within all limits from the next step on.

    With 0.1 to the bound a step of 0.16 / 3 is the largest that can be slowed down by 0.02 a step: 0.16 / 3 + 0.1 / 3 +
    0.04 / 3 = 0.1.
    """
    before = torch.tensor(past)[:, None]
    found = ActionLimits(0.1, 0.02)(torch.full((30, 1), 1.0 if past[1] > past[0] else -1.0), before)
    rates, jerks = changes(found, before)
    assert found.abs().max() <= 1 and rates.abs().max() <= 0.1 + ROUNDING
    assert found[0] == pytest.approx(first, abs=ROUNDING)
    assert jerks[1:].abs().max() <= 0.02 + 2 * ROUNDING


def test_limits_are_differentiable():
    limits, past = ActionLimits(0.5, 0.3), torch.zeros(2, NU, dtype=torch.float64)
    wanted = (0.05 * gaussian(2, H, NU)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: limits(a, past), wanted)
    (slope,) = torch.autograd.grad(limits(wanted, past).sum(), wanted)
    assert torch.equal(slope, torch.ones_like(slope))  # within the limits nothing is changed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate, jerk", LIMITS[:3])
@pytest.mark.parametrize("knots, kind", [(0, "cubic"), (3, "cubic"), (2, "hold")])
def test_every_candidate_and_every_plan_keeps_them_under_random_scores(name, rate, jerk, knots, kind):
    """Plan after plan, with one or two actions carried out in between."""
    config = replace(CONFIG, rate_limit=rate, jerk_limit=jerk, knots=knots, interpolation=kind)
    planner = make_planner(name, config, NU, 0.05, torch.Generator().manual_seed(0))
    luck, seen = torch.Generator().manual_seed(1), []

    def score(actions: Tensor) -> Tensor:
        seen.append(actions.detach().clone())
        return torch.randn(len(actions), generator=luck) * 1e3 + 0 * actions.sum((1, 2))

    plan, done = None, torch.zeros(2, NU)
    for k in range(8):
        executed = 1 + k % 2
        plan = planner.plan(score, None if plan is None else plan.shift(executed), executed)
        for candidates in (*seen, plan.actions):
            assert_kept(candidates, done[-2:], rate, jerk)
        seen.clear()
        following = 1 + (k + 1) % 2  # carried out before the next plan
        done = torch.cat([done, plan.actions[:following]])
    assert_kept(done[2:], torch.zeros(2, NU), rate, jerk)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_goes_on_from_what_was_really_carried_out(name):
    config = replace(CONFIG, rate_limit=0.1, jerk_limit=0.05)
    planner = make_planner(name, config, NU, 0.05, torch.Generator().manual_seed(0))
    for previous in (torch.full((1, NU), 0.5), torch.tensor([[0.9, 0.9], [0.44, 0.56], [0.5, 0.5]])):
        before = previous[-2:] if len(previous) > 1 else previous.expand(2, NU)
        plan = planner.plan(lambda a: -a.square().sum((1, 2)), previous=previous)
        assert_kept(plan.actions, before, 0.1, None)
        assert_kept(planner.plan(lambda a: a.sum((1, 2)), plan.shift(3), 3).actions, plan.actions[1:3], 0.1, 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_without_time_keeps_the_limits_too(name):
    planner = make_planner(name, replace(CONFIG, rate_limit=0.1), NU, 0.05, torch.Generator().manual_seed(0))
    plan = planner.plan(lambda a: a.sum((1, 2)), gaussian(3, H, NU), cancel=lambda: True)
    assert plan.iterations == 0
    assert_kept(plan.actions, torch.zeros(2, NU), 0.1, None)


@pytest.mark.parametrize("executed", [0, 1, H - 1, H, H + 1, H + 7])
def test_after_the_end_of_a_plan_the_arm_is_at_rest(executed):
    config = replace(CONFIG, rate_limit=0.05)
    planner = make_planner("cem", config, NU, 0.05, torch.Generator().manual_seed(0))
    plan = planner.plan(lambda a: a.sum((1, 2)))
    line = torch.cat([torch.zeros(2, NU), plan.actions, torch.zeros(10, NU)])
    following = planner.plan(lambda a: a.sum((1, 2)), plan.shift(executed), executed)
    assert_kept(following.actions, line[executed : executed + 2], 0.05, None)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random_shooting", "predictive_sampling")])
def test_the_best_plan_within_a_rate_is_a_ramp(name):
    """Towards 0.5 from rest at 0.1 a step: the optimum is known."""
    config = SamplingConfig(
        horizon=H,
        num_samples=64,
        num_elites=12,
        iterations=40,
        init_std=0.4,
        min_std=1e-3,
        rate_limit=0.1,
        learning_rate=0.02,
    )
    planner = make_planner(name, config, 1, 0.05, torch.Generator().manual_seed(0))
    plan = planner.plan(lambda a: -(a - 0.5).square().sum((1, 2)))
    ramp = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])
    near = 0.04 if name == "icem" else 0.02  # a single candidate, or a mean
    assert plan.actions[:, 0].tolist() == pytest.approx(ramp.tolist(), abs=near)


@pytest.mark.parametrize(
    "previous, message",
    [
        (torch.zeros(0, NU), r"previous has shape \(0, 2\), allowed \(1 or more, 2\)"),
        (torch.zeros(2, 3), r"previous has shape \(2, 3\)"),
        (torch.zeros(2), r"previous has shape \(2,\)"),
        (torch.full((2, NU), 1.5), r"allowed \[-1, 1\]"),
        (torch.full((2, NU), torch.nan), r"allowed \[-1, 1\]"),
    ],
)
def test_a_wrong_past_is_refused(previous, message):
    planner = make_planner("cem", CONFIG, NU, 0.05, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        planner.plan(lambda a: a.sum((1, 2)), previous=previous)


def test_a_negative_number_of_executed_actions_is_refused():
    planner = make_planner("cem", CONFIG, NU, 0.05, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="executed is -1"):
        planner.plan(lambda a: a.sum((1, 2)), torch.zeros(H, NU), executed=-1)


@pytest.mark.parametrize("field", ["rate_limit", "jerk_limit"])
def test_a_limit_is_above_zero(field):
    with pytest.raises(ValueError, match=rf"planner\.{field} is 0"):
        SamplingConfig(**{field: 0})


def test_limits_follow_on_what_is_carried_out_in_place_of_a_plan():
    config = SamplingConfig(horizon=4, num_samples=16, num_elites=4, keep_elites=2, iterations=2, rate_limit=0.1)
    planner = make_planner("cem", config, 2, 0.05, torch.Generator().manual_seed(0))
    plan = planner.plan(lambda a: a.sum((1, 2)))
    other = torch.full((4, 2), -0.5)
    planner.follow(other)
    later = planner.plan(lambda a: a.sum((1, 2)), plan.shift())
    assert float((later.actions[0] - other[0]).abs().max()) <= 0.1 + 1e-6
    assert float(later.actions[0].max()) < -0.3
