"""Plans within a deadline, on a clock that only moves when candidates are scored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import ALGORITHMS, SamplingConfig, make_planner
from planners.cost import PROBE

CONFIG = SamplingConfig(horizon=4, num_samples=100, num_elites=10, keep_elites=4, iterations=5)
NAMES = sorted(ALGORITHMS)


class Machine:
    """Scores a quadratic; each call takes `overhead` seconds, and each candidate `cost` seconds."""

    def __init__(self, cost: float, overhead: float = 0.0) -> None:
        self.now, self.cost, self.overhead = 0.0, cost, overhead
        self.counts: list[int] = []

    def clock(self) -> float:
        return self.now

    def score(self, actions: Tensor) -> Tensor:
        self.now += self.overhead + self.cost * len(actions)
        self.counts.append(len(actions))
        return -(actions - 0.3).square().sum(dim=(1, 2))

    def planner(self, name: str, config: SamplingConfig = CONFIG):
        planner = make_planner(name, config, 2, 0.05, torch.Generator().manual_seed(0))
        planner.clock = self.clock
        return planner


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deadline", [0.0025, 0.02, 0.15, 0.33, 2.0])
@pytest.mark.parametrize("overhead", [0.0, 0.005, 0.1])
def test_every_plan_is_valid_and_in_time_once_the_cost_is_known(name, deadline, overhead):
    machine = Machine(1e-3, overhead)
    planner = machine.planner(name)
    plan = planner.plan(machine.score, deadline=10.0)  # learns the cost: a few candidates, then all
    for _ in range(5):
        plan = planner.plan(machine.score, plan.shift(), deadline=deadline)
        assert plan.wall_time <= deadline + 1e-9
        assert plan.actions.shape == (4, 2) and plan.actions.abs().max() <= 1


def know(planner) -> None:
    """Two sizes are a line: a millisecond for each candidate."""
    planner.cost.observe(100, 0.1)
    planner.cost.observe(50, 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_more_time_means_more_iterations_up_to_all(name):
    done = []
    for deadline in (0.05, 0.15, 0.25, 10.0):
        machine = Machine(cost=1e-3)
        planner = machine.planner(name, replace(CONFIG, deadline=deadline))
        know(planner)
        done.append(planner.plan(machine.score).iterations)
    assert done == sorted(done) and done[0] == 1 and done[-1] == CONFIG.iterations


def test_the_last_iteration_takes_what_fits():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem")
    know(planner)
    planner.plan(machine.score, deadline=0.25)
    assert machine.counts[:2] == [100, 100] and 45 <= machine.counts[2] <= 50


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_cost_for_each_iteration_is_no_cost_of_its_candidates(name):
    """Room for one full iteration: it is done in every plan, and none is late."""
    machine = Machine(cost=1e-5, overhead=5e-3)
    config = replace(CONFIG, num_samples=128, num_elites=24, keep_elites=8, deadline=0.012)
    planner, plan, late = machine.planner(name, config), None, 0
    for k in range(300):
        plan = planner.plan(machine.score, None if plan is None else plan.shift())
        late += k > 0 and plan.wall_time > 0.012 + 1e-9
    assert late == 0
    assert sum(machine.counts[10:]) / 300 >= 100


def test_an_unknown_share_of_fixed_cost_is_found_out():
    """Full iterations alone were seen, none fits: a few candidates tell what an iteration costs without any."""
    machine = Machine(cost=1e-3, overhead=0.01)
    planner = machine.planner("cem")
    planner.plan(machine.score)  # 110 ms each
    done = [planner.plan(machine.score, deadline=0.06) for _ in range(3)]
    assert machine.counts[5] == PROBE
    assert all(plan.iterations == 1 and plan.wall_time <= 0.06 for plan in done[1:])
    assert min(machine.counts[-2:]) >= 45


def test_what_no_few_candidates_can_meet_is_not_tried():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem")
    planner.plan(machine.score)
    assert planner.plan(machine.score, deadline=0.005).iterations == 0


def test_noise_in_the_time_is_allowed_for():
    """Times vary by a fifth: the slowest of the last iterations is reckoned with."""
    machine = Machine(cost=1e-3, overhead=0.01)
    planner = machine.planner("cem", replace(CONFIG, deadline=0.2))
    generator, late = torch.Generator().manual_seed(0), 0
    for _ in range(300):
        machine.cost = 1e-3 * (1 + 0.2 * float(torch.rand((), generator=generator)))
        late += planner.plan(machine.score, torch.zeros(4, 2)).wall_time > 0.2 + 1e-9
    assert late <= 6  # 2 %
    assert sum(machine.counts) / 300 > 120


@pytest.mark.parametrize("deadline", [0.06, 0.2])
def test_rare_surprises_are_remembered(deadline):
    """One iteration in a hundred takes half as long again, at random: few plans are late once that is known."""
    machine = Machine(cost=1e-3, overhead=0.01)
    planner = machine.planner("cem", replace(CONFIG, deadline=deadline))
    generator, plan, late = torch.Generator().manual_seed(0), None, 0

    def score(actions: Tensor) -> Tensor:
        machine.cost = 1.5e-3 if float(torch.rand((), generator=generator)) < 0.01 else 1e-3
        return machine.score(actions)

    for k in range(2500):
        plan = planner.plan(score, None if plan is None else plan.shift())
        late += k >= 500 and plan.wall_time > deadline + 1e-9
    assert late <= 2  # 0.1 %
    assert sum(machine.counts) / 2500 > 0.4e3 * (deadline - 0.01)  # of 1,000 candidates a second


def test_one_stall_does_not_end_the_planning():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, deadline=0.25))
    plan = planner.plan(machine.score)
    for k in range(60):
        machine.cost = 1.0 if k == 20 else 1e-3
        plan = planner.plan(machine.score, plan.shift())
    assert sum(machine.counts[-5:]) >= 0.3 * 250  # with `STALL` as its margin


def test_what_comes_after_the_last_iteration_is_allowed_for():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, deadline=0.25))
    know(planner)
    remember = planner._past.remember

    def slowly(*args: Tensor) -> None:
        machine.now += 0.03
        remember(*args)

    planner._past.remember = slowly
    plan = planner.plan(machine.score)
    for _ in range(5):
        plan = planner.plan(machine.score, plan.shift())
        assert 0.2 < plan.wall_time <= 0.25 + 1e-9


def test_one_stall_after_the_last_iteration_costs_one_plan():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, deadline=0.25))
    know(planner)
    plan = planner.plan(machine.score)
    planner._ends.append(1.0)
    done = []
    for _ in range(3):
        plan = planner.plan(machine.score, plan.shift())
        done.append(plan.iterations)
    assert done[0] == 0 and min(done[1:]) >= 2


def test_the_very_first_plan_tries_a_few_candidates():
    machine = Machine(cost=1e-3)
    plan = machine.planner("cem").plan(machine.score, deadline=0.05)
    assert machine.counts[0] == PROBE and plan.wall_time <= 0.05


def test_a_machine_that_became_slow_is_noticed_and_one_that_recovers_is_used_again():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, deadline=0.2))
    warm = torch.zeros(4, 2)
    for _ in range(3):
        planner.plan(machine.score, warm)
    machine.cost = 1e-1  # one iteration now takes seconds: the first of them is late, then none is begun
    assert planner.plan(machine.score, warm).wall_time > 0.2
    late = planner.plan(machine.score, warm + 0.1)
    assert late.iterations == 0 and late.wall_time <= 0.2 and torch.equal(late.actions, warm + 0.1)
    machine.cost = 1e-3
    done = [planner.plan(machine.score, warm).iterations for _ in range(100)]
    assert done[-1] >= 2


def test_bad_deadlines_are_refused():
    with pytest.raises(ValueError, match=r"planner\.deadline is 0"):
        SamplingConfig(deadline=0)
    machine = Machine(cost=1e-3)
    with pytest.raises(ValueError, match="deadline is -1 s"):
        machine.planner("cem").plan(machine.score, deadline=-1)


class Stepwise(Machine):
    """Each action of each candidate takes `cost` seconds."""

    def score(self, actions: Tensor) -> Tensor:
        self.horizon = actions.shape[1]
        self.now += self.cost * (actions.shape[1] - 1) * len(actions)  # the rest comes below
        return super().score(actions)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("knots", [0, 2])
def test_a_short_horizon_is_better_than_none(name, knots):
    """Four steps of five candidates take 20 ms: with 12 ms there is room for two steps, and with 4 ms for none."""
    machine = Stepwise(cost=1e-3)
    planner = machine.planner(name, replace(CONFIG, min_horizon=2, knots=knots, iterations=1))
    planner.cost.observe(100, 0.4)
    planner.cost.observe(50, 0.2)
    warm = torch.full((4, 2), -0.5)
    plan = planner.plan(machine.score, warm, deadline=0.012)
    assert plan.iterations == 1 and plan.considered == machine.horizon == 2 and plan.wall_time <= 0.012 + 1e-9
    assert torch.allclose(plan.actions[2:], warm[2:], atol=1e-6)
    assert not torch.allclose(plan.actions[:2], warm[:2], atol=1e-3)
    plan = planner.plan(machine.score, warm, deadline=0.004)
    assert plan.iterations == 0 and torch.allclose(plan.actions, warm, atol=1e-6)
    plan = planner.plan(machine.score, warm, deadline=10.0)
    assert plan.considered == machine.horizon == 4


def test_what_a_short_horizon_costs_says_what_a_long_one_does():
    """A plan cut short goes into the estimate as what all of it would have taken."""
    machine = Stepwise(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, min_horizon=1, iterations=1))
    planner.cost.observe(100, 0.4)
    planner.cost.observe(50, 0.2)
    for deadline in (0.006, 0.012, 0.018):
        planner.plan(machine.score, deadline=deadline)
    assert planner.cost.expected(100) == pytest.approx(0.4, rel=1e-6)


def test_the_horizon_stays_where_nobody_allows_less():
    machine = Stepwise(cost=1e-3)
    planner = machine.planner("cem")
    planner.cost.observe(100, 0.4)
    planner.cost.observe(50, 0.2)
    assert planner.plan(machine.score, deadline=0.012).iterations == 0


def test_limits_hold_where_a_short_plan_meets_the_rest():
    machine = Stepwise(cost=1e-3)
    planner = machine.planner("cem", replace(CONFIG, min_horizon=2, rate_limit=0.2))
    planner.cost.observe(100, 0.4)
    planner.cost.observe(50, 0.2)
    plan = planner.plan(machine.score, torch.full((4, 2), -0.5), deadline=0.012)
    steps = torch.cat([torch.zeros(1, 2), plan.actions]).diff(dim=0).abs()
    assert plan.considered == 2 and float(steps.max()) <= 0.2 + 1e-6
