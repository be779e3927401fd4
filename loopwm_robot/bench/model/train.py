"""Train the models of the benchmark: each once, in processes of one thread; what is finished stays."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...checkpoint import CHECKPOINT_FILE, Checkpoint, Spaces, load_checkpoint, save_checkpoint
from ...data.buffer import ReplayBuffer
from ...errors import RequestError
from ...models.build import build_model
from ...models.cost import parameters, transition_flops
from ...models.dynamics import DynamicsModel
from ...models.loop_control import sample_depths
from ...models.loopwm import LoopWM
from ...runs import write_text
from ...schema import plain
from ...threads import torch_threads
from ...training.gate import GateConfig, fit_exit_gate
from ...training.trainer import TrainingError, WorldModelTrainer
from ..common import commit
from .datasets import Dataset, load_dataset
from .variants import Variant

RECORD = "record.json"
PEERS = ("latent_mlp", "rssm", "ensemble")
LAST = 50
"""Updates that the reported training loss is the mean of."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        dataset: name of the data set.
        folder: of the run: checkpoint and record.
        data: file of the data set.
        variant: model and updates.
        seed: of everything random.
        updates: number of gradient updates.
        gate_updates: further ones that train the exit gate.
    """

    dataset: str
    folder: Path
    data: Path
    variant: Variant
    seed: int
    updates: int
    gate_updates: int

    def settings(self, digest: str) -> dict[str, Any]:
        """What decides the result."""
        v = self.variant
        return {
            "data": digest,
            "model": _that_matter(plain(v.model)),
            "update": plain(v.update),
            "told": v.told,
            "noise_like": v.noise_like,
            "updates": self.updates,
            "gate_updates": self.gate_updates,
            "seed": self.seed,
        }


@lru_cache(maxsize=4)
def data_of(path: Path, told: bool) -> Dataset:
    """A data set, read once in each process."""
    dataset, _ = load_dataset(path)
    return dataset.told() if told else dataset


@lru_cache(maxsize=4)
def buffer_of(path: Path, told: bool) -> ReplayBuffer:
    """Its training episodes, laid out once in each process."""
    return data_of(path, told).buffer()


def finished(job: Job, digest: str) -> dict[str, Any] | None:
    """Record of an earlier training with the same settings; None where there is none.

    Raises:
        RequestError: the folder holds one with other settings.
    """
    path = job.folder / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        before = record["settings"]
    except (ValueError, KeyError) as error:
        raise RequestError(f"{path} is damaged ({error}); remove its folder") from error
    now = json.loads(json.dumps(job.settings(digest)))
    if differing := _differing(before, now):
        raise RequestError(
            f"{job.folder} was made with {differing[0]}; remove the folder, or choose another one with runs=FOLDER"
        )
    return record


def train(job: Job) -> dict[str, Any]:
    """Train a model and write its checkpoint and record. Runs in a process of its own.

    A training that diverges is a result as well: the record then holds `failed`, and there is no checkpoint.
    """
    dataset = data_of(job.data, job.variant.told)
    config = job.variant.model
    record: dict[str, Any] = {
        "settings": job.settings(data_of(job.data, False).digest()),
        "dataset": dataset.name,
        "variant": job.variant.name,
        "seed": job.seed,
        "latent_noise": config.latent_noise,
        "commit": commit(),
    }
    started = time.process_time()
    with torch_threads(1):
        try:
            if job.variant.noise_like:
                record["latent_noise"] = noise_of(job)
                config = replace(config, latent_noise=record["latent_noise"])
            torch.manual_seed(job.seed)
            model = build_model(config, *dataset.sizes, dataset.groups)
            record |= {"parameters": parameters(model), "transition_flops": transition_flops(model)}
            record["losses"], record["cpu_time_s"] = fit(model, job, dataset)
            if job.variant.model.kind == "loopwm" and isinstance(model, LoopWM):
                record["depth_noise"] = depth_noise(model, job)
        except TrainingError as error:
            record["failed"], record["cpu_time_s"] = str(error), time.process_time() - started
    job.folder.mkdir(parents=True, exist_ok=True)
    if "failed" not in record:
        spaces = Spaces(dataset.name, "", *dataset.sizes, dataset.position, groups=dataset.groups)
        info = {"updates": job.updates, "seed": job.seed}
        save_checkpoint(job.folder / CHECKPOINT_FILE, Checkpoint(model, config, spaces, info))
    write_text(job.folder / RECORD, json.dumps(record, indent=2, allow_nan=False))
    return record


def fit(model: DynamicsModel, job: Job, dataset: Dataset) -> tuple[dict[str, float], float]:
    """All updates, then the exit gate where the model has one.

    Returns:
        mean loss terms at the end, and the processor time of the updates alone [s].
    """
    buffer = buffer_of(job.data, job.variant.told)
    trainer = WorldModelTrainer(
        model,
        job.variant.update,
        job.updates,
        np.random.default_rng([job.seed, 1]),
        torch.Generator().manual_seed(job.seed),
        slice(*dataset.position),
    )
    trainer.fit_normalizers(buffer)
    started = time.process_time()
    rows = [trainer.update(buffer) for _ in range(job.updates)][-LAST:]
    spent = time.process_time() - started
    found = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "learning_rate"}
    if job.variant.model.kind == "loopwm" and job.variant.model.form != "step_consistent":
        rng = np.random.default_rng([job.seed, 2])
        assert isinstance(model, LoopWM)
        found |= fit_exit_gate(model, buffer, GateConfig(updates=job.gate_updates), trainer.obs_weights[0], rng)
    model.eval()
    return found, spent


@torch.inference_mode()
def depth_noise(model: LoopWM, job: Job, samples: int = 2048) -> float:
    """Mean deviation of a state at a depth drawn as in training from that at the mean depth (training transitions)."""
    rng = np.random.default_rng([job.seed, 3])
    batch = buffer_of(job.data, job.variant.told).sample(samples, 1, rng, context=model.context)
    c = model.core
    generator = torch.Generator().manual_seed(job.seed)
    state = model.encode(batch.obs[:, 0], history=batch.history)
    mean, _ = model.step(state, batch.action[:, 0])
    drawn = sample_depths(samples, c.mean_loops, c.max_loops, generator, c.depth)
    other, _ = model.step(state, batch.action[:, 0], depths=drawn)
    return float((other.h - mean.h).square().mean().sqrt())


def noise_of(job: Job) -> float:
    """`depth_noise` of the trained variant `noise_like` of the same seed.

    Raises:
        TrainingError: that variant diverged.
    """
    path = job.folder.parent.parent / job.variant.noise_like / job.folder.name / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "depth_noise" not in record:
        raise TrainingError(f"there is no {job.variant.noise_like} with seed {job.seed} to take the noise from")
    noise: float = record["depth_noise"]
    return noise


def load_model(folder: Path) -> DynamicsModel:
    """The trained model of a run folder."""
    return load_checkpoint(folder / CHECKPOINT_FILE).model


def _that_matter(model: dict[str, Any]) -> dict[str, Any]:
    """Settings of a model without those of other kinds."""
    kind = model["kind"]
    if kind in PEERS:
        return {"kind": kind, kind: model[kind]}
    return {name: value for name, value in model.items() if name not in PEERS}


def _differing(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """Settings that differ, as texts."""
    found = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} = {old}, allowed {new}")
    return found
