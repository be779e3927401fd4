"""One model for three arms and four tasks, beside one model for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
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
ONE, EACH = "one for all", "one for each"
SETTINGS = ("model.tokens=parts",)
"""Of all trainings."""
SHARE = 64
"""Sequences of each environment in a batch of the model that knows all."""
LOST = 3.0
"""Points."""
NOTE = (
    "One model for all: the same episodes of each environment, rounds and updates as one model for each, and "
    f"{SHARE} sequences of each environment in a batch; alone an environment has a whole batch of the usual size."
)


def training(config: ControlBench, env: str, seed: int, runners: Runners) -> tuple[Path, Record]:
    """The run folder of a finished training: of an environment, or of all where it is empty."""
    folder = Path(config.runs) / "together" / f"{env or 'all'}_seed_{seed}"
    arguments = arguments_of(config, env, seed, SETTINGS)
    if not env:
        arguments = [text for text in arguments if not text.startswith("env=")]
        arguments += [f"envs=[{','.join(config.together)}]", f"train.update.batch_size={SHARE * len(config.together)}"]
    return folder, trained(folder, arguments, math.inf, runners.ours)


def one_for_each(config: ControlBench, env: str, seed: int, runners: Runners) -> list[Row]:
    """A training of an environment alone, measured."""
    return _measured(config, EACH, [env], seed, *training(config, env, seed, runners))


def one_for_all(config: ControlBench, seed: int, runners: Runners) -> list[Row]:
    """A training of all environments, measured in each."""
    return _measured(config, ONE, config.together, seed, *training(config, "", seed, runners))


def together_claims(rows: Sequence[Row]) -> list[Claim]:
    """Points that sharing loses, over all environments that were measured with both."""
    lost = []
    for seed in sorted({int(row["seed"]) for row in rows}):
        found = {
            (str(row["model"]), str(row["environment"])): 100 * float(row["success"])
            for row in rows
            if row["seed"] == seed
        }
        names = [name for model, name in found if model == ONE]
        if names and all((EACH, name) in found for name in names):
            lost.append(mean(found[EACH, name] - found[ONE, name] for name in names))
    number = len({row["environment"] for row in rows if row["model"] == ONE})
    text = f"points of success that one model for {number} environments loses, mean over them"
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
