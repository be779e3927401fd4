"""A cheap scorer searches, the full one ranks: agreement, the guard, the work, the deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import ALGORITHMS, PlanningError, SamplingConfig, make_planner
from planners.staged import PATIENCE, RETRY, Promotion, rank_correlation

CONFIG = SamplingConfig(
    horizon=4, num_samples=100, num_elites=10, keep_elites=4, iterations=5, depth="staged", promoted=20
)
NAMES = sorted(name for name, algorithm in ALGORITHMS.items() if algorithm.ranks_some)
OTHERS = sorted(set(ALGORITHMS) - set(NAMES))
TARGET = 0.3


class Scores:
    """Distance to `target`; each call takes `cost` seconds a candidate on the common clock."""

    def __init__(self, target: float = TARGET, cost: float = 1e-3, clock: list[float] | None = None) -> None:
        self.target, self.cost, self.clock = target, cost, clock if clock is not None else [0.0]
        self.counts: list[int] = []

    def __call__(self, actions: Tensor) -> Tensor:
        self.counts.append(len(actions))
        self.clock[0] += self.cost * len(actions)
        return -(actions - self.target).square().sum(dim=(1, 2))


class Staged(Scores):
    """The same with a cheap version that may aim elsewhere."""

    def __init__(self, shallow_target: float = TARGET, shallow_cost: float = 1e-4) -> None:
        super().__init__()
        self.shallow = Scores(shallow_target, shallow_cost, self.clock)


def planner(name: str, score: Scores, config: SamplingConfig = CONFIG):
    made = make_planner(name, config, 2, 0.05, torch.Generator().manual_seed(0))
    made.clock = lambda: score.clock[0]
    return made


@pytest.mark.parametrize("name", NAMES)
def test_where_both_agree_the_plan_is_as_good_and_the_full_one_is_asked_once(name):
    score, plain = Staged(), Scores()
    plan = planner(name, score).plan(score)
    full = planner(name, plain, replace(CONFIG, depth="full")).plan(plain)
    assert score.counts == [20 + planner(name, score).takes_best]
    assert plan.scored == sum(score.counts) and plan.scored_shallow == sum(score.shallow.counts)
    assert full.scored == sum(plain.counts) and full.scored_shallow == 0
    assert plan.iterations == full.iterations == 5
    # The full one ranks twice as many candidates as there are elites, from the same sample: about the same refit.
    assert abs(plan.score - full.score) < 0.35 * abs(full.score) + 1e-3


@pytest.mark.parametrize("name", OTHERS)
def test_what_needs_all_candidates_asks_the_full_one_alone(name):
    score = Staged()
    plan = planner(name, score).plan(score)
    assert plan.scored_shallow == 0 and plan.scored == sum(score.counts) == 500


@pytest.mark.parametrize("name", NAMES)
def test_a_scorer_without_a_cheap_version_is_asked_as_ever(name):
    plain, staged = Scores(), Scores()
    full = planner(name, plain, replace(CONFIG, depth="full")).plan(plain)
    other = planner(name, staged).plan(staged)
    assert torch.equal(full.actions, other.actions) and plain.counts == staged.counts


@pytest.mark.parametrize("name", ["icem", "predictive_sampling", "random_shooting"])
def test_the_best_by_the_full_one_wins_although_the_cheap_one_prefers_another(name):
    score = Staged(shallow_target=TARGET + 0.1)
    made = planner(name, score)
    seen: list[Tensor] = []
    ask = score.__call__

    class Watched(Staged):
        def __call__(self, actions: Tensor) -> Tensor:
            seen.append(actions)
            return ask(actions)

    watched = Watched()
    watched.shallow, watched.clock = score.shallow, score.clock
    plan = made.plan(watched)
    assert len(seen) == 1
    best = ask(seen[0]).max()
    assert plan.score == pytest.approx(float(best)) and float(ask(plan.actions[None])) == pytest.approx(float(best))


def test_a_cheap_one_that_misleads_is_asked_less_and_then_not_at_all():
    score = Staged(shallow_target=-TARGET)
    made = planner("cem", score, replace(CONFIG, init_std=1.0, agreement=0.5))
    counts = []
    for _ in range(5):
        made.plan(score)
        counts.append(made.promotion.count)
    assert counts[:3] == [40, 80, 100]
    score.counts.clear()
    plan = made.plan(score)
    assert plan.scored_shallow == 0 and plan.scored == sum(score.counts) == 500
    assert float(plan.actions.sub(TARGET).abs().mean()) < 0.1


def test_it_is_tried_again_and_trusted_again():
    promotion = Promotion(least=10, most=40, agreement=0.5)
    order, reverse = torch.arange(10.0), torch.arange(10.0).flip(0)
    for expected in (20, 40):
        assert promotion.begin()
        promotion.observe(order, reverse)
        assert promotion.count == expected
    assert [promotion.begin() for _ in range(RETRY + 1)] == [False] * RETRY + [True]
    assert promotion.count == 20
    for _ in range(PATIENCE):
        assert promotion.count == 20
        promotion.observe(order, order)
    assert promotion.count == 10


def test_all_may_be_promoted_from_the_start():
    promotion = Promotion(least=50, most=40, agreement=0.5)
    promotion.observe(torch.arange(3.0), torch.arange(3.0).flip(0))
    assert promotion.begin() and promotion.count == 40


def test_rank_correlation():
    a = torch.tensor([3.0, 1.0, 2.0, 10.0])
    assert rank_correlation(a, a.exp()) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a[:1], -a[:1]) == 1
    assert rank_correlation(torch.ones(4), torch.zeros(4)) == 1
    assert rank_correlation(a, torch.ones(4)) == 0
    # Spearman's 1 - 6 sum d^2 / (n (n^2 - 1)), and mean ranks for the tie
    assert rank_correlation(a, torch.tensor([4.0, 1.0, 3.0, 2.0])) == pytest.approx(1 - 6 * (1 + 0 + 1 + 4) / 60)
    assert rank_correlation(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(0.75**0.5)
    assert rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-torch.inf, -torch.inf, 1.0])) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_what_only_the_full_one_refuses_is_never_chosen(name):
    score = Staged()
    ask = score.__call__

    class Refuses(Staged):
        def __call__(self, actions: Tensor) -> Tensor:
            scores = ask(actions)
            return torch.where(torch.arange(len(scores)) < 3, torch.nan, scores)

    refusing = Refuses()
    plan = planner(name, refusing).plan(refusing)
    assert plan.num_invalid == 3 and plan.score > -torch.inf and bool(torch.isfinite(plan.actions).all())

    class Never(Staged):
        def __call__(self, actions: Tensor) -> Tensor:
            return torch.full((len(actions),), torch.nan)

    never = Never()
    with pytest.raises(PlanningError, match="all 2"):
        planner(name, never).plan(never)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deadline", [0.0015, 0.012, 0.03, 0.045, 0.3])
def test_plans_keep_their_deadline_once_both_costs_are_known(name, deadline):
    score = Staged()
    made = planner(name, score)
    plan = made.plan(score, deadline=10.0)
    for _ in range(6):
        plan = made.plan(score, plan.shift(), deadline=deadline)
        assert plan.wall_time <= deadline + 1e-9
        assert plan.actions.shape == (4, 2) and plan.actions.abs().max() <= 1


def test_little_time_goes_to_the_cheap_one_and_more_to_the_ranking():
    asked = []
    for deadline in (0.012, 0.025, 0.04, 0.08):
        score = Staged()
        made = planner("cem", score)
        for _ in range(2):  # learns both costs
            made.plan(score, deadline=10.0)
        plan = made.plan(score, deadline=deadline)
        asked.append((plan.scored, plan.scored_shallow))
    assert asked[-1] == (20, 500)
    assert [full for full, _ in asked] == sorted(full for full, _ in asked)
    assert [cheap for _, cheap in asked] == sorted(cheap for _, cheap in asked) and asked[0][1] > 0


def test_a_first_plan_in_a_hurry_learns_what_ranking_costs_and_keeps_the_search():
    score = Staged()
    made = planner("cem", score, replace(CONFIG, num_elites=60, promoted=80))
    plan = made.plan(score, deadline=0.001)
    assert plan.scored == 16 and made.cost.sizes == 1 and float(plan.std.min()) > 0.05


@pytest.mark.parametrize(
    ("setting", "value"), [("depth", "deep"), ("shallow_loops", 0), ("promoted", 0), ("agreement", 1.5)]
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(ValueError, match=f"planner.{setting} is"):
        replace(CONFIG, **{setting: value})
