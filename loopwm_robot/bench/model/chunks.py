"""Transitions of several control steps: what loops are worth where one transition holds many actions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...models.build import make_exit_rule
from ...models.loop_control import FixedDepth
from ...models.loopwm import LoopWM
from ...training.calibrate import calibrate_exits
from ...training.metrics import using
from .adaptive import BUDGET, REPEATS, candidates, exit_statistics, timed
from .datasets import Dataset
from .measures import by_horizon, squared_error, starts_of

CHUNKS = (1, 2, 4, 8)
"""Control steps of a transition."""
LONGEST = max(CHUNKS)
AHEAD = (8, 24, 48)
"""Control steps ahead at which errors are taken: all chunks end there."""
PLANNED = 16
"""Control steps that are imagined for the times."""

Errors = Mapping[str, Mapping[str, float]]
"""{loops: {"h8": ...}} of one length of a transition."""


def by_chunk(model: LoopWM, dataset: Dataset, stride: int, depths: Sequence[int]) -> dict[str, Errors]:
    """Open-loop error by control steps of a transition and by loops: {chunk: {loops: {"h8": ...}}}."""
    starts = starts_of(dataset.splits["test"], max(AHEAD), stride)
    found: dict[str, Errors] = {}
    for m in CHUNKS:
        errors = {t: squared_error(model, dataset, starts, FixedDepth(t), chunk=m) for t in depths}
        found[str(m)] = {str(t): by_horizon(error, AHEAD, m) for t, error in errors.items()}
    return found


def chunk_exit(model: LoopWM, dataset: Dataset, stride: int) -> dict[str, float]:
    """What the exit `doubling` does with the longest transitions, calibrated for them on episodes of its own."""
    episodes = dataset.splits["calibrate"].episodes
    about = calibrate_exits(model, episodes, BUDGET, horizons=(1, 3), chunk=LONGEST)["doubling"]
    rule = make_exit_rule("doubling", about["threshold"], model.max_loops, model)
    return {**exit_statistics(model, dataset, rule, stride, LONGEST), "threshold": about["threshold"]}


def fewest_loops(errors: Errors) -> int:
    """The fewest loops whose error, over all horizons, is within the budget of the lowest."""
    mean = {int(t): statistics.fmean(found.values()) for t, found in errors.items()}
    return min(t for t, error in mean.items() if error <= (1 + BUDGET) * min(mean.values()))


@torch.inference_mode()
def chunk_times(model: LoopWM, dataset: Dataset, found: Mapping[str, Errors]) -> dict[str, float]:
    """Time [s] to imagine CANDIDATES x PLANNED steps by control steps of a transition, each at its fewest loops.

    Args:
        model: trained.
        dataset: gives the states to start from.
        found: see `by_chunk`.
    """
    state, actions = candidates(model, dataset.splits["test"], PLANNED)
    spent: dict[str, list[float]] = {m: [] for m in found}
    for repeat in range(REPEATS + 2):
        for m, errors in found.items():
            chunk = int(m)
            with using(model, FixedDepth(fewest_loops(errors))):
                seconds = timed(lambda chunk=chunk: model.rollout(state, actions, chunk))  # type: ignore[misc]
            if repeat >= 2:  # warm
                spent[m].append(seconds)
    return {m: statistics.median(values) for m, values in spent.items()}


def measured(model: LoopWM, dataset: Dataset, stride: int, depths: Sequence[int]) -> dict[str, Any]:
    """All of it but the times."""
    return {"chunks": by_chunk(model, dataset, stride, depths), "chunk_exit": chunk_exit(model, dataset, stride)}
