"""Long imagined rollouts: do they stay finite and bounded, and no worse than knowing nothing?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...models.dynamics import DynamicsModel
from ...types import History
from .config import WARM_UP
from .datasets import Dataset
from .measures import WORST, cut

MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Steps at which errors are kept."""
TAIL = 100
"""Last steps that the final error is the mean of."""


@torch.inference_mode()
def long_rollouts(model: DynamicsModel, dataset: Dataset, split: str, starts: int, steps: int) -> dict[str, Any]:
    """Imagine `steps` transitions from `starts` states along recorded actions.

    Args:
        model: trained.
        dataset: gives the deviations, and the mean that is compared with.
        split: long episodes.
        starts: how many, spread evenly over the episodes; they overlap.
        steps: of each rollout, no more than the episodes have after the first WARM_UP.

    Returns:
        finite: whether all states were; state_norm: largest norm of a state over the square root of its size;
        steps, errors and mean_errors: root mean squared error of the model, and of predicting the mean of the training
        data, at some steps; tail and mean_tail: the same over the last TAIL steps.
    """
    episodes = dataset.splits[split].episodes
    possible = [(i, t) for i, e in enumerate(episodes) for t in range(WARM_UP, len(e) - steps + 1)]
    if not possible:
        raise ValueError(f"episodes of '{split}' have {len(episodes[0])} steps, allowed >= {steps + WARM_UP}")
    chosen = [possible[k] for k in torch.linspace(0, len(possible) - 1, min(starts, len(possible))).long().tolist()]
    obs, action = cut(episodes, chosen, -WARM_UP, 1)
    history = None
    if model.context:
        history = History(obs[:, :WARM_UP], action[:, :WARM_UP], torch.ones(len(chosen), WARM_UP)).last(model.context)
    state = model.encode(obs[:, WARM_UP], history=history)
    finite, norm = True, torch.zeros(())
    errors, baseline = torch.zeros(steps), torch.zeros(steps)
    columns = dataset.columns
    mean, std = dataset.mean[columns], dataset.std[columns]
    all_obs = torch.from_numpy(np.stack([e.obs for e in episodes]))[..., columns]
    all_actions = torch.from_numpy(np.stack([e.action for e in episodes]))
    index, step = torch.tensor(chosen).T
    for k in range(steps):
        action, truth = all_actions[index, step + k], all_obs[index, step + k + 1]
        state, _ = model.step(state, action)
        finite = finite and bool(torch.isfinite(state.h).all())
        norm = torch.maximum(norm, state.h.square().mean(dim=(1, 2)).sqrt().max())
        error = ((model.decode(state.h)[:, columns] - truth) / std).square().mean(-1)
        errors[k] = torch.nan_to_num(error, nan=WORST**2, posinf=WORST**2).clamp_max(WORST**2).mean()
        baseline[k] = ((mean - truth) / std).square().mean()
    marks = [k for k in MARKS if k <= steps]
    tail = slice(max(0, steps - TAIL), None)
    return {
        "finite": finite,
        "state_norm": min(float(torch.nan_to_num(norm, nan=WORST, posinf=WORST)), WORST),
        "starts": len(chosen),
        "steps": marks,
        "errors": [float(errors[k - 1].sqrt()) for k in marks],
        "mean_errors": [float(baseline[k - 1].sqrt()) for k in marks],
        "tail": float(errors[tail].mean().sqrt()),
        "mean_tail": float(baseline[tail].mean().sqrt()),
    }
