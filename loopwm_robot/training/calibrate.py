"""Calibrate what a trained LoopWM decides at run time: when to stop looping, and what mismatch is an alarm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ..models.build import make_exit_rule
from ..models.loop_control import (
    AdaptiveDepth,
    Converged,
    Doubling,
    ExitRule,
    FixedDepth,
    Gated,
    SecondOrder,
    relative_size,
)
from ..models.loopwm import LoopWM
from ..models.monitor import MAX_STEPS
from ..models.untied import UntiedStack
from ..types import Episode
from .metrics import Starts, imagine, open_loop_rmse, using

GRID = 16
"""Coarse thresholds; the first that is strict enough is then refined by REFINE bisections."""
REFINE = 3
WORST = 1e6
"""Errors are cut here, so that a model that diverged still has a number."""

PICTURED = 256
"""Starts of predictions whose pictures are looked at: 60 MB of 64 x 64 pixels for 20 steps."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of an exit rule from loose to strict, as a function of the share q in [0, 1] of loops that would stop.

    Attributes:
        statistic: what the rule compares with its threshold, of single loops (any,).
        opens_above: whether it stops above the threshold (the gate) rather than below it.
    """

    statistic: Tensor
    opens_above: bool

    def at(self, q: float) -> float:
        """Threshold at which a share q would stop: q = 1 always stops, q = 0 never does."""
        if self.opens_above:
            return 1.0 if q <= 0 else 0.0 if q >= 1 else float(torch.quantile(self.statistic, 1 - q))
        if q <= 0:
            return 0.0
        return 2 * float(self.statistic.max()) if q >= 1 else float(torch.quantile(self.statistic, q))


def exit_names(model: LoopWM) -> tuple[str, ...]:
    """Adaptive exit rules that fit the form of the loop."""
    if isinstance(model, UntiedStack):
        return ()
    return ("doubling",) if model.core.form == "step_consistent" else ("converged", "second_order", "gate")


@torch.inference_mode()
def calibrate_exits(
    model: LoopWM,
    episodes: Sequence[Episode],
    budget: float = 0.01,
    *,
    max_loops: int | None = None,
    horizons: Sequence[int] = (1, 5),
    stride: int = 5,
    limit: int = 512,
    chunk: int = 1,
) -> dict[str, dict[str, float]]:
    """Choose the threshold of each adaptive exit rule on held-out data: the fewest loops within an error budget.

    The error is the mean of the normalised open-loop errors at `horizons`; the reference is that of the best fixed
    depth up to max_loops. The thresholds are written to `model.exit_thresholds`; an exit rule of the model that is one
    of these takes its new threshold. A rule that misses the budget at every threshold gets that of its lowest error.

    Args:
        model: trained, its gate too.
        episodes: held out.
        budget: added error that is accepted, as a share of the reference, at least 0.
        max_loops: largest depth; none takes the largest one in training.
        horizons: transitions ahead at which errors are taken.
        stride: distance between starts within an episode.
        limit: of the number of starts.
        chunk: control steps of a transition; each length needs thresholds of its own.

    Returns:
        for each rule "threshold", "mean_loops" of a transition, "error", "reference_error", "reference_loops" and
        "met": 1 where the error is within the budget, 0 where no threshold got there.

    Raises:
        ValueError: budget is negative, or no episode is as long as the largest horizon.
    """
    if not budget >= 0:
        raise ValueError(f"error budget is {budget}, allowed >= 0")
    names, cap = exit_names(model), model.max_loops if max_loops is None else max_loops
    if not names:
        return {}
    longest = min(max(horizons), max(max((len(e) // chunk for e in episodes), default=max(horizons)), 1))
    starts = Starts.of(episodes, longest * chunk, stride, model.context, limit).to(model.device)
    ahead = sorted({min(h, longest) for h in horizons})

    def measure(rule: ExitRule) -> tuple[float, float]:
        """Error, WORST at most, and mean loops of a transition."""
        trajectory = imagine(model, starts, rule, chunk)
        rmse = open_loop_rmse(model, trajectory, starts.after(chunk))
        error = float(rmse[[h - 1 for h in ahead]].mean())
        return error if error < WORST else WORST, float(trajectory.loops.double().mean())

    fixed = {depth: measure(FixedDepth(depth))[0] for depth in _depths(cap)}
    best = min(fixed, key=lambda depth: fixed[depth])
    report: dict[str, dict[str, float]] = {}
    with using(model, FixedDepth(best)):
        statistics = _statistics(model, starts, cap, names, chunk)
    for name in names:
        thresholds = Thresholds(statistics[name], opens_above=name == "gate")

        def attempt(q: float, name: str = name, thresholds: Thresholds = thresholds) -> tuple[float, float]:
            return measure(make_exit_rule(name, thresholds.at(q), cap, model))

        q, error, loops = cheapest(attempt, fixed[best] * (1 + budget))
        threshold = thresholds.at(q)
        model.exit_thresholds[name] = threshold
        report[name] = {
            "threshold": threshold,
            "mean_loops": loops,
            "error": error,
            "reference_error": fixed[best],
            "reference_loops": float(best),
            "met": float(error <= fixed[best] * (1 + budget)),
        }
    _refresh(model)
    return report


@torch.inference_mode()
def calibrate_monitor(
    model: LoopWM, episodes: Sequence[Episode], steps: int = 20, *, stride: int = 1, limit: int = 2048
) -> Tensor:
    """Take the monitor's levels from held-out data: what mismatch 99 of 100 imagined states stay below.

    Args:
        model: trained; it imagines with its own exit rule.
        episodes: held out.
        steps: control steps after the last observation that get a level of their own, 1 to MAX_STEPS; fewer where the
            episodes are shorter. Later steps use the last level.
        stride: distance between starts within an episode.
        limit: of the number of starts; with pictures it is PICTURED at most.

    Returns:
        the levels (steps,), also in `model.monitoring`.

    Raises:
        ValueError: steps is out of range, or there is no episode.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"monitored steps are {steps}, allowed 1 to {MAX_STEPS}")
    steps = min(steps, max(map(len, episodes), default=steps))
    if model.vision is not None:
        limit = min(limit, PICTURED)
    starts = Starts.of(episodes, steps, stride, model.context, limit).to(model.device)
    model.monitoring.calibrate(model.mismatch(imagine(model, starts).h, starts.truth_seen))
    return model.monitoring.level[:steps].clone()


