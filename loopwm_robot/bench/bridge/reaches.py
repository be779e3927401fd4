"""The demo's controller on each path: trained as `loopwm train` does, driven in real time as `loopwm deploy` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoint import CHECKPOINT_FILE
from ...deploy.record import RECORDING, Recording, load_recording
from ...errors import RequestError
from ...runs import write_text
from ..common import BenchmarkError, Row, commit
from ..subruns import RunFailed, Runner, attempt, read_json
from .delay import follow
from .paths import ArmPath, reachable

RECORD = "bench.json"


@dataclass(frozen=True, eq=False)
class Reaches:
    """A run of one path and seed.

    Attributes:
        path: the way to the arm.
        seed: of the training and of the run.
        goals: that were asked for.
        recording: what the run left behind.
        summary: its summary.json, empty where it ended in a fault.
        commit: that it ran on.
    """

    path: ArmPath
    seed: int
    goals: int
    recording: Recording
    summary: Mapping[str, Any]
    commit: str

    @property
    def success(self) -> float:
        """Share of the goals that were reached; one that a fault prevented was not."""
        return float(np.sum(self.recording.arrays["success"])) / self.goals

    @property
    def faults(self) -> list[str]:
        """What was latched."""
        return [event.text for event in self.recording.events if event.kind == "fault"]

    def row(self) -> Row:
        """One line of the table."""
        away = self.recording.arrays["final_distance"]
        row: Row = {"table": "reaches in real time", "path": self.path.name, "seed": self.seed}
        row |= {"success_rate": self.success, "goals": self.goals}
        if len(away):
            row |= {"final_distance_m_median": float(np.median(away)), "final_distance_m_max": float(away.max())}
        row["faults"] = len(self.faults)
        names = {
            "limit_violations": "limit_violations",
            "deadline_misses": "late_plans",
            "reseeds": "reseeds",
            "plan_time_s_p50": "plan_time_s_p50",
            "plan_time_s_p99": "plan_time_s_p99",
            "slowed_fraction": "slowed_fraction",
        }
        return row | {shown: self.summary[key] for key, shown in names.items() if key in self.summary}

    def tracking(self) -> Row:
        """How the measured joints follow the commands."""
        records = self.recording.records
        records = records[records["sent"]]
        row: Row = {"table": "tracking of the commands", "path": self.path.name, "seed": self.seed}
        seen = records["t"] - records["state_age"]
        with suppress(ValueError):  # an arm that hardly moved has no delay
            found = follow(records["t"], records["applied"], seen, records["q"])
            row |= {"delay_s": found.delay, "rms_rad": found.rms, "max_rad": found.greatest}
        row["state_age_s_p50"] = float(np.median(records["state_age"]))
        names = ("tick_lateness_s_p99", "tick_skipped", "mismatch_p50", "mismatch_max")
        return row | {key: self.summary[key] for key in names if key in self.summary}


def trained(path: ArmPath, seed: int, checkpoint: str, experiment: str, runs: Path, runner: Runner) -> Path:
    """The run folder with the controller of an arm; it is trained where there is none, an interrupted one goes on.

    Args:
        path: the way to the arm.
        seed: of the training.
        checkpoint: where it lies, with {env} and {seed}; empty trains one.
        experiment: of the training; empty is the default.
        runs: folder of the run folders.
        runner: runs a command line.

    Raises:
        RequestError: there is none where the checkpoint was said to be.
    """
    if checkpoint:
        folder = Path(checkpoint.format(env=path.env, seed=seed)).expanduser()
        if not (folder.is_file() or (folder / CHECKPOINT_FILE).is_file()):
            raise RequestError(f"checkpoint {folder} does not exist; train with: loopwm train env={path.env}")
        return folder
    folder = runs / f"{path.env}_seed_{seed}"
    if (folder / "summary.json").is_file():
        return folder
    if (folder / "config.yaml").is_file():
        runner(["train", f"resume={folder}"])
    else:
        chosen = [f"experiment={experiment}"] if experiment else []
        runner(["train", *chosen, f"env={path.env}", f"seed={seed}", f"out={folder}"])
    return folder


def deployed(
    path: ArmPath, seed: int, goals: int, checkpoint: Path, runs: Path, runner: Runner
) -> Reaches:
    """Drive the arm in real time, or take up a run that is finished. A fault is a result, too.

    Raises:
        BenchmarkError: the run left no recording.
    """
    out = attempt(runs / f"{path.name}_seed_{seed}_goals_{goals}", RECORD)
    if not out.exists():
        now = commit()
        with reachable(path) as (_, moved):
            command = ["deploy", f"arm={path.name}", f"env={path.env}", f"checkpoint={checkpoint}"]
            command += [f"deploy.goals={goals}", f"seed={seed}", f"out={out}"]
            if moved:
                values = ", ".join(f"{key}: '{value}'" for key, value in moved.items())
                command += ["deploy.allow_motion=true", f"arm.driver_kwargs={{{values}}}"]
            try:
                runner(command)
            except RunFailed as error:
                if error.status == 2 or not (out / RECORDING).is_file():
                    raise
        write_text(out / RECORD, json.dumps({"commit": now}))
    try:
        recording = load_recording(out)
    except ValueError as error:
        raise BenchmarkError(f"{path.name}, seed {seed}: {error}") from error
    return Reaches(path, seed, goals, recording, read_json(out / "summary.json"), read_json(out / RECORD)["commit"])
