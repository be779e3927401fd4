"""PickAndPlace and PegInsert on our Panda: ours beside the planner on the true model, and TD-MPC2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ...build import make_env
from ...config import EnvConfig
from ...evaluation import simulator_agent
from ...models.simulator import SimulatorModel
from ...threads import torch_threads
from ..common import Claim, Row
from .config import ControlBench
from .judge import PeerRequest
from .ours import agent_score, trained
from .race import Runners, arguments_of, peer_curve, settings_of
from .races import NAMES, NEAR, OURS, TDMPC2, rounds
from .settings import model_of
from .target import PolicyActor, Target, measure

TABLE = "tasks: success on our Panda"
TRUE = "true model"
SUCCESS = 0.9
ENVS = {
    "panda_pick_and_place": EnvConfig("LoopWM/PandaPickAndPlace-v0", "cartesian_delta", "dense"),
    "panda_peg_insert": EnvConfig("LoopWM/PandaPegInsert-v0", "cartesian_delta", "dense"),
}
SETTINGS = ("model.tokens=bodies", *NEAR, *rounds(40, 300, 10, 300))
"""Of our trainings."""
NOTE = (
    "Tasks: the planner is the same on the learned and on the true model, but for the value, which only the former "
    "has. TD-MPC2 trains until it is at its target or its `limit_s` is over."
)


def folder_of(config: ControlBench, task: str, who: str, seed: int) -> Path:
    """Of a training."""
    return Path(config.runs) / "tasks" / task / f"{who}_seed_{seed}"


def mine(config: ControlBench, task: str, seed: int, runners: Runners) -> list[Row]:
    """Our training of a task, measured."""
    folder = folder_of(config, task, OURS, seed)
    record = trained(folder, arguments_of(config, task, seed, SETTINGS), math.inf, runners.ours)
    checkpoint, settings = model_of(folder)
    with torch_threads(config.threads):
        score = agent_score(checkpoint, settings.env, settings.planner, config.task_goals, seed)
    row = _row(task, NAMES[OURS], seed, score.success, score.episodes)
    row |= {"distance_m": score.distance_m, "time_s": record.time_s, "steps": int(checkpoint.info["transitions"])}
    return [{**row, "parameters": checkpoint.parameters}]


def true_model(config: ControlBench, task: str, runners: Runners) -> list[Row]:
    """The same planner, with the simulator in the place of what was learned."""
    seed = config.seeds[0]
    folder = folder_of(config, task, OURS, seed)
    trained(folder, arguments_of(config, task, seed, SETTINGS), math.inf, runners.ours)
    checkpoint, settings = model_of(folder)
    with closing(make_env(settings.env)) as env, torch_threads(config.threads):
        planner = replace(settings.planner, terminal_value=0.0, discount=1.0)  # nothing is learned here
        agent = simulator_agent(checkpoint, planner, env, seed)
        score = measure(env, PolicyActor(agent), config.simulator_goals)
        if isinstance(agent.model, SimulatorModel):
            agent.model.close()
    row = _row(task, TRUE, seed, score.success, score.episodes)
    return [{**row, "distance_m": score.distance_m}]


def theirs(config: ControlBench, task: str, seed: int, runners: Runners) -> list[Row]:
    """TD-MPC2 with as much time as there is."""
    request = PeerRequest(
        TDMPC2, ENVS[task], True, Target(), seed, config.threads, config.device, config.task_goals, config.first_s,
        config.spacing, config.limit_s, **settings_of(config, TDMPC2),
    )  # fmt: skip
    curve = peer_curve(request, folder_of(config, task, TDMPC2, seed), runners.peer)
    last = curve.points[-1]
    row = _row(task, NAMES[TDMPC2], seed, last.success, last.episodes)
    return [{**row, "time_s": curve.time_s, "steps": curve.steps}]


def task_claims(rows: Sequence[Row]) -> list[Claim]:
    """Ours has to solve each task; the worst seed counts."""
    made = []
    for task in dict.fromkeys(str(row["task"]) for row in rows):
        found = [float(r["success"]) for r in rows if (r["task"], r["controller"]) == (task, NAMES[OURS])]
        if found:
            made.append(Claim.over(f"{task}: success, worst of {len(found)} seed(s)", found, SUCCESS, "higher", min))
    return made


def _row(task: str, controller: str, seed: int, success: float, goals: int) -> Row:
    return {"table": TABLE, "task": task, "controller": controller, "seed": seed, "success": success, "goals": goals}
