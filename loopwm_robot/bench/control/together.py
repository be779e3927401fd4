"""One model for three arms and four tasks, beside one model for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from statistics import mean

from ...build import make_env, spaces_of
from ...checkpoint import CHECKPOINT_FILE
from ...threads import torch_threads
from ..common import Claim, Row
from .config import ControlBench
from .ours import Record, agent_score, trained
from .race import Runners, arguments_of
from .settings import model_of

TABLE = "one model for several arms and tasks, and one for each: success"
ARMS, TASKS = ("panda", "ur5e", "xarm7"), ("reach", "reach_avoid", "track_path", "button_press")
ENVS = tuple(f"{arm}_{task}" for arm, task in product(ARMS, TASKS))
"""Options of configs/env."""
ONE, EACH = "one for all", "one for each"
SETTINGS = ("model.tokens=parts",)
"""Of all trainings."""
SHARE = 64
"""Sequences of each environment in a batch of the model that knows all."""
LOST = 3.0
"""Points."""
NOTE = (
    f"One model for all: {len(ARMS)} arms x {len(TASKS)} tasks, the same episodes, rounds and updates as one model for "
    f"each, and {SHARE} sequences of each environment in a batch; alone an environment has a batch to itself."
)


def training(config: ControlBench, env: str, seed: int, runners: Runners) -> tuple[Path, Record]:
    """The run folder of a finished training: of an environment, or of all where it is empty."""
    folder = Path(config.runs) / "together" / f"{env or 'all'}_seed_{seed}"
    arguments = arguments_of(config, env or ENVS[0], seed, SETTINGS)
    if not env:
        arguments = [text for text in arguments if not text.startswith("env=")]
        arguments += [f"envs=[{','.join(ENVS)}]", f"train.update.batch_size={SHARE * len(ENVS)}"]
    return folder, trained(folder, arguments, math.inf, runners.ours)


def one_for_each(config: ControlBench, env: str, seed: int, runners: Runners) -> list[Row]:
    """A training of an environment alone, measured."""
    return _measured(config, EACH, [env], seed, *training(config, env, seed, runners))


def one_for_all(config: ControlBench, seed: int, runners: Runners) -> list[Row]:
    """A training of all environments, measured in each."""
    return _measured(config, ONE, ENVS, seed, *training(config, "", seed, runners))


def together_claims(rows: Sequence[Row]) -> list[Claim]:
    """Points that sharing loses, over all environments that were measured with both."""
    lost = []
    for seed in sorted({int(row["seed"]) for row in rows}):
        found = {
            (str(row["model"]), str(row["environment"])): 100 * float(row["success"])
            for row in rows
            if row["seed"] == seed
        }
        both = [name for name in ENVS if (ONE, name) in found and (EACH, name) in found]
        if len(both) == len(ENVS):
            lost.append(mean(found[EACH, name] - found[ONE, name] for name in both))
    text = f"points of success that one model for {len(ENVS)} environments loses, mean over them"
    return [Claim.over(f"{text}, worst of {len(lost)} seed(s)", lost, LOST, "lower", max)] if lost else []


def _measured(
    config: ControlBench, model: str, names: Sequence[str], seed: int, folder: Path, record: Record
) -> list[Row]:
    checkpoint, settings = model_of(folder)
    rows: list[Row] = []
    for name, env in zip(names, settings.envs or (settings.env,), strict=True):
        with closing(make_env(env)) as made:
            seen = checkpoint.at(spaces_of(made, env), folder / CHECKPOINT_FILE)
        with torch_threads(config.threads):
            score = agent_score(seen, env, settings.planner, config.goals, seed)
        row: Row = {"table": TABLE, "environment": name, "model": model, "seed": seed, "success": score.success}
        row |= {"goals": score.episodes, "distance_m": score.distance_m, "time_s": record.time_s}
        rows.append({**row, "parameters": checkpoint.parameters})
    return rows
