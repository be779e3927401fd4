"""The gradient planner, and how gradients get past torch's inference mode."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from planners import CEM, LearnedReward, ReachPoint, SamplingConfig, Sum, TrajectoryScorer, make_planner
from planners.rollout import recordable

H, NU = 5, 2
CONFIG = SamplingConfig(
    horizon=H, num_samples=6, num_elites=6, keep_elites=0, iterations=40, init_std=0.4, learning_rate=0.05
)


def planner(config: SamplingConfig = CONFIG, seed: int = 0):
    return make_planner("gradient", config, NU, 0.05, torch.Generator().manual_seed(seed))


class Trajectory:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def observations(self, columns: slice | None = None) -> Tensor:
        return self.x if columns is None else self.x[..., columns]

    def rewards(self) -> Tensor:
        return -self.x.square().sum(-1)


@dataclass(frozen=True)
class State:
    x: Tensor
    note: str = "start"


class Network(nn.Module):
    """x' = x + 0.2 W tanh(a): trained parameters that want gradients of their own."""

    nu, ctrl_dt = NU, 0.05

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(NU, NU, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 0.3], [-0.2, 0.8]]))

    def rollout(self, state: State, actions: Tensor) -> Trajectory:
        x, line = state.x.expand(len(actions), NU), []
        for a in actions.unbind(1):
            x = x + 0.2 * self.layer(torch.tanh(a)) * (1 + 0 * x * x)
            line.append(x)
        return Trajectory(torch.stack(line, 1))


def test_a_quadratic_is_solved_to_the_step_size():
    target = 0.5 * torch.sin(torch.arange(H * NU).reshape(H, NU) / 3.0)
    plan = planner().plan(lambda a: -(a - target).square().sum((1, 2)))
    assert (plan.actions - target).abs().max() < 0.05
    assert plan.iterations == 40 and plan.score > -0.01


def test_the_first_step_is_adams():
    """Moments start at zero and are corrected for it: the first step is the learning rate, up the slope."""
    warm, seen = torch.full((H, NU), 0.1), []
    slope = torch.where(torch.arange(H)[:, None] % 2 == 0, 3.0, -0.01).expand(H, NU)

    def score(a: Tensor) -> Tensor:
        seen.append(a.detach().clone())
        return (a * slope).sum((1, 2))

    planner(replace(CONFIG, iterations=2, num_samples=1, num_elites=1)).plan(score, warm)
    assert torch.allclose(seen[1][0] - seen[0][0], 0.05 * slope.sign(), atol=1e-5)


def test_it_takes_the_steps_of_torchs_adam():
    """The same slope at every step as the reference sees it: positions agree after ten steps."""
    best = torch.linspace(-0.5, 0.5, H * NU).reshape(H, NU)
    scale = torch.logspace(-1, 1, H * NU).reshape(H, NU)
    x = nn.Parameter(torch.zeros(1, H, NU))
    reference, seen = torch.optim.Adam([x], lr=0.02, maximize=True), []

    def score(a: Tensor) -> Tensor:
        seen.append(a.detach().clone())
        return -(scale * (a - best).square()).sum((1, 2))

    config = replace(CONFIG, iterations=10, num_samples=1, num_elites=1, learning_rate=0.02)
    planner(config).plan(score)
    for step in range(10):
        assert torch.allclose(seen[step], x.detach(), atol=1e-5)
        reference.zero_grad()
        (-(scale * (x - best).square())).sum().backward()
        reference.step()


def test_restarts_find_what_a_single_start_misses():
    """Two hills: the warm start climbs the lower one."""

    def hills(a: Tensor) -> Tensor:
        x = a.mean((1, 2))
        return torch.exp(-40 * (x + 0.2).square()) + 2 * torch.exp(-40 * (x - 0.6).square())

    one = replace(CONFIG, num_samples=1, num_elites=1)
    many = replace(CONFIG, num_samples=32, noise_smoothing=0.99, init_std=0.6)
    assert planner(one).plan(hills).score == pytest.approx(1, abs=0.01)
    assert planner(many).plan(hills).score == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_climber_that_falls_off_starts_anew(bad):
    """A cliff in the way: no climber stays beyond it, and their number does not shrink."""
    counts, lost = [], []

    def cliff(a: Tensor) -> Tensor:
        counts.append(len(a))
        x = a[:, 0, 0]
        value = torch.where(x > 0.5, x * bad, x)
        lost.append(int((~torch.isfinite(value)).sum()))
        return value

    plan = planner().plan(cliff)
    assert set(counts) == {6} and plan.num_invalid == sum(lost) > 0
    assert 0.4 < plan.actions[0, 0] <= 0.5


