"""Success on seven tasks of Meta-World after so many steps, beside published curves; TD-MPC2's protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...config import EnvConfig
from ...threads import torch_threads
from ..common import Claim, Row
from .config import ControlBench
from .judge import PeerRequest
from .ours import agent_score, trained
from .published import METAWORLD, PUBLISHED, SOURCE, published
from .race import Runners, arguments_of, peer_curve, settings_of
from .races import NAMES, NEAR, OURS, TDMPC2
from .settings import model_of

TABLE = "Meta-World: success after so many control steps"
RUNS = "details: Meta-World, each training"
EPISODE = 100
"""Control steps, each held for two steps of Meta-World."""
TARGETS = {100_000: 0.70, 500_000: 0.92}
MOST_ROUNDS = 100
FOREVER_S = 1e9


def budget(steps: int, updates: float) -> tuple[str, ...]:
    """Settings of a training that does so many control steps in all, those that only measure included.

    Args:
        steps: at least 500.
        updates: for each control step.
    """
    episodes = max(5, steps // EPISODE)
    held_out = max(1, min(20, episodes // 20))
    explored = max(1, episodes // 5)
    left = episodes - held_out - explored
    between = max(1, min(MOST_ROUNDS, left // 3))  # rounds after which episodes are made: all but the last
    each = left // between
    explored += left - each * between
    return (
        f"collect.episodes={explored}",
        f"train.held_out={held_out}",
        f"train.rounds={between + 1}",
        f"train.episodes_per_round={each}",
        f"train.updates_per_round={max(1, round(updates * steps / (between + 1)))}",
        f"train.buffer_size={max(200_000, steps + episodes + 1)}",
    )


def env_of(task: str) -> EnvConfig:
    """The environment of a task."""
    return EnvConfig(f"metaworld/{task.replace('_', '-')}-v3", "", "")


def folder_of(config: ControlBench, task: str, who: str, seed: int) -> Path:
    """Of a training."""
    return Path(config.runs) / "metaworld" / task / f"{who}_seed_{seed}"


def mine(config: ControlBench, task: str, steps: int, seed: int, runners: Runners) -> list[Row]:
    """Our training with a budget, measured at its end."""
    folder = folder_of(config, task, f"{OURS}_{steps}", seed)
    arguments = [*arguments_of(config, f"metaworld_{task}", seed, NEAR), *budget(steps, config.updates)]
    record = trained(folder, arguments, math.inf, runners.ours)
    checkpoint, settings = model_of(folder)
    with torch_threads(config.threads):
        score = agent_score(checkpoint, settings.env, settings.planner, config.metaworld_goals, seed)
    row = _row(task, NAMES[OURS], steps, seed, score.success, score.episodes)
    return [{**row, "return": score.mean_return, "time_s": record.time_s, "parameters": checkpoint.parameters}]


def theirs(config: ControlBench, task: str, seed: int, runners: Runners) -> list[Row]:
    """TD-MPC2's code, measured after each budget of one training."""
    request = PeerRequest(
        TDMPC2, env_of(task), False, None, seed, config.threads, config.device, config.metaworld_goals, config.first_s,
        config.spacing, FOREVER_S, max(config.steps), config.steps, **settings_of(config, TDMPC2),
    )  # fmt: skip
    curve = peer_curve(request, folder_of(config, task, TDMPC2, seed), runners.peer)
    rows: list[Row] = []
    for steps in config.steps:
        point = min(curve.points, key=lambda p: abs(p.steps - steps))
        row = _row(task, f"{NAMES[TDMPC2]}, run by us", steps, seed, point.success, point.episodes)
        rows.append({**row, "return": point.mean_return, "time_s": point.time_s})
    return rows


def summary_rows(rows: Sequence[Row]) -> list[Row]:
    """For each budget a line for each controller: all tasks side by side, published numbers beside ours."""
    made: list[Row] = []
    for steps in sorted({int(row["steps"]) for row in rows}):
        here = [row for row in rows if row["steps"] == steps]
        for controller in dict.fromkeys(str(row["controller"]) for row in here):
            found = means([row for row in here if row["controller"] == controller])
            made.append(_line(steps, controller, found))
        for name in PUBLISHED:
            if published(name, METAWORLD[0], steps) is not None:
                printed = {task: float(published(name, task, steps) or 0.0) for task in METAWORLD}
                made.append(_line(steps, f"{name}, published", printed))
    return made


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Success by task, over the seeds."""
    tasks = dict.fromkeys(str(row["task"]) for row in rows)
    return {task: float(np.mean([float(row["success"]) for row in rows if row["task"] == task])) for task in tasks}


def metaworld_claims(rows: Sequence[Row]) -> list[Claim]:
    """Means over the seven tasks; with fewer of them there is no claim."""
    made = []
    for steps, target in TARGETS.items():
        here = [row for row in rows if (row["steps"], row["controller"]) == (steps, NAMES[OURS])]
        seeds = sorted({int(row["seed"]) for row in here})
        of_seed = [means([row for row in here if row["seed"] == seed]) for seed in seeds]
        full = [float(np.mean(list(found.values()))) for found in of_seed if set(found) == set(METAWORLD)]
        if full:
            text = f"Meta-World: mean success on seven tasks after {steps} steps, mean of {len(full)} seed(s)"
            made.append(Claim.over(text, full, target, "higher", lambda values: float(np.mean(values))))
    return made


def notes(config: ControlBench, rows: Sequence[Row]) -> list[str]:
    """The protocol, and what was not run."""
    lines = [
        "Meta-World: success is that of the last step, goals and starts are drawn anew; steps are control steps, each "
        "held for two steps of Meta-World, as TD-MPC2's trainer counts them. Ours is a training of its own for each "
        "budget, since its learning rate follows the budget. Published: "
        f"{SOURCE}; version 2 of the tasks, while ours are version 3."
    ]
    ran = {(str(row["task"]), int(row["steps"])) for row in rows if row["controller"] == NAMES[OURS]}
    for steps in sorted({*TARGETS, *config.steps}):
        absent = [task for task in METAWORLD if (task, steps) not in ran]
        if absent:
            lines.append(f"Meta-World, not run for {steps} steps: {', '.join(absent)}.")
    return lines


def _line(steps: int, controller: str, found: dict[str, float]) -> Row:
    row: Row = {"table": TABLE, "steps": steps, "controller": controller}
    row |= {task: found[task] for task in METAWORLD if task in found}
    if set(found) == set(METAWORLD):
        row["mean"] = float(np.mean(list(found.values())))
    return row


def _row(task: str, controller: str, steps: int, seed: int, success: float, goals: int) -> Row:
    about: Row = {"table": RUNS, "task": task, "controller": controller, "steps": steps, "seed": seed}
    return {**about, "success": success, "goals": goals}
