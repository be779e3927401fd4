"""Planners: overhead, quality at equal evaluations and deadlines, beside other packages; success by control rate."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...progress import progress
from ...threads import torch_threads
from ..common import Claim, Figure, Findings, Row
from .closed_loop import depth_claims, depth_rows, rate_claims, rate_rows
from .config import PlanningBench
from .plots import draw, draw_rates
from .quality import PROBLEMS, Key, excess, icem_against_cem, plan_costs, quality_rows
from .solvers import PEERS, Solver, available
from .timing import COMPARED, IDLE, deadline_rows, overhead, overhead_rows, share_rows

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
    "runs": "runs/bench_planning_quick",
}

AT = 512  # candidates of the claims on time
NEAR_OPTIMUM = ("cem", "icem", "mppi")


def run(config: PlanningBench) -> Findings:
    """Measure the parts that are asked for."""
    found, versions = available()
    compared = sum(solver.name in COMPARED for solver in found)
    steps = {
        "overhead": config.repeats * len(config.candidates) * compared,
        "share": config.repeats,
        "quality": len(PROBLEMS) * len(config.evaluations) * len(found),
        "deadline": len(config.deadlines) * (1 + config.busy),
        "rate": len(config.kinds) * len(config.rates) * len(config.train_seeds),
        "depth": len(config.train_seeds),
    }
    rows: list[Row] = []
    claims: list[Claim] = []
    overheads: dict[tuple[str, int], Any] = {}
    above: dict[Key, np.ndarray] = {}
    with torch_threads(config.threads), progress("planning", sum(steps[part] for part in config.parts)) as bar:
        if "overhead" in config.parts:
            overheads = overhead(found, config, bar.advance)
            rows += overhead_rows(overheads)
            claims += overhead_claims(overheads)
        if "share" in config.parts:
            lines, shares = share_rows(config, bar.advance)
            rows += lines
            text = "planner's share of a plan with LoopWM at 512 candidates, worst repeat"
            claims.append(Claim.over(text, shares, 0.1, "lower", max))
        if "quality" in config.parts:
            costs, settings = plan_costs(found, config, bar.advance)
            above = excess(costs, config)
            rows += quality_rows(found, above, settings)
            claims += quality_claims(found, above, config)
        if "deadline" in config.parts:
            lines = deadline_rows(config, bar.advance)
            rows += lines
            claims += deadline_claims(lines)
        at_rates: list[Row] = []
        if "rate" in config.parts:
            at_rates = rate_rows(config, bar.advance)
            rows += at_rates
            claims += rate_claims(at_rates)
        if "depth" in config.parts:
            lines = depth_rows(config, bar.advance)
            rows += lines
            claims += depth_claims(lines)
    figures = []
    if overheads or above:
        text = "Overhead by candidates: median. Excess cost by evaluations: median of the seeds; dotted: 5 %."
        figures.append(Figure("planners", text, partial(draw, overheads, above)))
    if at_rates:
        text = "Success at each control rate, mean and range of the seeds: with all the time, and within the period."
        figures.append(Figure("rates", text, partial(draw_rates, at_rates)))
    return Findings(list(config.seeds), rows, claims, notes(versions, found), {"packages": versions}, figures=figures)


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
        text = f"cost of icem with 100 candidates over cem with 300, {iterations} iterations, median of the seeds"
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


def notes(versions: dict[str, str], found: list[Solver]) -> list[str]:
    """What a reader of the numbers has to know."""
    there = [f"{name} {version}" for name, version in versions.items() if version != "not installed"]
    absent = [name for name, version in versions.items() if version == "not installed"]
    lines = [
        "Overhead is the time of a plan that is not spent in the functions of the model and the cost. The others own "
        "the loop over the steps; for ours the loop that the benchmark adds counts too.",
        "Quality: every planner has 100 candidates an iteration (icem on average, as it begins with more) and an "
        "initial deviation of 0.5. Its one setting is chosen from a small grid on five seeds that are not reported. "
        "For gradient an evaluation has a backward pass as well, which the others do not pay for.",
        f"Other packages: {', '.join(there) if there else 'none installed'}. The noise of pytorch_icem cannot be "
        "seeded: its quality differs a little from run to run.",
    ]
    if absent:
        wanted = " ".join(PEERS[name] for name in absent)
        lines.append(f"Left out, as they are not installed: {', '.join(absent)} (pip install {wanted}).")
    return lines
