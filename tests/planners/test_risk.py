"""Laws of the risk measures, and several models as one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from planners import (
    AvoidSphere,
    Composite,
    EnsembleTrajectory,
    LearnedReward,
    ModelSet,
    Reach,
    Risk,
    StayInBox,
    TrajectoryScorer,
    Uncertainty,
    cvar,
)

LAYOUT = {"position": slice(0, 2)}


class Seen:
    def __init__(self, obs: Tensor) -> None:
        self.obs = obs

    def observations(self, columns: slice | None = None) -> Tensor:
        return self.obs if columns is None else self.obs[..., columns]

    def rewards(self) -> Tensor:
        return self.obs.sum(-1)


class Drift:
    """A point that moves by 0.1 times the action and a drift."""

    nu, ctrl_dt = 2, 0.1

    def __init__(self, *drift: float) -> None:
        self.drift = torch.tensor(drift)

    def encode(self, obs: Tensor) -> Tensor:
        return obs

    def rollout(self, state: Tensor, actions: Tensor) -> Seen:
        return Seen(state + (0.1 * actions + self.drift).cumsum(1))


def some_scores(models: int = 7) -> Tensor:
    return torch.randn(models, 50, generator=torch.Generator().manual_seed(models)).double()


def test_cvar_lies_between_mean_and_worst_and_rises_with_alpha():
    scores = some_scores()
    last = scores.amin(0)
    for alpha in (0.01, 0.1, 0.2, 0.3, 0.5, 0.9, 0.99, 1.0):
        value = cvar(scores, alpha)
        assert (value >= last - 1e-12).all() and (value <= scores.mean(0) + 1e-12).all()
        last = value


def test_cvar_at_its_ends():
    scores = some_scores()
    assert torch.allclose(cvar(scores, 1.0), scores.mean(0))
    assert torch.equal(cvar(scores, 1 / 7), scores.amin(0))
    assert torch.equal(cvar(scores, 1e-9), scores.amin(0))
    assert torch.allclose(cvar(scores[:1], 0.3), scores[0])


def test_cvar_by_hand():
    scores = torch.tensor([[4.0], [1.0], [3.0], [2.0]])
    assert float(cvar(scores, 0.5)) == 1.5
    assert float(cvar(scores, 0.375)) == pytest.approx((1 + 0.5 * 2) / 1.5)  # one and a half of four models


def test_cvar_is_what_the_definition_says():
    """The maximum over t of t - E[(t - score)+] / alpha; it is attained at one of the scores."""
    scores = some_scores(5)
    for alpha in (0.15, 0.4, 0.7):
        shortfall = (scores[:, None] - scores[None]).clamp_min(0).mean(1)  # (t, N)
        assert torch.allclose(cvar(scores, alpha), (scores - shortfall / alpha).amax(0))


@pytest.mark.parametrize("measure", ["mean", "cvar", "worst"])
def test_measures_do_not_know_the_order_of_models_and_move_with_the_scores(measure: str):
    scores, risk = some_scores(), Risk(LearnedReward(), measure, 0.4)
    value = risk.over_models(scores)
    assert torch.allclose(risk.over_models(scores.flip(0)), value)
    assert torch.allclose(risk.over_models(3 * scores + 2), 3 * value + 2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(risk.over_models(scores[:, order]), value[order])


@pytest.mark.parametrize("measure", ["mean", "cvar", "worst"])
def test_hard_constraints_hold_in_every_model(measure: str):
    models = ModelSet([Drift(0, 0), Drift(0, 0.02), Drift(0, -0.02), Drift(0.02, 0)])
    actions = torch.rand(200, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    trajectory = models.rollout([torch.zeros(2)] * 4, actions)
    terms = [Reach("position", (0.2, 0)), AvoidSphere("position", (0.15, 0), 0.1, hard=True)]
    one = Composite(terms, LAYOUT, 0.1)
    ranked = Risk(one, measure)(trajectory, actions)
    everywhere = torch.stack([one.evaluate(part, actions)[1] == 0 for part in trajectory.members()]).all(0)
    assert 20 < int(everywhere.sum()) < 180
    assert ranked[everywhere].min() > -1e6 > ranked[~everywhere].max()
    assert Risk(one).constrained and not Risk(LearnedReward()).constrained


def test_a_candidate_that_diverges_in_one_model_is_never_chosen():
    obs = torch.zeros(2, 3, 2)
    lost = obs.clone()
    lost[1] = math.nan
    trajectory = EnsembleTrajectory([Seen(obs), Seen(lost), Seen(obs)])
    for measure in ("mean", "cvar", "worst"):
        objective = Risk(Composite([Reach("position", (0, 0))], LAYOUT, 0.1), measure)
        assert objective(trajectory, torch.zeros(2, 3, 2)).isfinite().tolist() == [True, False]


def test_uncertainty_is_the_spread_over_the_members():
    base = torch.zeros(4, 3, 2)
    base[0] = 7.0
    offset = torch.zeros(4, 1, 2)
    offset[1] = torch.tensor([3.0, 4.0])
    trajectory = EnsembleTrajectory([Seen(base - offset), Seen(base + offset)])
    scores = Composite([Uncertainty("position")], LAYOUT, 0.1)(trajectory, torch.zeros(4, 3, 2))
    assert scores.tolist() == [0.0, -15.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="a cost 'uncertainty' needs several models, got one"):
        Composite([Uncertainty("position")], LAYOUT, 0.1)(Seen(base), torch.zeros(4, 3, 2))


def test_read_as_one_an_ensemble_is_its_mean():
    a, b = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    both = EnsembleTrajectory([Seen(a), Seen(b)])
    assert torch.allclose(both.observations(), (a + b) / 2)
    assert torch.allclose(both.observations(slice(1, 2)), (a + b)[..., 1:] / 2)
    assert torch.allclose(both.rewards(), (a + b).sum(-1) / 2)
    last = both.terminal()
    assert torch.allclose(last.observations(), (a + b)[:, -1:] / 2)
    assert torch.allclose(last.rewards(), (a + b).sum(-1)[:, -1:] / 2)
    assert len(last.members()) == 2


@pytest.mark.parametrize(("measure", "optimum"), [("mean", 0.08), ("worst", 0.14 / 3), ("cvar", 0.14 / 3)])
def test_the_best_candidate_is_the_analytic_optimum(measure: str, optimum: float):
    """A point is to stop at an edge, x = 0.08, beyond which a metre costs double; one model in four says it slips 0.05.

    At u before the edge three models cost 0.08 - u, the fourth 2 (u - 0.03). Their mean falls up to u = 0.08; the worst
    is least where both are equal.
    """
    models = ModelSet([Drift(0, 0), Drift(0, 0), Drift(0.05, 0), Drift(0, 0)])
    terms = [Reach("position", (0.08, 0)), StayInBox("position", high=(0.08, None))]
    objective = Risk(Composite(terms, LAYOUT, 0.1), measure, 0.25)
    along = torch.linspace(0, 1, 2001).reshape(-1, 1, 1)
    scores = TrajectoryScorer(models, models.encode(torch.zeros(2)), objective)(torch.cat([along, 0 * along], -1))
    assert 0.1 * float(along[scores.argmax()]) == pytest.approx(optimum, abs=1e-4)  # two points of the grid


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="risk is 'best', allowed mean, cvar, worst"):
        Risk(LearnedReward(), "best")
    for alpha in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"alpha is .*, allowed \(0, 1\]"):
            Risk(LearnedReward(), "cvar", alpha)
    with pytest.raises(ValueError, match="0 models"):
        ModelSet([])
    other = Drift(0, 0)
    other.ctrl_dt = 0.2
    with pytest.raises(ValueError, match=r"ctrl_dt \[0.1, 0.2\]"):
        ModelSet([Drift(0, 0), other])
    with pytest.raises(ValueError, match="the risk measure 'mean' needs several models"):
        Risk(LearnedReward())(Seen(torch.zeros(1, 1, 2)), torch.zeros(1, 1, 2))
