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
BATCHES = (1024, 2048)
"""Sequences in a batch, of which each process takes its part."""
SETTINGS = ("env=panda_reach", "collect.episodes=20", "train.episodes_per_round=0", "train.tensorboard=false")
ROUNDS = ("train.rounds=3", "train.updates_per_round=100", "train.gate.updates=0")
EFFICIENCY = 0.8


def timed(config: ControlBench, count: int, batch: int, seed: int, runners: Runners) -> list[Row]:
    """A training without episodes between its rounds, in so many processes with a thread each."""
    own = [*SETTINGS, *ROUNDS, f"train.update.batch_size={batch}"]
    chosen = [f"experiment={config.experiment}", *SETTINGS] if config.experiment else own
    out = attempt(Path(config.runs) / "ddp" / f"batch{batch}_{count}_processes_seed{seed}", "summary.json")
    if not out.exists():
        runners.several(count, ["train", *chosen, f"seed={seed}", "train.threads=1", f"out={out}"])
    summary = read_json(out / "summary.json")
    if not summary:
        raise BenchmarkError(f"{out} has no summary.json; remove the folder to train again")
    rate = summary["train_updates"] / summary["train_time_s"]
    about: Row = {"table": TABLE, "batch": batch, "seed": seed, "processes": count, "cores": usable_cores()}
    return [{**about, "updates a second": rate}]


def ddp_claims(rows: Sequence[Row]) -> list[Claim]:
    """Speed-up over what the cores allow, for each size of a batch."""
    made = []
    for batch in sorted({int(row["batch"]) for row in rows}):
        of_batch = [row for row in rows if row["batch"] == batch]
        made += speed_up(of_batch, "processes", "updates a second", f"batches of {batch} sequences: ")
    return made


def speed_up(rows: Sequence[Row], workers: str, rate: str, about: str = "") -> list[Claim]:
    """Rates of several workers over what the cores allow, from the columns of their number and of their rate.

    Rows of the same number are repeats, in the same order for each.
    """
    rates: dict[int, list[float]] = {}
    for row in rows:
        rates.setdefault(int(row[workers]), []).append(float(row[rate]))
    return [
        Claim.over(
            f"{about}{rate} of {n} {workers} over what {min(n, usable_cores())} cores allow",
            [many / one / min(n, usable_cores()) for one, many in zip(rates[1], found, strict=True)],
            EFFICIENCY,
            "higher",
        )
        for n, found in rates.items()
        if n > 1 and 1 in rates
    ]
