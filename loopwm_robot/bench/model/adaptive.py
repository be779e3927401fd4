"""What stopping early is worth: loops where it is hard and where it is easy, time, operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...config import ModelConfig
from ...models.build import build_model
from ...models.cost import transition_flops
from ...models.dynamics import DynamicsModel
from ...models.loop_control import ExitRule, FixedDepth
from ...models.loopwm import LoopWM
from ...training.metrics import using
from ...types import History, LatentState
from .config import WARM_UP
from .datasets import Dataset, Split
from .measures import Starts, spearman, squared_error, starts_of

BUDGET = 0.01
"""Added error that stopping early may cost."""
CANDIDATES, PLAN_STEPS, REPEATS = 512, 10, 20
STACK = 100
"""Layers of the stack that the paper compares with."""


def best_fixed(model: LoopWM, dataset: Dataset, starts: Starts, chunk: int = 1) -> float:
    """Lowest error over the whole prediction that any fixed depth up to the largest gives."""
    depths = range(1, model.max_loops + 1)
    return min(float(squared_error(model, dataset, starts, FixedDepth(t), chunk=chunk).mean().sqrt()) for t in depths)


def exit_statistics(model: LoopWM, dataset: Dataset, rule: ExitRule, stride: int, chunk: int = 1) -> dict[str, float]:
    """Loops that a rule uses on the test episodes, and whether they go where they are needed.

    Args:
        model: trained.
        dataset: gives the test episodes.
        rule: of the exit.
        stride: between the starts [control steps].
        chunk: control steps of a transition; it is in contact where one of them is.

    Returns:
        mean_loops, and where there is something to touch loops_contact and loops_free, over the transitions of
        predictions over PLAN_STEPS; rank correlations of the depth of a first transition with the error that one loop
        leaves there, and with what the largest depth takes off it; added_error of all against the best fixed depth.
    """
    starts = starts_of(dataset.splits["test"], chunk * max(1, PLAN_STEPS // chunk), stride)
    with torch.inference_mode(), using(model, rule):
        state = model.encode(starts.obs, history=starts.past(model, WARM_UP))
        loops = model.rollout(state, starts.action, chunk).loops.double()  # (N, H / chunk)
    found = {"mean_loops": float(loops.mean())}
    contact = None if starts.contact is None else starts.contact.unflatten(1, (-1, chunk)).any(-1)
    if contact is not None and contact.any() and not contact.all():
        found["loops_contact"] = float(loops[contact].mean())
        found["loops_free"] = float(loops[~contact].mean())
    one = squared_error(model, dataset, starts, FixedDepth(1), chunk=chunk)
    deep = squared_error(model, dataset, starts, FixedDepth(model.max_loops), chunk=chunk)
    stopped = float(squared_error(model, dataset, starts, rule, chunk=chunk).mean().sqrt())
    found["correlation_error"] = spearman(loops[:, 0], one[:, 0].sqrt())
    found["correlation_gain"] = spearman(loops[:, 0], one[:, 0].sqrt() - deep[:, 0].sqrt())
    found["added_error"] = stopped / best_fixed(model, dataset, starts, chunk) - 1
    return found


@torch.inference_mode()
def candidates(
    model: DynamicsModel, split: Split, steps: int, device: str = "cpu", count: int = CANDIDATES
) -> tuple[LatentState, Tensor]:
    """States to imagine from, spread evenly over the episodes, and the actions that followed (count, steps, nu).

    The model is moved to the device.
    """
    starts = starts_of(split, steps, 1)
    chosen = torch.linspace(0, len(starts.obs) - 1, count).long()
    past = starts.past(model, WARM_UP)
    if past is not None:
        past = History(*(x[chosen].to(device) for x in (past.obs, past.action, past.mask)))
    state = model.to(device).encode(starts.obs[chosen].to(device), history=past)
    return state, starts.action[chosen].to(device)


@torch.inference_mode()
def planning_times(model: LoopWM, split: Split, rules: dict[str, ExitRule], device: str = "cpu") -> dict[str, float]:
    """Time [s] to imagine CANDIDATES x PLAN_STEPS from recorded states with each rule; the rules take turns.

    Each candidate starts in a state of its own, so that the batch holds easy and hard transitions as the data does.
    """
    state, actions = candidates(model, split, PLAN_STEPS, device)
    spent: dict[str, list[float]] = {name: [] for name in rules}
    for repeat in range(REPEATS + 2):
        for name, rule in rules.items():
            with using(model, rule):
                seconds = timed(lambda: model.rollout(state, actions))
            if repeat >= 2:  # warm
                spent[name].append(seconds)
    return {name: statistics.median(values) for name, values in spent.items()}


def timed(work: Callable[[], Any]) -> float:
    """Wall time [s], that of an accelerator included."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def free_motion_flops(model: LoopWM, loops: float) -> float:
    """Operations of a transition that takes `loops` loops on average."""
    one, two = transition_flops(model, 1), transition_flops(model, 2)
    return one + (loops - 1) * (two - one)


def deep_stack_flops(config: ModelConfig, dataset: Dataset) -> int:
    """Operations of a transition in an untied stack of STACK blocks of the same width."""
    one, two = (
        transition_flops(build_model(replace(config, kind="untied", mean_loops=count), *dataset.sizes, dataset.groups))
        for count in (1.0, 2.0)
    )
    return one + (STACK - 1) * (two - one)