def test_a_gradient_that_is_not_finite_is_not_followed():
    """The square root has no slope at 0, where its value is fine."""
    warm = torch.zeros(H, NU)
    plan = planner().plan(lambda a: 1 - a.abs().sum((1, 2)).sqrt(), warm)
    assert torch.equal(plan.actions, warm) and plan.score == 1


def test_fewer_candidates_keep_the_best_climbers():
    """In an iteration cut short by a deadline those that stand highest go on."""
    seen, config = [], replace(CONFIG, iterations=3)
    found = planner(config)
    sizes = iter([6, 2, 6])
    found._affordable = lambda iteration, cost, left: next(sizes)  # type: ignore[method-assign]

    def score(a: Tensor) -> Tensor:
        seen.append(a.detach().clone())
        return -a.square().sum((1, 2))

    found.plan(score)
    best = torch.topk(-seen[0].square().sum((1, 2)), 2).indices
    assert [len(x) for x in seen] == [6, 2, 6]
    assert torch.allclose(seen[1], seen[0][best] - 0.05 * seen[0][best].sign(), atol=1e-4)


@pytest.mark.parametrize("outer", [True, False])
def test_a_network_is_climbed_from_a_state_made_in_inference_mode(outer):
    """As an agent does it: everything around the plan runs in inference mode. Nothing is left in the parameters."""
    model = Network()
    with torch.inference_mode(outer):
        state = State(torch.tensor([[0.3, -0.4]]) + 0)
        objective = Sum(ReachPoint(slice(0, 2), torch.zeros(2) + 0, terminal_weight=1.0), LearnedReward(0.9))
        plan = planner().plan(TrajectoryScorer(model, state, objective))
        again = planner().plan(TrajectoryScorer(model, state, objective), plan.shift())
        scorer = TrajectoryScorer(model, state, objective)
        cem = CEM(replace(CONFIG, num_samples=64), NU, 0.05, torch.Generator().manual_seed(0)).plan(scorer)
        assert plan.score >= float(scorer(cem.actions[None]).detach()) - 0.1  # steps circle around a kink
    assert again.iterations == 40 and not plan.actions.requires_grad and not plan.actions.is_inference()
    assert model.layer.weight.grad is None


def test_other_planners_still_run_in_inference_mode():
    modes = []
    for name in ("cem", "gradient"):
        config = replace(CONFIG, iterations=1)
        make_planner(name, config, NU, 0.05, torch.Generator().manual_seed(0)).plan(
            lambda a: modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled())) or a.sum((1, 2))
        )
    assert modes == [(True, False), (False, True)]


@pytest.mark.parametrize("score", [lambda a: a.detach().sum((1, 2)), lambda a: torch.ones(len(a), requires_grad=True)])
def test_scores_without_a_gradient_are_refused(score):
    with pytest.raises(ValueError, match="the scores have no gradient"):
        planner().plan(score)


def test_states_of_any_make_can_be_recorded():
    pair = namedtuple("pair", "a b")
    with torch.inference_mode():
        x = torch.ones(2) + 0
    y = torch.ones(2)
    found = recordable({"s": State(x), "l": [x, y], "t": (x, 3), "n": pair(x, None)})
    assert found["s"].note == "start" and found["t"][1] == 3 and found["n"].b is None
    copies = [found["s"].x, found["l"][0], found["t"][0], found["n"].a]
    assert all(not c.is_inference() and torch.equal(c, x) for c in copies)
    assert found["l"][1] is y and recordable(State) is State
