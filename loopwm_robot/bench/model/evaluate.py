"""Everything that is measured on one trained model, kept beside its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...checkpoint import CHECKPOINT_FILE
from ...errors import RequestError
from ...models.build import make_exit_rule
from ...models.dynamics import DynamicsModel
from ...models.loop_control import FixedDepth
from ...models.loopwm import LoopWM
from ...models.untied import UntiedStack
from ...runs import write_text
from ...threads import torch_threads
from ...training.calibrate import calibrate_exits
from . import chunks
from .adaptive import BUDGET, REPEATS, candidates, exit_statistics, timed
from .config import HORIZONS
from .datasets import Dataset
from .long import long_rollouts
from .measures import by_horizon, open_loop, squared_error, starts_of
from .train import Job, data_of, load_model

MEASURES = "measures.json"
VERSION = 2
"""Raised when something is measured otherwise: earlier files are then made again."""
LONG = ("loopwm", "one_pass", "untied", "mlp", "rssm", "ensemble")
"""Variants that imagine long rollouts."""
CONTEXTS = (5, 20, 50)
CONTEXT_LOOPS = (1, 2, 4)


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        stride: between the starts of two predictions [control steps].
        starts: of the long rollouts.
        long_steps: of those; 0 leaves them out.
        horizon: steps of a training sequence, which deferred decoding predicts the end of.
    """

    stride: int
    starts: int
    long_steps: int
    horizon: int


def measure(job: Job, plan: Plan) -> dict[str, Any]:
    """Measure a trained model, or read what an earlier run measured in the same way. Runs in a process of its own.

    Raises:
        RequestError: it was measured in another way, and only its figures were kept.
    """
    path = job.folder / MEASURES
    about = {"version": VERSION, **vars(plan)}
    before = read_figures(path)
    without_long = {**before.get("about", {}), "long_steps": 0} == {**about, "long_steps": 0}
    needless = not plan.long_steps or job.variant.name not in LONG
    if before.get("about") == about or (without_long and needless):
        return before
    if not (job.folder / CHECKPOINT_FILE).is_file():
        raise RequestError(
            f"{job.folder} holds figures from the archive but no model to measure with {about}; give the settings they "
            "were measured with, or archive= to train again"
        )
    dataset, model = data_of(job.data, job.variant.told), load_model(job.folder)
    with torch_threads(1):
        if without_long:
            found = {**before, "about": about, "long": long(model, dataset, plan)}
        else:
            found = {"about": about, **measurements(job.variant.name, model, dataset, plan)}
    write_text(path, json.dumps(found, allow_nan=False))
    return found


def read_figures(path: Path) -> dict[str, Any]:
    """What an earlier run wrote beside a checkpoint; empty where that is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def long(model: DynamicsModel, dataset: Dataset, plan: Plan) -> dict[str, dict[str, Any]]:
    """Long rollouts along both kinds of actions."""
    splits = [split for split in ("long_explore", "long_uniform") if split in dataset.splits]
    return {s: long_rollouts(model, dataset, s, plan.starts, plan.long_steps) for s in splits}


def measurements(name: str, model: DynamicsModel, dataset: Dataset, plan: Plan) -> dict[str, Any]:
    """All that applies to a variant of this name."""
    tests = [split for split in ("test", "test_seen") if split in dataset.splits]
    found: dict[str, Any] = {"open_loop": {split: open_loop(model, dataset, split, plan.stride) for split in tests}}
    found["terminal"] = terminal(model, dataset, plan)
    if name in LONG and plan.long_steps:
        found["long"] = long(model, dataset, plan)
    if not isinstance(model, LoopWM) or isinstance(model, UntiedStack):
        return found
    if model.context:
        found["context"] = by_context(model, dataset, plan.stride)
    if model.mean_loops > 1:
        found["mean_loops"] = max(1, round(model.mean_loops))
        found["loops"] = by_loops(model, dataset, plan.stride)
        found["exits"] = by_exit(model, dataset, plan.stride)
    if name == "chunks":
        found |= chunks.measured(model, dataset, plan.stride, depths_of(model))
    return found


def by_loops(model: LoopWM, dataset: Dataset, stride: int) -> dict[str, dict[str, float]]:
    """Open-loop error read out at 1 to 4 times the mean depth: {loops: {"h1": ...}}."""
    starts = starts_of(dataset.splits["test"], max(HORIZONS), stride)
    return {str(t): by_horizon(squared_error(model, dataset, starts, FixedDepth(t))) for t in depths_of(model)}


def depths_of(model: LoopWM) -> list[int]:
    """Depths that are looked at: each up to the mean, then some up to 4 times the mean."""
    mean = max(1, round(model.mean_loops))
    return sorted({*range(1, mean + 1), *(round(mean * factor) for factor in (4 / 3, 2, 3, 4))})


def by_exit(model: LoopWM, dataset: Dataset, stride: int) -> dict[str, dict[str, float]]:
    """Each exit rule, calibrated to the error budget on episodes of its own."""
    found = {}
    for name, about in calibrate_exits(model, dataset.splits["calibrate"].episodes, BUDGET).items():
        rule = make_exit_rule(name, about["threshold"], model.max_loops, model)
        found[name] = {**exit_statistics(model, dataset, rule, stride), "threshold": about["threshold"]}
    return found


def by_context(model: LoopWM, dataset: Dataset, stride: int) -> dict[str, dict[str, dict[str, float]]]:
    """Open-loop error by transitions seen before and by loops: {seen: {loops: {"h1": ...}}}."""
    starts = starts_of(dataset.splits["test"], max(HORIZONS), stride)
    depths = CONTEXT_LOOPS if model.mean_loops > 1 else (1,)
    return {
        str(seen): {str(t): by_horizon(squared_error(model, dataset, starts, FixedDepth(t), seen)) for t in depths}
        for seen in CONTEXTS
    }


def terminal(model: DynamicsModel, dataset: Dataset, plan: Plan) -> dict[str, float]:
    """Error of the last state of a training horizon, which deferred decoding is trained on."""
    starts = starts_of(dataset.splits["test"], plan.horizon, plan.stride)
    error = float(squared_error(model, dataset, starts)[:, -1].mean().sqrt())
    return {"error": error}


def deferred_times(model: DynamicsModel, dataset: Dataset, horizon: int) -> dict[str, float]:
    """Median time [s] to imagine plans and decode every state, or the last alone."""
    state, actions = candidates(model, dataset.splits["test"], horizon)
    with torch.inference_mode():
        spent: dict[str, list[float]] = {"every": [], "last": []}
        for _ in range(REPEATS + 2):
            spent["every"].append(timed(lambda: model.rollout(state, actions).observations()))
            spent["last"].append(timed(lambda: model.rollout(state, actions).terminal().observations()))
    return {name: sorted(times[2:])[REPEATS // 2] for name, times in spent.items()}
