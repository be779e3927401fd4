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
SETTINGS = ("env=panda_reach", "collect.episodes=20", "train.episodes_per_round=0", "train.tensorboard=false")
ROUNDS = ("train.rounds=3", "train.updates_per_round=100", "train.gate.updates=0")
EFFICIENCY = 0.8


def timed(config: ControlBench, count: int, batch: int, seed: int, runners: Runners) -> list[Row]:
    """A training without episodes between its rounds, in so many processes with a thread each."""
    chosen = [f"experiment={config.experiment}", *SETTINGS] if config.experiment else [*SETTINGS, *ROUNDS]
    out = attempt(Path(config.runs) / "ddp" / f"batch{batch}_{count}_processes_seed{seed}", "summary.json")
    if not out.exists():
        own = (f"train.update.batch_size={batch}", f"seed={seed}", "train.threads=1", f"out={out}")
        runners.several(count, ["train", *chosen, *own])
    summary = read_json(out / "summary.json")
    if not summary:
        raise BenchmarkError(f"{out} has no summary.json; remove the folder to train again")
    rate = summary["train_updates"] / summary["train_time_s"]
    about: Row = {"table": TABLE, "batch": batch, "seed": seed, "processes": count, "cores": usable_cores()}
    return [{**about, "updates a second": rate}]


def ddp_claims(rows: Sequence[Row]) -> list[Claim]:
    """Speed-up over what the cores allow, for each size of a batch."""
    made = []
    for batch in sorted({int(row["batch"]) for row in rows if "batch" in row}):
        of_batch = [row for row in rows if row.get("batch") == batch]
        made += speed_up(of_batch, "processes", "updates a second", f"batches of {batch} sequences: ")
    return made


def speed_up(rows: Sequence[Row], workers: str, rate: str, about: str = "") -> list[Claim]:
    """Rates of several workers over what the cores allow, from the columns of their number and of their rate.

    A row is compared with that of one worker of the same seed.
    """
    one = {row.get("seed"): float(row[rate]) for row in rows if row[workers] == 1}
    ratios: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        number, allowed = int(row[workers]), min(int(row[workers]), int(row["cores"]))
        if number > 1 and row.get("seed") in one:
            ratios.setdefault((number, allowed), []).append(float(row[rate]) / one[row.get("seed")] / allowed)
    return [
        Claim.over(f"{about}{rate} of {n} {workers} over what {cores} cores allow", found, EFFICIENCY, "higher")
        for (n, cores), found in ratios.items()
    ]
