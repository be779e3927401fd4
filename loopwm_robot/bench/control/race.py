"""The race: time and steps to a target, ours beside others, on the same machine, tasks, goals and threads."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ...errors import RequestError
from ...runs import write_text
from ...schema import plain
from ..common import BenchmarkError, Claim, Row, commit
from ..subruns import WatchedRunner, read_json
from .config import ControlBench
from .curve import Curve, Point
from .judge import CURVE, REQUEST, PeerRequest
from .ours import curve_of, trained
from .races import NAMES, OURS, RACES, SAC, TDMPC2, Race
from .tdmpc2 import NEEDS

TABLE = "race: each training"
POINTS = "details: learning curves of the race"
SUMMARY = "race: median time to the target"
FACTOR = 0.33

PeerRunner = Callable[[PeerRequest, Path], None]
"""Runs a training of somebody else to its end; the folder has its curve then."""


@dataclass(frozen=True)
class Runners:
    """What starts processes.

    Attributes:
        ours: runs `loopwm` and looks after it.
        peer: trains somebody else.
        several: runs `loopwm` in so many processes of torchrun.
    """

    ours: WatchedRunner
    peer: PeerRunner
    several: Callable[[int, Sequence[str]], None]


def run_peer(request: PeerRequest, folder: Path) -> None:
    """Train a peer in a process of its own.

    Raises:
        BenchmarkError: it failed.
    """
    values = {"request": plain(request), "commit": commit()}
    write_text(folder / REQUEST, json.dumps(values, indent=1))
    process = subprocess.run([sys.executable, "-m", "loopwm_robot.bench.control.peer", str(folder)], check=False)
    if process.returncode != 0:
        raise BenchmarkError(
            f"{NAMES[request.peer]} on {request.env.id} ended with status {process.returncode}, see its messages "
            "above; leave it out with peers=[...]"
        )


def available(config: ControlBench) -> tuple[list[str], list[str]]:
    """The peers that can be run, and why the others cannot."""
    found, notes = [], []
    for peer in config.peers:
        needs = ("stable_baselines3",) if peer == SAC else NEEDS
        absent = [name for name in needs if importlib.util.find_spec(name) is None]
        if peer == TDMPC2 and not config.tdmpc2:
            notes.append("TD-MPC2 was left out: give tdmpc2=PATH of a checkout of github.com/nicklashansen/tdmpc2.")
        elif absent:
            packages = " ".join(name.replace("_", "-") for name in absent)
            notes.append(f"{NAMES[peer]} was left out, as {packages} is not installed: pip install {packages}.")
        else:
            found.append(peer)
    return found, notes


def peer_request(config: ControlBench, race: Race, peer: str, seed: int) -> PeerRequest:
    """What a race asks of a peer."""
    return PeerRequest(
        peer, race.seen_by(peer, config.her_reward), race.goal, race.target, seed, config.threads, config.device,
        config.goals, config.first_s, config.spacing, config.limit_s, **settings_of(config, peer),
    )  # fmt: skip


def settings_of(config: ControlBench, peer: str) -> dict[str, Any]:
    """Settings that only TD-MPC2 has."""
    names = ("tdmpc2", "tdmpc2_size", "tdmpc2_compile") if peer == TDMPC2 else ()
    return {name: getattr(config, name) for name in names}


def peer_curve(request: PeerRequest, folder: Path, runner: PeerRunner) -> Curve:
    """The curve of a peer, from its folder where it is finished.

    Raises:
        RequestError: the folder holds another training.
    """
    before, curve = read_json(folder / REQUEST).get("request"), Curve.load(folder / CURVE)
    asked = json.loads(json.dumps(plain(request)))
    if curve.end and before != asked:
        differing = ", ".join(key for key in asked if before is None or before.get(key) != asked[key])
        raise RequestError(f"{folder} was made with another {differing}; choose another folder with runs=FOLDER")
    if not curve.end:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        runner(request, folder)
        curve = Curve.load(folder / CURVE)
    if not curve.end:
        raise BenchmarkError(f"{folder / CURVE} has no end; remove the folder to train again")
    return curve


def arguments_of(config: ControlBench, env: str, seed: int, settings: Sequence[str]) -> list[str]:
    """Of `loopwm train`; an experiment takes the place of the task's own settings."""
    chosen = [f"experiment={config.experiment}"] if config.experiment else list(settings)
    own = [f"train.threads={config.threads}", "train.tensorboard=false", f"device={config.device}"]
    return [*chosen, f"env={env}", f"seed={seed}", *own, *config.train]


def raced(config: ControlBench, name: str, who: str, seed: int, runners: Runners) -> list[Row]:
    """One training of the race: its result and its curve."""
    race, folder = RACES[name], Path(config.runs) / "race" / name / f"{who}_seed_{seed}"
    if who == OURS:
        arguments = arguments_of(config, name, seed, race.settings)
        record = trained(folder, arguments, config.limit_s, runners.ours)
        curve = curve_of(folder, record, config.goals, config.threads, race.target, on_point=_told(name))
    else:
        curve = peer_curve(peer_request(config, race, who, seed), folder, runners.peer)
    return rows_of(race, who, seed, curve, config.limit_s)


