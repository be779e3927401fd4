"""Settings of the benchmark of the models."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...config import ModelConfig
from ...training.losses import LossWeights
from ...training.trainer import UpdateConfig
from .datasets import DataConfig

DATASETS = ("reach", "push", "finger", "hidden")
PARTS = ("main", "depth", "chunks", "context", "sweep", "deferred", "long", "time")
HORIZONS = (1, 5, 20, 50)
"""Steps ahead at which open-loop errors are reported."""
PEER_LEARNING_RATES = {"latent_mlp": 1e-3, "rssm": 3e-3, "ensemble": 3e-3}
"""The best of 3e-4, 1e-3 and 3e-3 in short trainings on push, by the error on its calibration episodes."""
WARM_UP = 50
"""Steps of each test episode that a model may have seen before its first prediction."""


@dataclass(frozen=True)
class ModelBench:
    """Settings.

    Attributes:
        seeds: of weights, batches and everything else that training draws.
        datasets: of reach, push, finger, hidden.
        parts: of main (all models), depth (forms, norms and depth distributions), chunks (transitions of several
            control steps), context (hidden dynamics), sweep (sizes), deferred (deferred decoding), long (1,000 steps),
            time (exits in wall time).
        updates: gradient updates of each training, at least 1.
        batch_size: sequences in a batch, at least 1.
        sequence_length: transitions in a sequence, at least 1.
        gate_updates: further updates that train the exit gate, at least 0.
        observe_prob: chance that an observation after the first is shown in training, in [0, 1].
        learning_rate: peak for LoopWM and its ablations, above 0.
        peer_learning_rates: peak for the other kinds of model, above 0.
        context: transitions of history on the data set hidden, 1 to 50.
        object_tokens: tokens of LoopWM and its ablations where there is an object: single, bodies or parts.
        widths: latent widths of the sweep over sizes.
        stride: control steps between the starts of two predictions, at least 1.
        starts: of the long rollouts, at least 1.
        long_steps: of those, at least 1; the long episodes of the data must have 50 more.
        jobs: trainings at the same time, each on one core, at least 1.
        runs: folder of data, checkpoints and records; what is finished in it is used again.
        archive: file with the figures of finished runs (archive.py), used and added to; empty keeps none.
        data: how much is recorded.
        model: LoopWM; the other models get its number of parameters or of operations.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    datasets: tuple[str, ...] = DATASETS
    parts: tuple[str, ...] = PARTS
    updates: int = 1500
    batch_size: int = 128
    sequence_length: int = 10
    gate_updates: int = 200
    observe_prob: float = 0.0
    learning_rate: float = 4e-3
    peer_learning_rates: dict[str, float] = field(default_factory=lambda: dict(PEER_LEARNING_RATES))
    context: int = 20
    object_tokens: str = "bodies"
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    stride: int = 5
    starts: int = 1000
    long_steps: int = 1000
    jobs: int = 2
    runs: str = "runs/bench_model"
    archive: str = "docs/benchmarks/model_runs.jsonl"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        for name, allowed in (("datasets", DATASETS), ("parts", PARTS)):
            chosen = getattr(self, name)
            unknown = sorted(set(chosen) - set(allowed))
            if unknown or not chosen or len(set(chosen)) < len(chosen):
                known = ", ".join(allowed)
                raise ValueError(f"{name} is {list(chosen)}, allowed one or more different ones of {known}")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        if not self.widths or min(self.widths) < 1 or len(set(self.widths)) < len(self.widths):
            raise ValueError(f"widths is {list(self.widths)}, allowed one or more different ones, each >= 1")
        for name in ("updates", "context", "stride", "starts", "long_steps", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= 1")
        if self.gate_updates < 0:
            raise ValueError(f"gate_updates is {self.gate_updates}, allowed >= 0")
        if self.context > WARM_UP:
            raise ValueError(f"context is {self.context}, allowed <= {WARM_UP}, the steps before the first prediction")
        rates = self.peer_learning_rates
        if set(rates) != set(PEER_LEARNING_RATES) or not all(rate > 0 for rate in rates.values()):
            known = ", ".join(PEER_LEARNING_RATES)
            raise ValueError(f"peer_learning_rates is {rates}, allowed a number above 0 for each of {known}")
        if self.model.kind != "loopwm":
            raise ValueError(f"model.kind is '{self.model.kind}', allowed loopwm; the others are compared with it")
        if self.data.steps < WARM_UP + max(HORIZONS):
            raise ValueError(f"data.steps is {self.data.steps}, allowed >= {WARM_UP + max(HORIZONS)}")
        self.update()  # checks the ranges of the rest

    def update(self) -> UpdateConfig:
        """Settings of a gradient update of LoopWM: every observed number counts the same."""
        return UpdateConfig(
            batch_size=self.batch_size,
            sequence_length=self.sequence_length,
            learning_rate=self.learning_rate,
            observe_prob=self.observe_prob,
            relabel_fraction=0.0,
            loss=LossWeights(position=1.0),
        )


QUICK = {
    "seeds": [0],
    "parts": ["main", "context", "long", "time"],
    "updates": 200,
    "batch_size": 64,
    "sequence_length": 5,
    "stride": 10,
    "starts": 100,
    "runs": "runs/bench_model_quick",
    "archive": "",
    "data": {"train": 60, "calibrate": 4, "test": 10, "long": 2},
}
