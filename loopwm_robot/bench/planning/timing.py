"""What planners cost beside the model, and whether they keep a deadline."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from planners import LearnedReward, SamplingConfig, Scorer, TrajectoryScorer, make_planner

from ...models.build import build_model
from ..common import Row
from .config import PlanningBench
from .problems import Function, Problem, nothing
from .solvers import Solver, seeded

N_OBS, NU, N_GOAL, CTRL_DT = 27, 7, 3, 0.05
"""Sizes of reaching with a Franka Panda."""
HORIZON, ITERATIONS = 6, 6
"""Of the plans whose overhead is measured."""
WARM_UP = 5  # plans before each measurement
COMPARED = ("cem", "icem", "mppi", "sep_cma_es", "gradient", "pytorch_mppi", "pytorch_icem")
"""Planners whose overhead is measured: those of a kind that two packages have, and two others."""
BUDGET = SamplingConfig(horizon=3, num_samples=512, num_elites=64, iterations=6)
"""TD-MPC2's."""
IDLE, BUSY = "idle", "another process at work"


class Inside:
    """Time spent inside some functions [s]."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time counted."""

        def wrapped(*args: Any) -> Any:
            begun = time.perf_counter()
            result = function(*args)
            self.seconds += time.perf_counter() - begun
            return result

        return wrapped

    def problem(self, problem: Problem) -> Problem:
        """The same problem, with the time in its functions counted."""
        dynamics: Function = self.timed(problem.dynamics)
        return replace(problem, dynamics=dynamics, cost=self.timed(problem.cost))


def overhead_times(solver: Solver, candidates: int, plans: int, seed: int) -> list[float]:
    """Seconds of each plan that were not spent in the model's or the cost's own functions."""
    inside = Inside()
    mode = nullcontext() if solver.name == "gradient" else torch.inference_mode()
    with seeded(seed), mode:
        problem = inside.problem(nothing(NU, HORIZON))
        plan = solver.make(problem, candidates, ITERATIONS, solver.grid[-1], seed)
        for _ in range(WARM_UP):
            plan()
        found = []
        for _ in range(plans):
            inside.seconds, begun = 0.0, time.perf_counter()
            plan()
            found.append(time.perf_counter() - begun - inside.seconds)
    return found


def overhead(solvers: list[Solver], config: PlanningBench) -> dict[tuple[str, int], Any]:
    """Overheads [s] by planner and candidates (repeats, plans); in each repeat the planners take turns."""
    compared = [solver for solver in solvers if solver.name in COMPARED]
    found: dict[tuple[str, int], Any] = {(s.name, n): [] for s in compared for n in config.candidates}
    for repeat in range(config.repeats):
        for n in config.candidates:
            for solver in compared:
                found[solver.name, n].append(overhead_times(solver, n, config.plans, config.seeds[0] + repeat))
    return {key: np.array(times) for key, times in found.items()}


def overhead_rows(found: dict[tuple[str, int], Any]) -> list[Row]:
    """A line for each planner and number of candidates."""
    return [
        {
            "table": f"overhead of one plan, {ITERATIONS} iterations of {HORIZON} steps and {NU} actions",
            "planner": name,
            "candidates": n,
            "overhead_s_median": float(np.median(times)),
            "overhead_s_p95": float(np.quantile(times, 0.95)),
            "spread_s": float(np.ptp(np.median(times, axis=1))),
        }
        for (name, n), times in sorted(found.items(), key=lambda item: (item[0][1], item[0][0]))
    ]


def learned_score(config: PlanningBench) -> TrajectoryScorer:
    """Scores by a fresh LoopWM of the benchmark's model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seeds[0])
        model = build_model(config.model, N_OBS, NU, N_GOAL, CTRL_DT).eval()
    with torch.inference_mode():
        state = model.encode(torch.zeros(1, N_OBS), torch.zeros(1, N_GOAL))
    return TrajectoryScorer(model, state, LearnedReward())


def share_rows(config: PlanningBench) -> tuple[list[Row], list[float]]:
    """Where the time of a plan with LoopWM goes at TD-MPC2's budget; the planner's share in each repeat."""
    inside, shares, times = Inside(), [], []
    score = inside.timed(learned_score(config))
    planner = make_planner("mppi", BUDGET, NU, CTRL_DT, torch.Generator().manual_seed(config.seeds[0]))
    plan = planner.plan(score)
    for _ in range(config.repeats):
        walls, models = [], []
        for _ in range(config.plans):
            inside.seconds, begun = 0.0, time.perf_counter()
            plan = planner.plan(score, plan.shift())
            walls.append(time.perf_counter() - begun)
            models.append(inside.seconds)
        shares.append(1 - sum(models) / sum(walls))
        times += walls
    row: Row = {
        "table": "planner's share of a plan with LoopWM, mppi, 512 candidates, 6 iterations of 3 steps, 64 elites",
        "plan_time_s_p50": float(np.median(times)),
        "plan_time_s_p95": float(np.quantile(times, 0.95)),
        "planner_fraction": float(np.median(shares)),
    }
    return [row], shares


def deadline_rows(config: PlanningBench, machine: str, deadline: float) -> list[Row]:
    """Plans with and without a deadline, on an idle machine or beside a process that computes."""
    score = learned_score(config)
    with busy_process() if machine == BUSY else nullcontext():
        fixed = _plans(score, config.fixed_plans, None, config.seeds[0])
        kept = _plans(score, config.deadline_plans, deadline, config.seeds[0])
    return [
        _deadline_row("with deadline", machine, deadline, *kept),
        _deadline_row("fixed iterations", machine, deadline, *fixed),
    ]


def _plans(score: Scorer, count: int, deadline: float | None, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Warm-started plans with the default settings: times [s], iterations, and how many plans were not valid."""
    config = SamplingConfig()
    planner = make_planner("cem", config, NU, CTRL_DT, torch.Generator().manual_seed(seed))
    times, iterations, invalid, warm = [], [], 0, None
    for _ in range(count):
        begun = time.perf_counter()
        plan = planner.plan(score, warm, deadline=deadline)
        times.append(time.perf_counter() - begun)
        iterations.append(plan.iterations)
        invalid += not bool((plan.actions.abs() <= 1).all())
        warm = plan.shift()
    return np.array(times[1:]), np.array(iterations[1:]), invalid  # the first plan knows nothing of its cost


def _deadline_row(
    planner: str, machine: str, deadline: float, times: np.ndarray, iterations: np.ndarray, invalid: int
) -> Row:
    return {
        "table": "deadlines, CEM with the default settings on LoopWM",
        "planner": planner,
        "machine": machine,
        "deadline_s": deadline,
        "plans": len(times),
        "late_fraction": float((times > deadline).mean()),
        "plan_time_s_p50": float(np.median(times)),
        "plan_time_s_p99": float(np.quantile(times, 0.99)),
        "plan_time_s_max": float(times.max()),
        "mean_iterations": float(iterations.mean()),
        "without_iteration_fraction": float((iterations == 0).mean()),
        "plans_not_valid": invalid,
    }


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process computes without a pause."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        sum(range(100_000))
