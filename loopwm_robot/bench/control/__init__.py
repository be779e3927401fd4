"""Trained controllers: time to success beside other code, Meta-World, our harder tasks, transfer to other arms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ...progress import progress
from ...schema import plain
from ..common import Claim, Figure, Findings, Row
from ..shelf import Measured, Shelf, origin_rows
from ..subruns import run_processes, run_watched
from . import collectors, ddp, metaworld, race, tasks, together, transfer
from .config import ControlBench
from .jobs import PARTS, Job
from .plots import draw_curves, draw_transfer
from .race import Runners

__all__ = ["QUICK", "SCHEMA", "ControlBench", "run"]

SCHEMA = ControlBench
QUICK: dict[str, Any] = {
    "seeds": [0],
    "experiment": "smoke_train",
    "limit_s": 20.0,
    "races": ["panda_reach", "fetch_reach"],
    "goals": 2,
    "first_s": 5.0,
    "spacing": 2.0,
    "arms": 2,
    "arm_goals": 1,
    "tuned_arms": 1,
    "minutes": 0.5,
    "tasks": ["panda_pick_and_place"],
    "together": ["panda_reach", "ur5e_reach"],
    "task_goals": 1,
    "simulator_goals": 1,
    "metaworld": ["reach"],
    "steps": [500],
    "updates": 0.1,
    "metaworld_goals": 1,
    "batches": [64],
    "collected": 1,
    "runs": "runs/bench_control_quick",
}

RACED = ("race", "tasks", "metaworld")
"""Parts that others take part in."""


def run(config: ControlBench, runners: Runners | None = None) -> Findings:
    """Measure the parts that are asked for; the page has all that were ever measured in this folder of runs.

    Args:
        config: settings.
        runners: start processes; None starts real ones.

    Raises:
        RequestError: a run folder holds something else.
        BenchmarkError: a run failed.
    """
    runners = runners or Runners(run_watched, race.run_peer, run_processes)
    shelf = Shelf(Path(config.runs).expanduser() / "parts", any_commit=True, archive=config.archive)
    peers, absent = race.available(config)
    jobs = [job for part in config.parts for job in PARTS[part](config, peers, runners)]
    with progress("bench control", len(jobs)) as bar:
        for job in jobs:
            settings = {key: plain(getattr(config, key)) for key in job.uses}
            shelf.measure(job.part, job.name, settings, partial(_measured, job))
            bar.advance()
    units = [unit for part in PARTS for unit in shelf.all(part)]
    rows = [row for unit in units for row in unit.rows]
    return Findings(
        list(config.seeds),
        [*summaries(rows), *rows, *origin_rows(units)],
        [] if config.experiment else claims(rows),
        [*notes(config, rows), *(absent if set(RACED) & set(config.parts) else [])],
        commit=", ".join(dict.fromkeys(unit.commit for unit in units)),
        figures=figures_of(rows),
    )


def of(rows: list[Row], table: str) -> list[Row]:
    """The rows of a table."""
    return [row for row in rows if row["table"] == table]


def summaries(rows: list[Row]) -> list[Row]:
    """The tables that stand first on the page."""
    lines = race.summary_rows(of(rows, race.TABLE)) + transfer.summary_rows(of(rows, transfer.ARMS))
    return lines + metaworld.summary_rows(of(rows, metaworld.RUNS))


def claims(rows: list[Row]) -> list[Claim]:
    """All that can be said from what was measured."""
    made = race.race_claims(of(rows, race.TABLE)) + metaworld.metaworld_claims(of(rows, metaworld.RUNS))
    made += tasks.task_claims(of(rows, tasks.TABLE)) + together.together_claims(of(rows, together.TABLE))
    made += transfer.transfer_claims(of(rows, transfer.ARMS), of(rows, transfer.TUNED))
    return made + ddp.ddp_claims(of(rows, ddp.TABLE)) + collectors.collector_claims(of(rows, collectors.TABLE))


def figures_of(rows: list[Row]) -> list[Figure]:
    """Pictures of what was measured."""
    found = []
    if points := of(rows, race.POINTS):
        text = "What each training could do over time (above) and steps (below), until it was measured at its target."
        found.append(Figure("race", text, partial(draw_curves, points)))
    if arms := of(rows, transfer.ARMS):
        text = "Success on each unseen arm (points) and on the nominal one (dashed), all seeds."
        found.append(Figure("transfer", text, partial(draw_transfer, arms)))
    return found


def notes(config: ControlBench, rows: list[Row]) -> list[str]:
    """What a reader has to know of the parts that are there."""
    tables = {str(row["table"]) for row in rows}
    told = race.notes(config) if race.TABLE in tables else []
    told += [transfer.note(config)] if transfer.ARMS in tables else []
    told += [tasks.NOTE] if tasks.TABLE in tables else []
    told += [together.NOTE] if together.TABLE in tables else []
    told += metaworld.notes(config, of(rows, metaworld.RUNS)) if metaworld.RUNS in tables else []
    told += [collectors.NOTE] if collectors.TABLE in tables else []
    if config.experiment:
        told.append(f"The claims are about the default, not about experiment={config.experiment}: none is made.")
    return told


def _measured(job: Job) -> Measured:
    return job.make(), [], []
