"""Costs and constraints by hand and by their laws."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import (
    AvoidSphere,
    Composite,
    KeepSpeed,
    LearnedReward,
    Plan,
    Reach,
    SmoothActions,
    StayInBox,
    Sum,
    Term,
    TerminalValue,
    TrajectoryScorer,
    Uncertainty,
    make_terms,
)
from planners.composite import INFEASIBLE, rank

LAYOUT = {"q": slice(0, 1), "ee_pos": slice(1, 3)}
DT = 0.5


class Seen:
    """Trajectories with known content, which count what is decoded."""

    def __init__(self, obs: Tensor) -> None:
        self.obs, self.decoded = obs, 0

    def observations(self, columns: slice | None = None) -> Tensor:
        self.decoded += self.obs.shape[1]
        return self.obs if columns is None else self.obs[..., columns]

    def rewards(self) -> Tensor:
        return self.obs[..., 0]


class Deferred(Seen):
    """One that can leave all but the last step out."""

    def terminal(self) -> Seen:
        self.last = Seen(self.obs[:, -1:])
        return self.last


def path(*points: tuple[float, float]) -> Seen:
    return Seen(torch.tensor([[[float(k), *point] for k, point in enumerate(points)]]))


def score(term: Term, trajectory: Seen, actions: Tensor | None = None, **settings: Any) -> float:
    given = torch.zeros(len(trajectory.obs), trajectory.obs.shape[1], 1) if actions is None else actions
    return float(Composite([term], LAYOUT, DT, **settings)(trajectory, given)[0])


def test_each_cost_by_hand():
    seen = path((3, 4), (0, 0))
    assert score(Reach("ee_pos", (0, 0)), seen) == -5
    assert score(Reach("ee_pos", (0, 0), weight=2.0, tolerance=1.0), seen) == -8
    assert score(Reach("ee_pos", (3, 4), when="terminal"), seen) == -5
    assert score(Reach("ee_pos", (3, 4)), seen, discount=0.5) == -2.5
    assert score(Reach("ee_pos"), seen, goal=torch.tensor([3.0, 4.0])) == -5
    assert score(StayInBox("ee_pos", low=(1, 1)), seen) == pytest.approx(-math.sqrt(2))
    assert score(StayInBox("ee_pos", high=(None, 1)), seen) == -3
    assert score(StayInBox("ee_pos", low=(0, 0), high=(3, 4)), seen) == 0
    assert score(KeepSpeed("ee_pos", low=10, high=10), seen) == 0  # 5 m in 0.5 s
    assert score(KeepSpeed("ee_pos", high=8), seen) == -2
    assert score(KeepSpeed("ee_pos", low=13), seen) == -3
    assert score(SmoothActions(), seen, torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])) == -2
    assert score(AvoidSphere("ee_pos", (0, 0), 2), seen) == -2


def test_costs_have_the_gradient_that_differences_have():
    obs = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    terms = [
        Reach("ee_pos", (0, 0)),
        StayInBox("ee_pos", low=(-0.5, -0.5), high=(0.5, 0.5)),
        KeepSpeed("ee_pos", low=1.0, high=2.0),
        AvoidSphere("ee_pos", (0.2, 0.1), 1.0),
    ]
    for term in terms:
        objective = Composite([term], LAYOUT, DT)
        assert torch.autograd.gradcheck(lambda x, o=objective: o(Seen(x), torch.zeros(4, 5, 1).double()), obs)


def test_gradients_are_finite_where_a_norm_has_its_kink():
    obs = torch.zeros(1, 3, 3, requires_grad=True)
    terms = [Reach("ee_pos", (0, 0)), StayInBox("ee_pos", low=(-1, -1)), KeepSpeed("ee_pos", low=1.0)]
    terms.append(AvoidSphere("ee_pos", (0, 0), 1.0))
    Composite(terms, LAYOUT, DT)(Seen(obs), torch.zeros(1, 3, 1)).backward()
    assert obs.grad.isfinite().all()


def test_a_sphere_between_two_steps_is_seen():
    assert score(AvoidSphere("ee_pos", (0, 0), 0.5), path((-1, 0.25), (1, 0.25))) == pytest.approx(-0.25)
    assert score(AvoidSphere("ee_pos", (0, 0), 0.5), path((-1, 0.75), (1, 0.75))) == 0
    assert score(AvoidSphere("ee_pos", (0, 0), 0.5), path((1, 0), (1, 0))) == 0


def test_terms_add_up_and_to_a_base():
    seen, actions = path((3, 4), (1, 0)), torch.zeros(1, 2, 1)
    terms = [Reach("ee_pos", (0, 0)), StayInBox("ee_pos", high=(2, 9))]
    total = Composite(terms, LAYOUT, DT, base=LearnedReward())(seen, actions)
    assert float(total) == 1 + sum(score(term, seen) for term in terms)  # rewards 0 and 1


def test_terminal_terms_decode_the_last_step_alone():
    obs = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    late = Deferred(obs)
    objective = Composite([Reach("ee_pos", (0, 0), when="terminal"), Reach("q", (0,), when="terminal")], LAYOUT, DT)
    actions = torch.zeros(3, 5, 1)
    assert torch.equal(objective(late, actions), objective(Seen(obs), actions))
    assert late.decoded == 0 and late.last.decoded == 2  # a group each, one step


def test_a_group_is_decoded_once():
    seen = path((3, 4), (0, 0))
    Composite([Reach("ee_pos", (0, 0)), StayInBox("ee_pos", low=(0, 0))], LAYOUT, DT)(seen, torch.zeros(1, 2, 1))
    assert seen.decoded == 2


def test_the_order_of_terms_and_of_candidates_does_not_matter():
    obs = torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    actions = torch.zeros(20, 4, 1).double()
    sphere, box = AvoidSphere("ee_pos", (1, 0), 0.5, hard=True), StayInBox("q", low=(-1,), hard=True)
    terms = [Reach("ee_pos", (0, 0)), sphere, box]
    scores = Composite(terms, LAYOUT, DT)(Seen(obs), actions)
    assert torch.allclose(Composite(terms[::-1], LAYOUT, DT)(Seen(obs), actions), scores, rtol=1e-12)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    assert torch.equal(Composite(terms, LAYOUT, DT)(Seen(obs[order]), actions), scores[order])


def test_hard_dominates_soft_and_ranks_by_violation():
    obs = 3 * torch.randn(200, 4, 3, generator=torch.Generator().manual_seed(3))
    actions = torch.zeros(200, 4, 1)
    soft, hard = Reach("ee_pos", (9, 9), weight=1e4), AvoidSphere("ee_pos", (0, 0), 1.5, hard=True, weight=1e-3)
    both = Composite([soft, hard], LAYOUT, DT)
    assert both.constrained and not Composite([soft], LAYOUT, DT).constrained
    scores, (plain, violation) = both(Seen(obs), actions), both.evaluate(Seen(obs), actions)
    feasible = violation == 0
    assert 20 < int(feasible.sum()) < 180
    assert scores[feasible].min() > scores[~feasible].max()
    assert torch.equal(scores[feasible], plain[feasible])
    broken = violation[~feasible]
    assert (broken[scores[~feasible].argsort(descending=True)].diff() >= -1e-6).all()


def test_rank_is_finite_unless_something_diverged():
    score = torch.tensor([-math.inf, math.nan, -1e30, 0.0, math.nan, 0.0, 0.0])
    violation = torch.tensor([0.0, 0.0, 0.0, 1e-6, 2.0, 1e20, math.nan])
    ranked = rank(score, violation)
    assert ranked.isfinite().tolist() == [False, False, True, True, True, True, False]
    assert ranked[2] == INFEASIBLE / 2 > ranked[3] > ranked[4] > ranked[5]


class Steps:
    """Position moves by 0.1 times the action; q is 0."""

    nu, ctrl_dt = 2, DT

    def rollout(self, state: Tensor, actions: Tensor) -> Seen:
        position = state + 0.1 * actions.cumsum(1)
        return Seen(torch.cat([torch.zeros_like(position[..., :1]), position], -1))


def plan(*actions: tuple[float, float]) -> Plan:
    values = torch.tensor(actions)
    return Plan(values, torch.zeros_like(values), 0.0, DT, 1, 0, 0.0)


def test_a_mean_that_breaks_a_constraint_gives_way_to_the_best_candidate():
    wall = AvoidSphere("ee_pos", (0.1, 0), 0.05, hard=True)
    scorer = TrajectoryScorer(Steps(), torch.zeros(2), Composite([Reach("ee_pos", (0.1, 0)), wall], LAYOUT, DT))
    left, right = torch.tensor([[1.0, 0.9]]), torch.tensor([[1.0, -0.6]])
    scorer(torch.stack([left, right]))
    settled = scorer.settle(plan((1.0, 0.15)))
    assert torch.equal(settled.actions, right)  # nearer to the target
    assert settled.feasible and settled.score == pytest.approx(-0.06)
    kept = plan((1.0, 0.7))
    assert torch.equal(scorer.settle(kept).actions, kept.actions)  # breaks nothing, and is the planner's own choice


def test_the_least_violation_wins_and_the_plan_says_so():
    wall = AvoidSphere("ee_pos", (0, 0), 1.0, hard=True)
    scorer = TrajectoryScorer(Steps(), torch.zeros(2), Composite([Reach("ee_pos", (0, 0)), wall], LAYOUT, DT))
    scorer(torch.tensor([[[0.5, 0.0]], [[1.0, 0.0]]]))
    settled = scorer.settle(plan((0.75, 0.0)))
    assert settled.actions.tolist() == [[1.0, 0.0]]
    assert not settled.feasible and settled.violation == pytest.approx(0.9)
    outward = scorer.settle(plan((1.0, 1.0)))  # violates less than any candidate
    assert outward.actions.tolist() == [[1.0, 1.0]]


def test_a_plan_that_diverges_gives_way():
    wall = AvoidSphere("ee_pos", (5, 5), 1.0, hard=True)
    scorer = TrajectoryScorer(Steps(), torch.zeros(2), Composite([wall], LAYOUT, DT))
    scorer(torch.tensor([[[0.5, 0.0]], [[math.nan, 0.0]]]))
    assert scorer.settle(plan((math.nan, 0.0))).actions.tolist() == [[0.5, 0.0]]


def test_without_constraints_a_plan_is_left_alone():
    scorer = TrajectoryScorer(Steps(), torch.zeros(2), Composite([Reach("ee_pos", (0, 0))], LAYOUT, DT))
    scorer(torch.zeros(2, 1, 2))
    whole = plan((1.0, 1.0))
    assert scorer.settle(whole) is whole


def test_watching_shows_what_was_scored():
    seen: list[tuple[Any, Tensor, Tensor]] = []
    objective = Composite([Reach("ee_pos", (0, 0))], LAYOUT, DT)
    scorer = TrajectoryScorer(Steps(), torch.zeros(2), objective, watch=lambda *shown: seen.append(shown))
    actions = torch.ones(3, 2, 2)
    scores = scorer(actions)
    ((trajectory, shown, shown_scores),) = seen
    assert shown is actions and shown_scores is scores
    assert trajectory.observations().shape == (3, 2, 3)


def test_terms_from_plain_values():
    entries = [
        {"cost": "reach", "of": "ee_pos"},
        {"cost": "stay_in_box", "of": "ee_pos", "low": [None, 0.1], "hard": True},
        {"cost": "keep_speed", "of": "ee_pos", "high": 0.25, "weight": 2},
        {"cost": "avoid_sphere", "of": "ee_pos", "centre": [0.4, 0.0], "radius": 0.1, "hard": True},
        {"cost": "smooth_actions", "weight": 0.1},
        {"cost": "uncertainty", "of": "ee_pos", "tolerance": 0.01},
    ]
    assert make_terms(entries) == (
        Reach("ee_pos"),
        StayInBox("ee_pos", low=(-math.inf, 0.1), hard=True),
        KeepSpeed("ee_pos", high=0.25, weight=2),
        AvoidSphere("ee_pos", (0.4, 0.0), 0.1, hard=True),
        SmoothActions(weight=0.1),
        Uncertainty("ee_pos", tolerance=0.01),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"cost": "fly"}, r"costs\[0\].cost is 'fly', allowed reach, stay_in_box"),
        ({"of": "ee_pos"}, r"costs\[0\].cost is None"),
        ({"cost": ["reach"]}, r"costs\[0\].cost is \['reach'\]"),
        ({"cost": "reach", "of": ["q"]}, r"reach.of is \['q'\], allowed the name of a group"),
        ({"cost": "reach", "of": "ee_pos", "aim": 1}, r"costs\[0\]: reach has no 'aim', allowed of, target, weight"),
        ({"cost": "avoid_sphere", "of": "ee_pos", "radius": 1}, r"avoid_sphere needs more .*'centre'"),
        ({"cost": "reach", "of": "ee_pos", "weight": -1}, r"reach.weight is -1.*allowed finite numbers >= 0"),
        ({"cost": "reach", "of": "ee_pos", "weight": "much"}, r"reach.weight is 'much', allowed a finite number"),
        ({"cost": "reach", "of": "ee_pos", "weight": 0, "hard": True}, r"reach.weight is 0 with hard"),
        ({"cost": "reach", "of": "ee_pos", "hard": 1}, r"reach.hard is 1, allowed true or false"),
        ({"cost": "reach", "of": "ee_pos", "tolerance": math.nan}, r"reach.tolerance is nan"),
        ({"cost": "reach", "of": "ee_pos", "when": "later"}, r"reach.when is 'later', allowed always, terminal"),
        ({"cost": "reach", "of": "ee_pos", "target": 3}, r"reach.target is 3, allowed a list of numbers"),
        ({"cost": "reach", "of": "ee_pos", "target": [0, math.inf]}, r"reach.target is inf, allowed a finite number"),
        ({"cost": "smooth_actions", "when": "terminal"}, r"smooth_actions.when is 'terminal', allowed always"),
        ({"cost": "stay_in_box", "of": "ee_pos"}, r"stay_in_box.low and high are none"),
        ({"cost": "stay_in_box", "of": "ee_pos", "low": [2, 0], "high": [1, 1]}, r"allowed low <= high"),
        ({"cost": "keep_speed", "of": "ee_pos", "low": 2, "high": 1}, r"allowed 0 <= low <= high"),
        ({"cost": "avoid_sphere", "of": "ee_pos", "centre": [0, 0], "radius": 0}, r"radius is 0, allowed > 0"),
    ],
)
def test_wrong_entries_are_refused(entry: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make_terms([entry])


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Reach("hand", (0, 0)), r"reach.of is 'hand', allowed q, ee_pos"),
        (Reach("ee_pos", (0, 0, 0)), r"reach.target has 3 numbers, allowed 2, as ee_pos has"),
        (Reach("ee_pos"), r"reach.target is none without a goal"),
        (StayInBox("ee_pos", low=(0,)), r"stay_in_box.low has 1 numbers, allowed 2"),
        (AvoidSphere("ee_pos", (0,), 1), r"avoid_sphere.centre has 1 numbers, allowed 2"),
    ],
)
def test_terms_that_do_not_fit_are_refused(term: Term, message: str):
    with pytest.raises(ValueError, match=message):
        Composite([term], LAYOUT, DT)


def test_bad_objectives_are_refused():
    with pytest.raises(ValueError, match="no terms, allowed one or more"):
        Composite([], LAYOUT, DT)
    with pytest.raises(ValueError, match=r"ctrl_dt is 0 s"):
        Composite([SmoothActions()], LAYOUT, 0)
    with pytest.raises(ValueError, match=r"discount is 2"):
        Composite([SmoothActions()], LAYOUT, DT, discount=2)


class Own(Term):
    """A user's own cost: the number of steps."""

    def excess(self, view: Any) -> Tensor:
        return torch.ones_like(view.actions[..., 0])


def test_own_terms():
    assert score(Own(weight=3.0), path((0, 0), (1, 1))) == -6
    with pytest.raises(ValueError, match=r"Own.weight is -1"):
        replace(Own(), weight=-1)


class Valued(Seen):
    def terminal_value(self) -> Tensor:
        return torch.tensor([8.0])


def test_terminal_value_is_discounted_and_wants_a_model_that_has_one():
    actions, obs = torch.zeros(1, 3, 1), torch.ones(1, 3, 3)
    assert float(Sum(LearnedReward(0.5), TerminalValue(0.5))(Valued(obs), actions)) == 1.75 + 1
    with pytest.raises(ValueError, match=r"Seen has no terminal_value\(\)"):
        TerminalValue()(Seen(obs), actions)
