"""Planners: overhead, quality at equal evaluations and deadlines, beside other packages; success by control rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ...progress import progress
from ...schema import plain
from ...threads import torch_threads
from ..common import Claim, Figure, Findings, Row
from ..shelf import Measured, Shelf, origin_rows
from .closed_loop import depth_claims, depth_rows, rate_claims, rate_rows
from .config import PARTS, PlanningBench
from .plots import draw, draw_rates
from .quality import (
    NEAR_OPTIMUM,
    Key,
    default_claims,
    excess,
    icem_against_cem,
    plan_costs,
    quality_rows,
    receding_rows,
)
from .solvers import PEERS, Solver, available
from .tdmpc2 import side_by_side
from .timing import BUSY, IDLE, deadline_rows, overhead, overhead_rows, share_rows

__all__ = ["QUICK", "SCHEMA", "PlanningBench", "run"]

SCHEMA = PlanningBench
QUICK: dict[str, Any] = {
    "seeds": [0, 1],
    "candidates": [64, 512],
    "repeats": 2,
    "plans": 3,
    "evaluations": [300],
    "deadlines": [0.02],
    "deadline_plans": 50,
    "fixed_plans": 20,
    "rates": [20],
    "kinds": ["loopwm"],
    "train_seeds": [0],
    "train_episodes": 20,
    "train_rounds": 2,
    "train_updates": 50,
    "episodes": 5,
    "depth_episodes": 5,
    "full_depths": [12],
    "runs": "runs/bench_planning_quick",
}

TRAINED = ("rate", "depth")
"""Parts whose units take hours together: what other code measured counts."""
AT = 512  # candidates of the claims on time


def run(config: PlanningBench) -> Findings:
    """Measure the parts that are asked for; the page has all that were ever measured in this folder of runs."""
    shelf = Shelf(Path(config.runs).expanduser() / "parts", archive=config.archive)
    found, versions = available()
    jobs = [job for part in config.parts for job in jobs_of(part, config, found, versions)]
    with torch_threads(config.threads), progress("planning", len(jobs)) as bar:
        for part, name, uses, make in jobs:
            settings = {key: plain(getattr(config, key)) for key in ("threads", *uses)}
            shelf.measure(part, name, settings, make, any_commit=part in TRAINED)
            bar.advance()
    units = {part: shelf.all(part) for part in PARTS}
    rows = {part: [row for unit in units[part] for row in unit.rows] for part in PARTS}
    everything = [unit for part in PARTS for unit in units[part]]
    claims = [claim for unit in everything for claim in unit.claims]
    claims += deadline_claims(rows["deadline"]) if rows["deadline"] else []
    claims += rate_claims(rows["rate"]) + depth_claims(rows["depth"])
    figures = []
    quality = [row for row in rows["quality"] if "evaluations" in row]
    if rows["overhead"] or quality:
        text = "Overhead by candidates: median. Excess cost by evaluations: median of the seeds; dotted: 5 %."
        figures.append(Figure("planners", text, partial(draw, rows["overhead"], quality)))
    if rows["rate"]:
        text = "Success at each control rate, mean and range of the seeds: with all the time, and within the period."
        figures.append(Figure("rates", text, partial(draw_rates, rows["rate"])))
    remarks = list(dict.fromkeys(note for unit in everything for note in unit.notes))
    lines = [row for part in PARTS for row in rows[part]] + origin_rows(everything)
    return Findings(list(config.seeds), lines, claims, remarks, {"packages": versions}, figures=figures)


Job = tuple[str, str, tuple[str, ...], Callable[[], Measured]]
"""Part, unit, the settings that it depends on, and what measures it."""
TRAINING = ("model", "train_episodes", "train_rounds", "train_updates")


def jobs_of(part: str, config: PlanningBench, found: list[Solver], versions: dict[str, str]) -> list[Job]:
    """The units of a part, each some minutes on an idle machine, but for trainings, which go on when interrupted."""

    def rows_of(make: Callable[..., list[Row]], *about: Any) -> Callable[[], Measured]:
        return lambda: (make(config, *about), [], [])

    if part == "deadline":
        uses: tuple[str, ...] = ("seeds", "model", "deadline_plans", "fixed_plans")
        machines = (IDLE, BUSY) if config.busy else (IDLE,)
        pairs = product(machines, config.deadlines)
        return [(part, f"{m.split()[0]}_{d:g}s", uses, rows_of(deadline_rows, m, d)) for m, d in pairs]
    if part == "rate":
        uses = (*TRAINING, "episodes")
        cells = product(config.kinds, config.rates, config.train_seeds)
        return [(part, f"{k}_{r:g}hz_seed{s}", uses, rows_of(rate_rows, k, r, s)) for k, r, s in cells]
    if part == "depth":
        uses = (*TRAINING, "depth_episodes")
        depths = product(config.full_depths, config.train_seeds)
        return [(part, f"{n}loops_seed{s}", uses, rows_of(depth_rows, n, s)) for n, s in depths]
    times = ("seeds", "repeats", "plans")
    alone: dict[str, tuple[tuple[str, ...], Callable[[], Measured]]] = {
        "overhead": ((*times, "candidates"), lambda: measure_overhead(found, config, versions)),
        "share": ((*times, "model"), lambda: measure_share(config)),
        "quality": (("seeds", "evaluations"), lambda: measure_quality(found, config)),
        "tdmpc2": ((*times, "model", "tdmpc2", "start_s"), lambda: side_by_side(config)),
    }
    return [(part, "", *alone[part])]


def measure_overhead(found: list[Solver], config: PlanningBench, versions: dict[str, str]) -> Measured:
    """What planners take beside the model."""
    times = overhead(found, config)
    return overhead_rows(times), overhead_claims(times), notes(versions)


def measure_share(config: PlanningBench) -> Measured:
    """The planner's part of a plan with LoopWM."""
    rows, shares = share_rows(config)
    text = "planner's share of a plan with LoopWM at 512 candidates, worst repeat"
    return rows, [Claim.over(text, shares, 0.1, "lower", max)], []


