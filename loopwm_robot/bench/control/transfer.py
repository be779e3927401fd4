"""From one arm to others: trained on the nominal arm or on randomised ones, tested on arms no training has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from envs.randomize import Dynamics, DynamicsRanges
from envs.ranges_file import write_ranges

from ...config import EnvConfig
from ...threads import torch_threads
from ..common import Claim, Row
from ..subruns import attempt
from .config import ControlBench
from .ours import agent_score, trained
from .race import Runners, arguments_of
from .settings import model_of

ENV, ID, CTRL_DT, EPISODE = "panda_reach", "LoopWM/PandaReach-v0", 0.05, 100
NOMINAL = Dynamics(payload=1.5, friction=6.0, damping=2.0, delay=2)
"""A Panda with a load, worn joints and a slow line, from the middle of `envs.randomize.TRAINING`: 30 % of nothing is
nothing, so the arm of the MJCF would not do."""
ARMS_SEED = 20_000
"""Of the arms of the test; the dynamics in training are drawn from the seeds of its episodes."""
CONTEXT = ("model.context=10",)
"""Transitions from which the model may tell how this arm differs; with and without randomisation."""
FIXED, RANDOM = "nominal arm", "randomised"
ARMS = "details: transfer, each arm"
TABLE = "transfer to unseen arms"
TUNED = "transfer: fine-tuned to an arm"
KEPT, CLOSED = 0.9, 0.5


def ranges(off: float) -> DynamicsRanges:
    """What the randomised training draws from: the nominal values and `off` about them, delays in whole steps."""
    low, high = 1.0 - off, 1.0 + off
    return DynamicsRanges(
        payload=(NOMINAL.payload * low, NOMINAL.payload * high),
        friction=(NOMINAL.friction * low, NOMINAL.friction * high),
        damping=(NOMINAL.damping * low, NOMINAL.damping * high),
        gain=(1.0, 1.0),
        delay=(round(NOMINAL.delay * low), round(NOMINAL.delay * high)),
    )


def unseen(off: float, count: int) -> list[Dynamics]:
    """The arms of the test: each parameter is off by up to `off`; a delay is the nearest whole number of steps."""
    rng = np.random.default_rng(ARMS_SEED)
    found = []
    for _ in range(count):
        payload, friction, damping, delay = (1.0 + float(some) for some in rng.uniform(-off, off, 4))
        found.append(
            Dynamics(
                payload=NOMINAL.payload * payload,
                friction=NOMINAL.friction * friction,
                damping=NOMINAL.damping * damping,
                delay=round(NOMINAL.delay * delay),
            )
        )
    return found


def arm_files(config: ControlBench) -> tuple[dict[str, Path], list[Path]]:
    """Files of ranges for the two trainings, and for each arm of the test."""
    folder = Path(config.runs) / "transfer" / f"arms_{config.off:g}"
    folder.mkdir(parents=True, exist_ok=True)
    of_training = {FIXED: folder / "nominal.yaml", RANDOM: folder / "randomised.yaml"}
    write_ranges(of_training[FIXED], DynamicsRanges.at(NOMINAL), "The nominal arm.")
    write_ranges(of_training[RANDOM], ranges(config.off), f"The nominal arm, off by up to {config.off:g}.")
    tests = []
    for i, arm in enumerate(unseen(config.off, config.arms)):
        tests.append(folder / f"arm_{i:02d}.yaml")
        write_ranges(tests[-1], DynamicsRanges.at(arm), "An arm of the test.")
    return of_training, tests


def training_folder(config: ControlBench, kind: str, seed: int) -> Path:
    """Of a training on the nominal arm or on randomised ones."""
    return Path(config.runs) / "transfer" / f"{kind.replace(' ', '_')}_seed_{seed}"


def prepared(config: ControlBench, kind: str, seed: int, runners: Runners) -> Path:
    """The run folder of a finished training."""
    folder, file = training_folder(config, kind, seed), arm_files(config)[0][kind]
    arguments = arguments_of(config, ENV, seed, ())
    trained(folder, [*arguments, *CONTEXT, f"env.randomize={file}"], math.inf, runners.ours)
    return folder


def tested(config: ControlBench, folder: Path, arm: Path, seed: int) -> Row:
    """Success of a controller on one arm."""
    checkpoint, settings = model_of(folder)
    env = EnvConfig(ID, "joint_delta", "dense", randomize=str(arm))
    with torch_threads(config.threads):
        score = agent_score(checkpoint, env, settings.planner, config.arm_goals, seed)
    return {"success": score.success, "distance_m": score.distance_m, "goals": score.episodes}


def transferred(config: ControlBench, kind: str, seed: int, runners: Runners) -> list[Row]:
    """A training, measured on the nominal arm and on each arm of the test."""
    folder = prepared(config, kind, seed, runners)
    of_training, tests = arm_files(config)
    rows: list[Row] = []
    for file, arm in ((of_training[FIXED], NOMINAL), *zip(tests, unseen(config.off, config.arms), strict=True)):
        about: Row = {"table": ARMS, "trained on": kind, "seed": seed, "arm": file.stem}
        about |= {"payload [kg]": arm.payload, "friction [N m]": arm.friction, "damping": arm.damping}
        rows.append({**about, "delay": arm.delay, **tested(config, folder, file, seed)})
    return rows


def tuned(config: ControlBench, seed: int, runners: Runners) -> list[Row]:
    """The randomised training, fine-tuned to each of some arms on minutes of data of it."""
    base, tests = prepared(config, RANDOM, seed, runners), arm_files(config)[1]
    rows: list[Row] = []
    for arm in tests[: config.tuned_arms]:
        folder = base.with_name(f"{base.name}_{arm.stem}")
        data = attempt(folder / f"data_{config.minutes:g}", "summary.json")
        if not data.exists():
            episodes = max(1, round(config.minutes * 60.0 / (CTRL_DT * EPISODE)))
            chosen = [f"env={ENV}", f"env.randomize={arm}", f"collect.episodes={episodes}", f"seed={seed + 1}"]
            runners.ours(["collect", *chosen, f"out={data}"], lambda: True)
        out = folder / f"tuned_{config.minutes:g}"
        own = [text for text in arguments_of(config, ENV, seed, ()) if not text.startswith("model")]  # that of the base
        arguments = [*own, "train=finetune", f"env.randomize={arm}", f"init={base}", f"data={data}", f"old_data={base}"]
        record = trained(out, arguments, math.inf, runners.ours)
        found = {"before": tested(config, base, arm, seed), "after": tested(config, out, arm, seed)}
        row: Row = {"table": TUNED, "seed": seed, "arm": arm.stem, "data [min]": config.minutes}
        row |= {"tuning_time_s": record.time_s}
        for key, (when, some) in product(("success", "distance_m"), found.items()):
            row[f"{key} {when}" if key == "success" else f"{when}_{key}"] = some[key]
        rows.append(row)
    return rows


def summary_rows(rows: Sequence[Row]) -> list[Row]:
    """For each training: success on its nominal arm and on the others."""
    made: list[Row] = []
    for kind, seed in dict.fromkeys((str(row["trained on"]), int(row["seed"])) for row in rows):
        nominal, others = split(rows, kind, seed)
        row: Row = {"table": TABLE, "trained on": kind, "seed": seed, "success on the nominal arm": nominal}
        row |= {"mean success on unseen arms": float(np.mean(others)), "worst arm": min(others), "arms": len(others)}
        made.append(row)
    return made


def split(rows: Sequence[Row], kind: str, seed: int) -> tuple[float, list[float]]:
    """Success of a training on the nominal arm, and on each other."""
    mine = [row for row in rows if (row["trained on"], row["seed"]) == (kind, seed)]
    nominal = [float(row["success"]) for row in mine if row["arm"] == "nominal"]
    return nominal[0], [float(row["success"]) for row in mine if row["arm"] != "nominal"]


def transfer_claims(arms: Sequence[Row], tunings: Sequence[Row]) -> list[Claim]:
    """What is kept on unseen arms, and what fine-tuning brings back where something was lost."""
    made = []
    kept = []
    for seed in sorted({int(row["seed"]) for row in arms if row["trained on"] == RANDOM}):
        nominal, others = split(arms, RANDOM, seed)
        if nominal > 0:
            kept.append(float(np.mean(others)) / nominal)
    if kept:
        text = f"success on unseen arms over that on the nominal one, trained randomised, worst of {len(kept)} seed(s)"
        made.append(Claim.over(text, kept, KEPT, "higher", min))
    closed = []
    tested_too = {int(row["seed"]) for row in arms if row["trained on"] == RANDOM}
    for seed in sorted({int(row["seed"]) for row in tunings} & tested_too):
        mine = [row for row in tunings if row["seed"] == seed]
        before = float(np.mean([float(row["success before"]) for row in mine]))
        after = float(np.mean([float(row["success after"]) for row in mine]))
        lost = split(arms, RANDOM, seed)[0] - before
        if lost > 0:
            closed.append((after - before) / lost)
    if closed:
        text = f"share of the lost success that fine-tuning brings back, median of {len(closed)} seed(s)"
        made.append(Claim.over(text, closed, CLOSED, "higher"))
    return made


def note(config: ControlBench) -> str:
    """How the arms differ."""
    return (
        f"Transfer: reaching with a Panda that carries {NOMINAL.payload:g} kg, has {NOMINAL.friction:g} N m of dry "
        f"friction, {NOMINAL.damping:g} times the damping and a delay of {NOMINAL.delay} control steps. Each of these "
        f"is off by up to {100 * config.off:g} % on the arms of the test, delays to the nearest whole step. Both "
        "trainings have the same settings and a context. Where nothing is lost on the unseen arms, no claim on "
        "fine-tuning is made."
    )
