"""Data-parallel updates: how much faster several processes of torchrun are than one, on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..common import BenchmarkError, Claim, Row
from ..subruns import attempt, read_json
from .config import ControlBench
from .race import Runners

TABLE = "data-parallel training: gradient updates a second"
BATCH = 1024
SETTINGS = ("env=panda_reach", "collect.episodes=20", "train.episodes_per_round=0", "train.tensorboard=false")
ROUNDS = ("train.rounds=3", "train.updates_per_round=100", f"train.update.batch_size={BATCH}", "train.gate.updates=0")
EFFICIENCY = 0.8


def timed(config: ControlBench, count: int, runners: Runners) -> list[Row]:
    """A training without episodes between its rounds, in so many processes with a thread each."""
    chosen = [f"experiment={config.experiment}", *SETTINGS] if config.experiment else [*SETTINGS, *ROUNDS]
    out = attempt(Path(config.runs) / "ddp" / f"{count}_processes", "summary.json")
    if not out.exists():
        arguments = ["train", *chosen, f"seed={config.seeds[0]}", "train.threads=1", f"out={out}"]
        runners.several(count, arguments)
    summary = read_json(out / "summary.json")
    if not summary:
        raise BenchmarkError(f"{out} has no summary.json; remove the folder to train again")
    rate = summary["train_updates"] / summary["train_time_s"]
    return [{"table": TABLE, "processes": count, "cores": cores(), "updates a second": rate}]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ddp_claims(rows: Sequence[Row]) -> list[Claim]:
    """Speed-up over what the cores allow."""
    rates = {int(row["processes"]): float(row["updates a second"]) for row in rows}
    shares = {n: rate / rates[1] / min(n, cores()) for n, rate in rates.items() if n > 1 and 1 in rates}
    return [
        Claim(f"updates a second of {n} processes over what {min(n, cores())} cores allow", share, EFFICIENCY, "higher")
        for n, share in shares.items()
    ]
