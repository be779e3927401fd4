"""How well the model predicts: open-loop errors by horizon and by loop count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models.loop_control import ExitRule, FixedDepth
from ..models.loopwm import LoopWM
from ..types import Episode

HORIZONS = (1, 5, 10, 20)
"""Steps ahead at which open-loop errors are reported."""


@torch.inference_mode()
def open_loop_predictions(
    model: LoopWM, episodes: Sequence[Episode], horizon: int, stride: int, exit_rule: ExitRule
) -> tuple[Tensor, Tensor]:
    """Predict `horizon` steps from several starts in recorded episodes along the recorded actions.

    Args:
        model: the world model.
        episodes: recorded, of at least `horizon` steps each.
        horizon: steps H to predict.
        stride: distance between starts within an episode.
        exit_rule: loops to use.

    Returns:
        predicted and true observations (starts, H, n_obs), physical units.

    Raises:
        ValueError: no episode is long enough.
    """
    starts = [(e, t) for e in episodes for t in range(0, len(e) - horizon + 1, stride)]
    if not starts:
        raise ValueError(f"no episode has {horizon} steps, allowed >= {horizon}; record longer episodes")
    first = torch.from_numpy(np.stack([e.obs[t] for e, t in starts]))
    actions = torch.from_numpy(np.stack([e.action[t : t + horizon] for e, t in starts]))
    truth = torch.from_numpy(np.stack([e.obs[t + 1 : t + 1 + horizon] for e, t in starts]))
    saved, model.exit_rule = model.exit_rule, exit_rule
    try:
        predicted = model.rollout(model.encode(first), actions).observations()
    finally:
        model.exit_rule = saved
    return predicted, truth


def normalised_rmse(predicted: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Root mean square error in units of the data's deviation, by step: (starts, H, n) -> (H,)."""
    return ((predicted - truth) / std).square().mean(dim=(0, 2)).sqrt()


def open_loop_table(
    model: LoopWM,
    episodes: Sequence[Episode],
    position: slice,
    horizons: Sequence[int] = HORIZONS,
    loops: Sequence[int] | None = None,
    stride: int = 5,
) -> dict[int, dict[int, tuple[float, float]]]:
    """Open-loop error by loop count and horizon.

    Args:
        model: the world model.
        episodes: held out.
        position: columns of the end-effector position [m].
        horizons: steps ahead.
        loops: loop counts; by default 1, 2, the training mean and 4 times the mean.
        stride: distance between starts within an episode.

    Returns:
        {loops: {horizon: (normalised RMSE of the observation, RMSE of the position [m])}}.
    """
    if loops is None:
        mean = max(1, round(model.mean_loops))
        loops = sorted({1, 2, mean, 4 * mean})
    table: dict[int, dict[int, tuple[float, float]]] = {}
    for count in loops:
        predicted, truth = open_loop_predictions(model, episodes, max(horizons), stride, FixedDepth(count))
        rmse = normalised_rmse(predicted, truth, model.obs_normalizer.std)
        metres = (predicted - truth)[..., position].square().sum(-1).mean(0).sqrt()  # (H,)
        table[count] = {h: (float(rmse[h - 1]), float(metres[h - 1])) for h in horizons}
    return table
