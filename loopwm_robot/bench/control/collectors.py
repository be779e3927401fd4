"""Collectors on Ray: how many more episodes several of them plan in a time than one, on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from envs.batch_physics import usable_cores

from ...build import make_env, spaces_of
from ...config import CollectConfig, EnvConfig, ModelConfig, PlannerConfig, TrainConfig
from ...training.arena import make_models
from ...training.crew import Collector, Crew, OneCollector, Recipe, errands
from ...training.ray_crew import crew_of
from ..common import Claim, Row
from .config import ControlBench
from .ddp import speed_up

TABLE = "collectors: planner-made episodes a second, PandaReach"
NOTE = (
    "Collectors: the default planner with fresh weights, which take the time of trained ones, one torch thread each; "
    "the learner waits. 0 collectors: in the learner's process, without Ray. Starting them and a first episode of each "
    "are not in the time."
)
WARM_UP_SEED = 500


def timed(config: ControlBench, count: int) -> list[Row]:
    """Episodes by so many collectors, as many for each; 0: in this process."""
    recipe = Recipe(
        (EnvConfig(),), ModelConfig(), PlannerConfig(), CollectConfig(), TrainConfig(collectors=count, chain=1)
    )
    with crew_of(recipe) as found:
        crew: Crew = found or OneCollector(Collector(recipe))
        env = make_env(EnvConfig())
        views, _ = make_models(recipe.model, [spaces_of(env, EnvConfig())], torch.device("cpu"))
        weights = {name: tensor.numpy() for name, tensor in views[0].state_dict().items()}
        many, first = max(count, 1), range(WARM_UP_SEED, WARM_UP_SEED + max(count, 1))
        list(crew.collect(weights, errands(1, first, 1, 0)))
        began = time.perf_counter()
        done = list(crew.collect(weights, errands(1, range(many * config.collected), 1, 1)))
        rate = len(done) / (time.perf_counter() - began)
    about: Row = {"table": TABLE, "collectors": count, "cores": usable_cores()}
    return [{**about, "episodes": len(done), "episodes a second": rate}]


def collector_claims(rows: Sequence[Row]) -> list[Claim]:
    """Speed-up over what the cores allow."""
    return speed_up(rows, "collectors", "episodes a second")
