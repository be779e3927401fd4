"""How deep a trained LoopWM goes when its exits decide, on held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..models.build import make_exit_rule
from ..models.loopwm import LoopWM
from ..types import Episode
from .calibrate import exit_names
from .metrics import Starts, imagine

STEPS, STRIDE, LIMIT = 5, 5, 512
"""Steps ahead of a prediction, distance between their starts, number of starts: as calibration has them."""


def depth_counts(model: LoopWM, episodes: Sequence[Episode]) -> dict[str, list[int]]:
    """Transitions that took 1, 2, ..., max_loops loops, for each exit rule with a calibrated threshold.

    Args:
        model: calibrated.
        episodes: held out.
    """
    rules = {name: model.exit_thresholds[name] for name in exit_names(model) if name in model.exit_thresholds}
    if not rules:
        return {}
    steps = min(STEPS, max(map(len, episodes), default=STEPS))
    starts = Starts.of(episodes, steps, STRIDE, model.context, LIMIT).to(model.device)
    found = {}
    for name, threshold in rules.items():
        loops = imagine(model, starts, make_exit_rule(name, threshold, model.max_loops, model)).loops
        found[name] = torch.bincount(loops.flatten().long().cpu(), minlength=model.max_loops + 1)[1:].tolist()
    return found
