"""Plans within a deadline, on a clock that only moves when candidates are scored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import ALGORITHMS, SamplingConfig, make_planner
from planners.sampling import PROBE

CONFIG = SamplingConfig(horizon=4, num_samples=100, num_elites=10, keep_elites=4, iterations=5)
NAMES = sorted(ALGORITHMS)


class Machine:
    """Scores a quadratic; each candidate takes `cost` seconds."""

    def __init__(self, cost: float) -> None:
        self.now, self.cost = 0.0, cost
        self.counts: list[int] = []

    def clock(self) -> float:
        return self.now

    def score(self, actions: Tensor) -> Tensor:
        self.now += self.cost * len(actions)
        self.counts.append(len(actions))
        return -(actions - 0.3).square().sum(dim=(1, 2))

    def planner(self, name: str, config: SamplingConfig = CONFIG):
        planner = make_planner(name, config, 2, 0.05, torch.Generator().manual_seed(0))
        planner.clock = self.clock
        return planner


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deadline", [0.0025, 0.02, 0.15, 0.33, 2.0])
def test_every_plan_is_valid_and_in_time_once_the_cost_is_known(name, deadline):
    machine = Machine(cost=1e-3)
    planner = machine.planner(name)
    plan = planner.plan(machine.score)  # without a deadline: learns the cost
    for _ in range(5):
        plan = planner.plan(machine.score, plan.shift(), deadline)
        assert plan.wall_time <= deadline + 1e-9
        assert plan.actions.shape == (4, 2) and plan.actions.abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_more_time_means_more_iterations_up_to_all(name):
    done = []
    for deadline in (0.05, 0.15, 0.25, 10.0):
        machine = Machine(cost=1e-3)
        planner = machine.planner(name, replace(CONFIG, deadline=deadline))
        planner.candidate_cost = 1e-3
        done.append(planner.plan(machine.score).iterations)
    assert done == sorted(done) and done[0] == 1 and done[-1] == CONFIG.iterations


def test_the_last_iteration_takes_what_fits():
    machine = Machine(cost=1e-3)
    planner = machine.planner("cem")
    planner.candidate_cost = 1e-3
    planner.plan(machine.score, deadline=0.25)
    assert machine.counts[:2] == [100, 100] and 45 <= machine.counts[2] <= 50


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