def rows_of(race: Race, who: str, seed: int, curve: Curve, limit_s: float) -> list[Row]:
    """A line with the result of a training, and one for each of its measurements."""
    first = curve.first(race.target)
    if first is not None and first.time_s > limit_s:  # of a training that was once given more time
        first = None
    end = first or (curve.points[-1] if curve.points else None)
    about: Row = {"task": race.name, "controller": name_of(who, race)}
    row: Row = {"table": TABLE, **about, "seed": seed, "target": str(race.target), "reached": first is not None}
    row |= {"time_s": first.time_s if first else curve.time_s, "steps": first.steps if first else curve.steps}
    if end is not None:
        row |= _measured(end)
    row |= {"ended": curve.end, "limit_s": limit_s}
    row |= {key: curve.about[key] for key in ("parameters", "package") if key in curve.about}
    points: list[Row] = [
        {"table": POINTS, **about, "seed": seed, "time_s": p.time_s, "steps": p.steps, **_measured(p)}
        for p in curve.points
    ]
    return [row, *points]


def name_of(who: str, race: Race) -> str:
    """How tables call a controller."""
    return f"{NAMES[who]} + HER" if who == SAC and race.goal else NAMES[who]


def _measured(point: Point) -> Row:
    row: Row = {"success": point.success, "return": point.mean_return, "episodes": point.episodes}
    return row | ({} if point.distance_m is None else {"distance_m": point.distance_m})


def _told(name: str) -> Callable[[Point], None]:
    def tell(point: Point) -> None:
        found = f"success {point.success:.2f}, return {point.mean_return:.4g}"
        print(f"loopwm on {name}: {point.time_s:.0f} s, {point.steps} steps, {found}", file=sys.stderr)

    return tell


def summary_rows(rows: Sequence[Row]) -> list[Row]:
    """A line for each task and controller, over its seeds."""
    made: list[Row] = []
    for task, controller in dict.fromkeys((str(row["task"]), str(row["controller"])) for row in rows):
        mine = [row for row in rows if (row["task"], row["controller"]) == (task, controller)]
        reached = [row for row in mine if row["reached"]]
        row: Row = {"table": SUMMARY, "task": task, "target": mine[0]["target"], "controller": controller}
        row |= {"seeds": len(mine), "reached": f"{len(reached)} of {len(mine)}"}
        if 2 * len(reached) > len(mine):
            row |= {"time_s": median(censored(one) for one in mine)}
            row |= {"steps": int(median(int(one["steps"]) for one in reached))}
        else:
            row |= {"time_s": f"not within {float(mine[0]['limit_s']):g} s"}
        made.append(row)
    return made


def censored(row: Row) -> float:
    """Time to the target [s]; one that was not reached counts as the limit."""
    return float(row["time_s"] if row["reached"] else row["limit_s"])


def race_claims(rows: Sequence[Row]) -> list[Claim]:
    """Ours against the best of the others, seed by seed; who does not get there has taken the limit.

    Where ours gets there and no other does, the ratio is an upper bound. Where ours does not, it is a lower one and at
    least 1. A task where nobody else ran, or that is a smoke test, makes no claim.
    """
    made = []
    for task in dict.fromkeys(str(row["task"]) for row in rows):
        race, here = RACES[task], [row for row in rows if row["task"] == task]
        others = list(dict.fromkeys(str(r["controller"]) for r in here if r["controller"] != NAMES[OURS]))
        ratios = []
        for seed in sorted({int(row["seed"]) for row in here}):
            times = {str(row["controller"]): censored(row) for row in here if row["seed"] == seed}
            if NAMES[OURS] in times and set(others) <= set(times) and others:
                ratios.append(times[NAMES[OURS]] / min(times[name] for name in others))
        if ratios and not race.smoke:
            text = f"{task}: time to {race.target} over the best of {', '.join(others)}"
            text += f", median of {len(ratios)} seed(s)"
            made.append(Claim.over(text, ratios, FACTOR, "lower"))
    return made


NOTES = (
    "Race: all train on the same threads and are measured on the same goals without noise; measurements take no time. "
    "Ours is `loopwm train`, whose time begins with its process, measured after each round on the checkpoint that it "
    "had then. The time of the others begins when our own code is imported; they are measured between two episodes, "
    "when their time has grown by the factor `spacing`. A measurement ends early when the target is out of reach. "
    "Steps are control steps and count all that was done in the environment, for ours also the episodes that only "
    "measure its errors.",
    "Who does not reach the target within `limit_s` counts as having needed that long, in medians and claims.",
)


def notes(config: ControlBench) -> list[str]:
    """How it was raced."""
    how = "compiled" if config.tdmpc2_compile else "eagerly"
    return [
        *NOTES,
        f"SAC + HER learns from the {config.her_reward} reward, the others from the dense one; reacher-hard has only "
        f"one. TD-MPC2 has its model of {config.tdmpc2_size} million parameters and runs {how}.",
    ]
