"""Replay: time to draw a batch by the number of rows, in memory and in files, beside torchrl's buffers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from ..data.buffer import ReplayBuffer
from ..data.storage import IN_MEMORY, Place
from ..types import Episode
from .common import BenchmarkError, Claim, Findings, Row

N_OBS, NU, N_GOAL = 31, 7, 3
"""Those of PandaReach."""
STEPS = 50
"""Transitions of an episode."""


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of the benchmark.

    Attributes:
        rows: sizes of the buffers, each at least 1000.
        batch: sequences in a batch, at least 1.
        length: transitions of a sequence, 1 to 50.
        repeats: batches that are timed, in turn over all buffers of a size, at least 3.
        peers: also time torchrl, where it is installed.
    """

    rows: tuple[int, ...] = (20_000, 200_000, 2_000_000)
    batch: int = 256
    length: int = 4
    repeats: int = 200
    peers: bool = True

    def __post_init__(self) -> None:
        if not self.rows or min(self.rows) < 1000:
            raise ValueError(f"rows is {list(self.rows)}, allowed one or more >= 1000")
        for name, low, high in (("batch", 1, 1 << 20), ("length", 1, STEPS), ("repeats", 3, 1_000_000)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed [{low}, {high}]")


SCHEMA = ReplayConfig
QUICK = {"rows": [5_000, 50_000], "repeats": 20}


def run(config: ReplayConfig) -> Findings:
    """Time all buffers side by side."""
    peers = config.peers and all(importlib.util.find_spec(name) for name in ("torchrl", "tensordict"))
    rows: list[Row] = []
    spent: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in config.rows:
            draws = dict(_ours(size, config, Path(folder)))
            if peers:
                draws |= _torchrl(size, config, Path(folder))
            for name, seconds in _in_turn(draws, config.repeats).items():
                spent[name, size] = seconds
                rows.append({"table": "a batch", "buffer": name, "rows": size, "batch_time_s": seconds})
    for package in ("tensordict", "torchrl.data") if peers else ():
        rows.append({"table": "import, after torch", "package": package, "import_time_s": import_time(package)})
    small, large = min(config.rows), max(config.rows)
    claims = [
        Claim(f"{name}: time of a batch from {large} rows, of that from {small}", ratio, 3.0, "lower")
        for name in ("ours, memory", "ours, files")
        if (ratio := spent[name, large] / spent[name, small])
    ]
    notes = [
        f"A batch is {config.batch} sequences of {config.length} transitions ({N_OBS} + {NU} + {N_GOAL} numbers) from "
        f"episodes of {STEPS}; the buffers of a size are asked in turn, the median is shown. Files lie in the page "
        "cache where they fit. More rows are slower in every buffer once they exceed the caches of the processor."
    ]
    if not peers:
        notes.append("torchrl was not installed: pip install torchrl tensordict puts it beside.")
    return Findings([0], rows, claims, notes)


def import_time(package: str) -> float:
    """Seconds to import a package where torch is imported already, in a fresh process."""
    code = f"import torch, time; t = time.perf_counter(); import {package}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{package} cannot be imported ({done.stderr.strip().splitlines()[-1]})")
    return float(done.stdout.split()[-1])


def _in_turn(draws: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in draws}
    for i in range(repeats + 2):
        for name, draw in draws.items():
            started = time.perf_counter()
            draw()
            if i >= 2:
                times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def _ours(size: int, config: ReplayConfig, folder: Path) -> dict[str, Callable[[], Any]]:
    return {f"ours, {name}": _drawing(size, config, place) for name, place in _places(folder).items()}


def _places(folder: Path) -> dict[str, Place]:
    return {"memory": IN_MEMORY, "files": Place(0, folder)}


def _drawing(size: int, config: ReplayConfig, place: Place) -> Callable[[], Any]:
    buffer, rng = ReplayBuffer(size, N_OBS, NU, N_GOAL, place=place), np.random.default_rng(0)
    for i in range(size // (STEPS + 1)):
        buffer.add(_episode(rng, i))
    return lambda: buffer.sample(config.batch, config.length, rng)


def _episode(rng: np.random.Generator, seed: int) -> Episode:
    def numbers(*shape: int) -> np.ndarray:
        return rng.random(shape, np.float32)

    no = np.zeros(STEPS, np.bool_)
    obs, achieved, goal = numbers(STEPS + 1, N_OBS), numbers(STEPS + 1, N_GOAL), numbers(N_GOAL)
    return Episode(obs, achieved, goal, numbers(STEPS, NU), numbers(STEPS), no, no, 0.05, "replay", seed)


def _torchrl(size: int, config: ReplayConfig, folder: Path) -> dict[str, Callable[[], Any]]:
    """Slices of the same length from trajectories; one row more, as our sequences have one observation more."""
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, LazyTensorStorage, SliceSampler, TensorDictReplayBuffer

    draws = {}
    files = str(folder / str(size))
    storages = {"memory": LazyTensorStorage(size), "files": LazyMemmapStorage(size, scratch_dir=files)}
    for name, storage in storages.items():
        sampler = SliceSampler(slice_len=config.length + 1, traj_key="episode", cache_values=True)
        rows = config.batch * (config.length + 1)
        buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=rows)
        widths = {"obs": N_OBS, "action": NU, "achieved": N_GOAL, "goal": N_GOAL, "reward": 1, "terminated": 1}
        columns = {key: torch.rand(size, width) for key, width in widths.items()}
        buffer.extend(TensorDict({**columns, "episode": torch.arange(size) // (STEPS + 1)}, [size]))
        draws[f"torchrl, {name}"] = buffer.sample
    return draws
