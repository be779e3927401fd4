"""How good plans are after the same number of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from planners import SamplingConfig, make_planner

from ..common import Claim, Row
from .config import PlanningBench
from .problems import Problem, lqr, obstacles
from .solvers import STD, Solver, first_iteration, seeded

PROBLEMS: tuple[Callable[[int], Problem], ...] = (lqr, obstacles)
SAMPLES = 100  # candidates in an iteration
TUNING = (101, 102, 103, 104, 105)
"""Seeds on which each planner's one setting is chosen; others than those that are reported."""
STEPS = 12
"""Of a way in closed loop, at least."""
ITERATIONS = (3, 10)
"""Of the plans in closed loop."""
NEAR_OPTIMUM = ("cem", "icem", "mppi")
Key = tuple[str, str, int]
"""Planner, problem, evaluations."""


def plan_cost(solver: Solver, problem: Problem, samples: int, evaluations: int, value: float, seed: int) -> float:
    """Cost of the plan that a planner finds."""
    with seeded(seed):
        actions = solver.make(problem, samples, max(1, evaluations // samples), value, seed)()
    return -float(problem.score(actions[None]))


def tuned(solver: Solver, make: Callable[[int], Problem], samples: int, evaluations: int) -> float:
    """The value of the setting that gives the lowest mean cost on the tuning seeds."""
    if len(solver.grid) == 1:
        return solver.grid[0]
    problems = [(seed, make(seed)) for seed in TUNING]
    costs = {
        value: np.mean([plan_cost(solver, p, samples, evaluations, value, seed) for seed, p in problems])
        for value in solver.grid
    }
    return min(costs, key=lambda value: (costs[value], value))


def plan_costs(solvers: Sequence[Solver], config: PlanningBench) -> tuple[dict[Key, np.ndarray], dict[Key, float]]:
    """Costs of each seed's plan, and the settings that were chosen."""
    costs: dict[Key, np.ndarray] = {}
    settings: dict[Key, float] = {}
    for make in PROBLEMS:
        problems = [make(seed) for seed in config.seeds]
        for evaluations in config.evaluations:
            for solver in solvers:
                key = (solver.name, problems[0].name, evaluations)
                settings[key] = tuned(solver, make, SAMPLES, evaluations)
                found = [
                    plan_cost(solver, problem, SAMPLES, evaluations, settings[key], seed)
                    for seed, problem in zip(config.seeds, problems, strict=True)
                ]
                costs[key] = np.array(found)
    return costs, settings


def excess(costs: dict[Key, np.ndarray], config: PlanningBench) -> dict[Key, np.ndarray]:
    """How much dearer each plan is than the optimum, or than the best plan of all for its seed, where none is known."""
    found = {}
    for make in PROBLEMS:
        problems = [make(seed) for seed in config.seeds]
        name = problems[0].name
        keys = [key for key in costs if key[1] == name]
        best = np.min([costs[key] for key in keys], axis=0)
        least = np.array([p.optimum if p.optimum is not None else b for p, b in zip(problems, best, strict=True)])
        found.update({key: costs[key] / least - 1 for key in keys})
    return found


def quality_rows(solvers: Sequence[Solver], above: dict[Key, np.ndarray], settings: dict[Key, float]) -> list[Row]:
    """A line for each problem, budget and planner, the best first."""
    names = {solver.name: solver.setting for solver in solvers}
    against = {"linear-quadratic": "the optimum", "obstacle field": "the best plan of all for each seed"}
    ordered = sorted(above, key=lambda key: (key[1], key[2], float(np.median(above[key]))))
    return [
        {
            "table": f"{problem}: cost above {against[problem]}",
            "evaluations": evaluations,
            "planner": name,
            "median": float(np.median(above[name, problem, evaluations])),
            "least": float(above[name, problem, evaluations].min()),
            "largest": float(above[name, problem, evaluations].max()),
            "setting": f"{names[name]} {settings[name, problem, evaluations]:g}",
        }
        for name, problem, evaluations in ordered
    ]


def icem_against_cem(solvers: Sequence[Solver], config: PlanningBench) -> dict[int, list[float]]:
    """Cost of iCEM with 100 candidates an iteration over that of CEM with 300, by iterations; both tuned."""
    by_name = {solver.name: solver for solver in solvers}
    found: dict[int, list[float]] = {}
    for iterations in sorted({max(1, evaluations // SAMPLES) for evaluations in config.evaluations}):
        costs = []
        for name, samples in (("icem", 100), ("cem", 300)):
            value = tuned(by_name[name], lqr, samples, samples * iterations)
            costs.append(
                [plan_cost(by_name[name], lqr(s), samples, samples * iterations, value, s) for s in config.seeds]
            )
        found[iterations] = [a / b for a, b in zip(*costs, strict=True)]
    return found


def receding(problem: Problem, algorithm: str, samples: int, iterations: int, seed: int) -> float:
    """Cost of a way that is planned anew at every step, with the default settings, from the last plan."""
    elites = samples // 8
    first = first_iteration(samples, iterations, elites) if algorithm == "icem" else samples
    config = SamplingConfig(
        horizon=problem.horizon, num_samples=first, num_elites=elites, keep_elites=elites // 3, iterations=iterations,
        init_std=STD,
    )  # fmt: skip
    planner = make_planner(algorithm, config, problem.nu, problem.dt, torch.Generator().manual_seed(seed))
    x, total, plan = problem.x0, 0.0, None
    for _ in range(max(STEPS, problem.horizon)):
        plan = planner.plan(replace(problem, x0=x).score, None if plan is None else plan.shift())
        u = plan.actions[:1]
        after = problem.dynamics(x[None], u)
        total += float(problem.cost(after, u))
        x = after[0]
    return total


def receding_rows(config: PlanningBench) -> tuple[list[Row], list[Claim]]:
    """iCEM with 100 candidates beside CEM with 300, in closed loop, where iCEM's memory counts."""
    rows: list[Row] = []
    claims = []
    for make in PROBLEMS:
        for iterations in ITERATIONS:
            problems = [(seed, make(seed)) for seed in config.seeds]
            few = np.array([receding(problem, "icem", 100, iterations, seed) for seed, problem in problems])
            many = np.array([receding(problem, "cem", 300, iterations, seed) for seed, problem in problems])
            ratios = few / many
            name = problems[0][1].name
            about: Row = {
                "table": "receding horizon, default settings: cost of icem with 100 candidates over cem with 300"
            }
            about |= {"problem": name, "iterations": iterations, "median": float(np.median(ratios))}
            rows.append(about | {"least": float(ratios.min()), "largest": float(ratios.max())})
            text = (
                f"{name}, receding horizon: cost of icem with 100 candidates over cem with 300, {iterations} iterations"
            )
            claims.append(Claim.over(f"{text}, median of the seeds", [float(r) for r in ratios], 1.0, "lower"))
    return rows, claims


def default_claims(solvers: Sequence[Solver], config: PlanningBench) -> list[Claim]:
    """Near the optimum of the linear-quadratic problem with the default noise, after ten iterations."""
    made = []
    for solver in solvers:
        if solver.name not in NEAR_OPTIMUM:
            continue
        value = float(getattr(SamplingConfig(), solver.setting))
        problems = [(seed, lqr(seed)) for seed in config.seeds]
        costs = [plan_cost(solver, problem, SAMPLES, 1000, value, seed) for seed, problem in problems]
        above = [100 * (cost / float(p.optimum or 1) - 1) for cost, (_, p) in zip(costs, problems, strict=True)]
        text = f"{solver.name}, default noise: cost above the linear-quadratic optimum [%] after 1000 evaluations"
        made.append(Claim.over(f"{text}, median of the seeds", above, 5.0, "lower"))
    return made
