"""The units of the benchmark: what each part consists of, and the settings that a unit depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from ..common import Row
from . import collectors, ddp, metaworld, race, tasks, together, transfer
from .config import ControlBench
from .race import Runners
from .races import OURS, TDMPC2

COMMON = ("threads", "device", "experiment", "train")
PEER = ("first_s", "spacing", "limit_s", "tdmpc2", "tdmpc2_size", "tdmpc2_compile")


@dataclass(frozen=True)
class Job:
    """A unit.

    Attributes:
        part: that it belongs to.
        name: of the unit.
        uses: settings that it depends on, beside those that all share.
        make: measures it.
    """

    part: str
    name: str
    uses: tuple[str, ...]
    make: Callable[[], list[Row]]


def job(part: str, name: str, uses: tuple[str, ...], make: Callable[..., list[Row]], *about: Any) -> Job:
    """A unit that calls a function with what it is about."""
    return Job(part, name, (*COMMON, *uses), partial(make, *about))


def race_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """A training for each task, seed and controller."""
    found = []
    for task, seed, who in product(config.races, config.seeds, (OURS, *peers)):
        uses = ("limit_s", "goals") if who == OURS else ("goals", "her_reward", *PEER)
        found.append(job("race", f"{task}_{who}_seed{seed}", uses, race.raced, config, task, who, seed, runners))
    return found


def transfer_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """For each seed the two trainings with their tests, and the fine-tuning."""
    uses, found = ("arms", "arm_goals", "off"), []
    for seed in config.seeds:
        for kind in (transfer.FIXED, transfer.RANDOM):
            name = f"{kind.split()[0]}_seed{seed}"
            found.append(job("transfer", name, uses, transfer.transferred, config, kind, seed, runners))
        tuning = (*uses, "tuned_arms", "minutes")
        found.append(job("transfer", f"tuned_seed{seed}", tuning, transfer.tuned, config, seed, runners))
    return found


def task_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """For each task a training of each seed, the true model, and TD-MPC2 where it is there."""
    found = []
    for task in config.tasks:
        for seed in config.seeds:
            name = f"{task}_{OURS}_seed{seed}"
            found.append(job("tasks", name, ("task_goals",), tasks.mine, config, task, seed, runners))
        name = f"{task}_true_model"
        found.append(job("tasks", name, ("seeds", "simulator_goals"), tasks.true_model, config, task, runners))
        for seed in config.seeds if TDMPC2 in peers else ():
            name = f"{task}_{TDMPC2}_seed{seed}"
            found.append(job("tasks", name, ("task_goals", *PEER), tasks.theirs, config, task, seed, runners))
    return found


def together_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """For each seed a training of each environment, and one of all."""
    found = []
    for seed in config.seeds:
        for env in config.together:
            name = f"{env}_seed{seed}"
            found.append(job("together", name, ("goals",), together.one_for_each, config, env, seed, runners))
        uses = ("goals", "together")
        found.append(job("together", f"all_seed{seed}", uses, together.one_for_all, config, seed, runners))
    return found


def metaworld_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """For each task and seed a training for each budget, and one of TD-MPC2 where it is there."""
    found = []
    for task, seed in product(config.metaworld, config.seeds):
        for steps in config.steps:
            name, uses = f"{task}_{OURS}_{steps}_seed{seed}", ("updates", "metaworld_goals")
            found.append(job("metaworld", name, uses, metaworld.mine, config, task, steps, seed, runners))
        if TDMPC2 in peers:
            name, theirs = f"{task}_{TDMPC2}_seed{seed}", ("steps", "metaworld_goals", *PEER)
            found.append(job("metaworld", name, theirs, metaworld.theirs, config, task, seed, runners))
    return found


def ddp_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """For each seed and size of a batch a training by each number of processes."""
    found = []
    for seed, batch, n in product(config.seeds, config.batches, config.processes):
        name = f"batch{batch}_{n}_processes_seed{seed}"
        found.append(job("ddp", name, (), ddp.timed, config, n, batch, seed, runners))
    return found


def collector_jobs(config: ControlBench, peers: list[str], runners: Runners) -> list[Job]:
    """A measurement for each number of collectors."""
    uses, make = ("collected",), collectors.timed
    return [job("collectors", f"{n}_collectors", uses, make, config, n) for n in config.collectors]


PARTS: dict[str, Callable[[ControlBench, list[str], Runners], list[Job]]] = {
    "race": race_jobs,
    "transfer": transfer_jobs,
    "tasks": task_jobs,
    "together": together_jobs,
    "metaworld": metaworld_jobs,
    "ddp": ddp_jobs,
    "collectors": collector_jobs,
}