def cheapest(attempt: Callable[[float], tuple[float, float]], accepted: float) -> tuple[float, float, float]:
    """The largest share q of stopping loops whose error is accepted; where none is, the one of the lowest error.

    From loose to strict, since the error may rise again where a model runs deeper than it was trained.

    Args:
        attempt: error and mean loops at q.
        accepted: largest error.

    Returns:
        q, error, mean loops.
    """
    tried: list[tuple[float, float, float]] = []
    for k in range(GRID, -1, -1):
        tried.append((k / GRID, *attempt(k / GRID)))
        if tried[-1][1] <= accepted:
            break
    else:
        return min(tried, key=lambda entry: entry[1])
    found = tried[-1]
    if len(tried) == 1 or found[0] == 0:
        return found
    loose = tried[-2][0]
    for _ in range(REFINE):
        middle = (found[0] + loose) / 2
        entry = (middle, *attempt(middle))
        if entry[1] <= accepted:
            found = entry
        else:
            loose = middle
    return found


def _depths(cap: int) -> list[int]:
    """Fixed depths to compare with: all up to 16, then ever fewer."""
    depths = list(range(1, min(cap, 16) + 1))
    while depths[-1] < cap:
        depths.append(min(cap, math.ceil(1.2 * depths[-1])))
    return depths


@torch.inference_mode()
def _statistics(model: LoopWM, starts: Starts, cap: int, names: Sequence[str], chunk: int) -> dict[str, Tensor]:
    """What each rule compares with its threshold, over the loops of the first transition after each start."""
    state = model.encode(starts.seen, history=starts.history)
    action = starts.action[:, 0] if chunk == 1 else starts.action[:, :chunk]
    inner, _ = model.depths(state, action, min(cap, 16))
    h = [state.h, *inner.unbind(1)]
    step = [b - a for a, b in pairwise(h)]
    found: dict[str, list[Tensor]] = {
        "converged": [relative_size(d, x) for d, x in zip(step, h[1:], strict=True)],
        "second_order": [relative_size(e - d, x) for (d, e), x in zip(pairwise(step), h[2:], strict=True)],
        "gate": [torch.sigmoid(model.gate_logit(x)) for x in h[1:]],
        "doubling": [model.disagreement(h[2 * t], h[t]) for t in (1, 2, 4, 8) if 2 * t < len(h)],
    }
    return {name: torch.cat(found[name]) if found[name] else torch.zeros(1) for name in names}


def _refresh(model: LoopWM) -> None:
    """Give the exit rule in use its calibrated threshold."""
    rule = model.exit_rule
    kinds = {"converged": Converged, "second_order": SecondOrder, "gate": Gated, "doubling": Doubling}
    for name, threshold in model.exit_thresholds.items():
        if isinstance(rule, AdaptiveDepth | Doubling) and type(rule) is kinds[name]:
            model.exit_rule = replace(rule, threshold=threshold)
            if isinstance(rule, Doubling):
                model.exit_rule = replace(rule, threshold=threshold, measure=model.disagreement)
