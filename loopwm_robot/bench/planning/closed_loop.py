"""Trained controllers in closed loop: success against control rate under a deadline, and what a staged search saves.

The arm reaches for goals at 5 to 100 Hz. At each rate a model is trained on episodes of that rate; then the same
planner controls with all the time it wants, and with the control period as its deadline. The simulation waits for the
planner, so a late plan does no harm here; it is counted instead.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

from ...build import make_env, planning_agent, spaces_of
from ...checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint, save_checkpoint
from ...closed_loop import EVALUATION_SEED, ClosedLoopResult, evaluate
from ...config import CollectConfig, EnvConfig, ModelConfig, PlannerConfig, TrainConfig
from ...models.loopwm import LoopWM
from ...training.online import TrainingRun
from ..common import Claim, Row
from .config import PlanningBench

EPISODE_S = 3.0
LOOK_AHEAD_S = 0.3
SPEED = 1.5
"""Of a joint at full action [rad/s]."""
SHARE = 0.8
"""Of the control period that a plan may take; the rest is for encoding the observation."""
RATE_OF_DEPTH = 20
TABLE = "closed loop: reaching at a control rate"
DEPTH_TABLE = "closed loop: depth where it pays, reaching at 20 Hz"


def arm_at(rate: float, **kwargs: Any) -> tuple[gym.Env[Any, Any], EnvConfig]:
    """Reaching with the Panda at a control rate [Hz]: the same speeds and the same time at each."""
    config = EnvConfig()
    steps = round(EPISODE_S * rate)
    env = make_env(config, ctrl_dt=1.0 / rate, action_scale=SPEED / rate, max_episode_steps=steps, **kwargs)
    return env, config


def planner_at(rate: float) -> PlannerConfig:
    """Default planner that looks as far ahead in time at every rate; a deadline may cut that down to two steps."""
    horizon = max(2, round(LOOK_AHEAD_S * rate))
    return PlannerConfig(horizon=horizon, min_horizon=2)


def trained(config: PlanningBench, kind: str, rate: float, seed: int) -> Checkpoint:
    """A model of a kind, trained at a control rate; what was finished before is used again, what was begun goes on."""
    folder = Path(config.runs) / f"{kind}_{rate:g}hz_seed{seed}"
    file = folder / CHECKPOINT_FILE
    if file.is_file():
        return load_checkpoint(file)
    env, env_config = arm_at(rate)
    collect, train = CollectConfig(episodes=config.train_episodes), replace(TrainConfig(), rounds=config.train_rounds)
    train = replace(train, updates_per_round=config.train_updates)
    model: ModelConfig = replace(config.model, kind=kind)
    run = TrainingRun(env, spaces_of(env, env_config), model, planner_at(rate), collect, train, seed, folder)
    run.restore()
    checkpoint = run.run()
    env.close()
    save_checkpoint(file, checkpoint)
    return checkpoint


def drive(checkpoint: Checkpoint, planner: PlannerConfig, rate: float, episodes: int, seed: int) -> dict[str, float]:
    """Held-out goals with one planner: success, precision and what the plans took."""
    env, _ = arm_at(rate)
    agent = planning_agent(checkpoint, planner, env, seed)
    iterations: list[int] = []
    scored: list[int] = []
    shallow: list[int] = []
    considered: list[int] = []
    inner = agent.plan

    def plan(state: Any, executed: int = 1, previous: Any = None) -> Any:
        made = inner(state, executed, previous)
        iterations.append(made.iterations)
        considered.append(made.considered)
        scored.append(made.scored)
        shallow.append(made.scored_shallow)
        return made

    agent.plan = plan  # type: ignore[method-assign]
    began = time.perf_counter()
    result: ClosedLoopResult = evaluate(env, agent, [EVALUATION_SEED + i for i in range(episodes)])
    wall = time.perf_counter() - began
    env.close()
    times = result.plan_time
    return {
        "success": float(result.success.mean()),
        "final_distance_m_p50": float(np.median(result.final_distance)),
        "plan_time_s_p50": float(np.median(times)),
        "plan_time_s_p99": float(np.quantile(times, 0.99)),
        "late_fraction": float((times > 1.0 / rate).mean()),
        "mean_iterations": float(np.mean(iterations)),
        "mean_horizon": float(np.mean(considered)),
        "mean_scored": float(np.mean(scored)),
        "mean_scored_shallow": float(np.mean(shallow)),
        "wall_time_s": wall,
    }


def rate_rows(config: PlanningBench, kind: str, rate: float, seed: int) -> list[Row]:
    """Success of a kind of model at a rate, with and without a deadline."""
    rows: list[Row] = []
    checkpoint = trained(config, kind, rate, seed)
    for deadline in (None, SHARE / rate):
        found = drive(checkpoint, replace(planner_at(rate), deadline=deadline), rate, config.episodes, seed)
        about: Row = {"table": TABLE, "model": kind, "control_rate_hz": rate, "seed": seed}
        rows.append({**about, "deadline_s": deadline if deadline else "none", **found})
    return rows


def depth_rows(config: PlanningBench, loops: int, seed: int) -> list[Row]:
    """The same goals with so many loops everywhere, and with one in the search and so many in the ranking."""
    rows: list[Row] = []
    checkpoint = trained(config, "loopwm", RATE_OF_DEPTH, seed)
    checkpoint = replace(checkpoint, model=cast(LoopWM, checkpoint.model).with_loops(loops))
    for depth in ("full", "staged"):
        planner = replace(PlannerConfig(), depth=depth)
        found = drive(checkpoint, planner, RATE_OF_DEPTH, config.depth_episodes, seed)
        about: Row = {"table": DEPTH_TABLE, "full_depth_loops": loops, "depth": depth, "seed": seed}
        # Applications of the block to a candidate in a step, over all candidates of a plan.
        work = found["mean_scored"] * loops + found["mean_scored_shallow"] * planner.shallow_loops
        rows.append({**about, "episodes": config.depth_episodes, **found, "block_applications": work})
    return rows


def rate_claims(rows: list[Row]) -> list[Claim]:
    """LoopWM under its deadline against the same with unlimited time, seed by seed."""
    made = []
    for rate, target in ((20, 0.98), (50, 0.9)):
        of_rate = [row for row in rows if row["model"] == "loopwm" and row["control_rate_hz"] == rate]
        free = {row["seed"]: float(row["success"]) for row in of_rate if row["deadline_s"] == "none"}
        kept = {row["seed"]: float(row["success"]) for row in of_rate if row["deadline_s"] != "none"}
        shares = [kept[seed] / free[seed] for seed in free if free[seed] > 0]
        if shares:
            text = f"success at {rate} Hz within the control period over that with unlimited time, worst seed"
            made.append(Claim.over(text, shares, target, "higher", min))
    return made


def depth_claims(rows: list[Row]) -> list[Claim]:
    """What the staged search saves of each full depth, and whether it costs success."""
    made = []
    for loops in sorted({int(row["full_depth_loops"]) for row in rows}):
        of_depth = [row for row in rows if row["full_depth_loops"] == loops]
        full = {row["seed"]: row for row in of_depth if row["depth"] == "full"}
        staged = {row["seed"]: row for row in of_depth if row["depth"] == "staged"}
        pairs = [(full[seed], staged[seed]) for seed in full]
        applied = [float(a["block_applications"]) / float(b["block_applications"]) for a, b in pairs]
        faster = [float(a["plan_time_s_p50"]) / float(b["plan_time_s_p50"]) for a, b in pairs]
        lost = [float(a["success"]) - float(b["success"]) - _standard_error(a) for a, b in pairs]
        text = f"{loops} loops everywhere over staged, median of the seeds"
        made += [
            Claim.over(f"block applications, {text}", applied, 3.0, "higher"),
            Claim.over(f"median time of a plan, {text}", faster, 2.0, "higher"),
            Claim.over(f"success lost to {loops} loops beyond one standard error, worst seed", lost, 0.0, "lower", max),
        ]
    return made


def _standard_error(row: Row) -> float:
    share, count = float(row["success"]), int(row["episodes"])
    return float(np.sqrt(share * (1 - share) / count))
