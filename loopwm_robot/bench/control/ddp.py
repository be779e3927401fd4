"""Data-parallel updates: how much faster several processes of torchrun are than one, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envs.batch_physics import usable_cores

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
    return [{"table": TABLE, "processes": count, "cores": usable_cores(), "updates a second": rate}]


def ddp_claims(rows: Sequence[Row]) -> list[Claim]:
    """Speed-up over what the cores allow."""
    return speed_up(rows, "processes", "updates a second")


def speed_up(rows: Sequence[Row], workers: str, rate: str) -> list[Claim]:
    """Rates of several workers over what the cores allow, from the columns of their number and of their rate."""
    rates = {int(row[workers]): float(row[rate]) for row in rows}
    return [
        Claim(
            f"{rate} of {n} {workers} over what {min(n, usable_cores())} cores allow",
            found / rates[1] / min(n, usable_cores()),
            EFFICIENCY,
            "higher",
        )
        for n, found in rates.items()
        if n > 1 and 1 in rates
    ]