def measure_quality(found: list[Solver], config: PlanningBench) -> Measured:
    """How good plans are."""
    costs, settings = plan_costs(found, config)
    above = excess(costs, config)
    again, claims = receding_rows(config)
    claims = [*quality_claims(found, above, config), *default_claims(found, config), *claims]
    return quality_rows(found, above, settings) + again, claims, [QUALITY_NOTE]


def overhead_claims(overheads: dict[tuple[str, int], Any]) -> list[Claim]:
    """Ours against the same algorithm of another package, repeat by repeat."""
    made = []
    for mine, other in (("mppi", "pytorch_mppi"), ("icem", "pytorch_icem")):
        if (mine, AT) in overheads and (other, AT) in overheads:
            ratio = np.median(overheads[mine, AT], axis=1) / np.median(overheads[other, AT], axis=1)
            text = f"overhead of {mine} over that of {other} at {AT} candidates, worst repeat"
            made.append(Claim.over(text, [float(r) for r in ratio], 1.0, "lower", max))
    return made


def quality_claims(found: list[Solver], above: dict[Key, np.ndarray], config: PlanningBench) -> list[Claim]:
    """Near the optimum of a linear-quadratic problem; iCEM with fewer candidates than CEM."""
    most = max(config.evaluations)
    made = [
        Claim.over(
            f"{name}: cost above the linear-quadratic optimum [%] after {most} evaluations, median of the seeds",
            [100 * float(x) for x in above[name, "linear-quadratic", most]],
            5.0,
            "lower",
        )
        for name in NEAR_OPTIMUM
    ]
    for iterations, ratios in icem_against_cem(found, config).items():
        text = "one plan, both tuned: cost of icem with 100 candidates over cem with 300"
        text += f", {iterations} iterations, median of the seeds"
        made.append(Claim.over(text, ratios, 1.0, "lower"))
    return made


def deadline_claims(rows: list[Row]) -> list[Claim]:
    """Late plans on an idle machine, and plans that could not be carried out on any."""
    kept = [row for row in rows if row["planner"] == "with deadline"]
    late = [100 * float(row["late_fraction"]) for row in kept if row["machine"] == IDLE]
    invalid = [float(row["plans_not_valid"]) for row in kept]
    return [
        Claim.over("late plans [%], idle machine, worst deadline", late, 0.1, "lower", max),
        Claim.over("control steps without a valid plan, worst deadline", invalid, 0.0, "lower", max),
    ]


def notes(versions: dict[str, str]) -> list[str]:
    """What a reader of the times has to know."""
    there = [f"{name} {version}" for name, version in versions.items() if version != "not installed"]
    absent = [name for name, version in versions.items() if version == "not installed"]
    lines = [
        "Overhead is the time of a plan that is not spent in the functions of the model and the cost. The others own "
        "the loop over the steps; for ours the loop that the benchmark adds counts too.",
        f"Other packages: {', '.join(there) if there else 'none installed'}. The noise of pytorch_icem cannot be "
        "seeded: its quality differs a little from run to run.",
    ]
    if absent:
        wanted = " ".join(PEERS[name] for name in absent)
        lines.append(f"Left out, as they are not installed: {', '.join(absent)} (pip install {wanted}).")
    return lines


QUALITY_NOTE = (
    "Quality: every planner has 100 candidates an iteration (icem on average, as it begins with more) and an initial "
    "deviation of 0.5. Where nothing else is said, its one setting is chosen from a small grid on five seeds that are "
    "not reported. For gradient an evaluation has a backward pass as well, which the others do not pay for."
)
