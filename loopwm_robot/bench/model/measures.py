"""What is measured on a trained model: open-loop errors, what each loop count makes of them, long rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models.dynamics import DynamicsModel
from ...models.loop_control import ExitRule
from ...training.metrics import using
from ...types import Episode, History
from .config import HORIZONS, WARM_UP
from .datasets import Dataset, Split

WORST = 1e3
"""Errors are cut here, so that a model that diverged still has a number."""


@dataclass(frozen=True)
class Starts:
    """Where predictions begin, and what then happened.

    Attributes:
        obs: (N, n_obs). action: (N, H, nu). truth: (N, H, n_obs). contact: (N, H) or None.
        history: the WARM_UP transitions before.
    """

    obs: Tensor
    action: Tensor
    truth: Tensor
    contact: Tensor | None
    history: History

    def past(self, model: DynamicsModel, seen: int) -> History | None:
        """The latest `seen` of the transitions before the start, as the model takes them; None where it takes none."""
        if not model.context:
            return None
        history = self.history.last(model.context)
        age = torch.arange(model.context, 0, -1)
        mask = (age <= seen).to(history.mask).expand_as(history.mask)
        return History(history.obs, history.action, mask)


def starts_of(split: Split, horizon: int, stride: int) -> Starts:
    """Starts `stride` steps apart in every episode, after the first WARM_UP steps, with `horizon` steps to come."""
    found = [(i, t) for i, e in enumerate(split.episodes) for t in range(WARM_UP, len(e) - horizon + 1, stride)]
    episodes = split.episodes
    contact = None
    if split.contact is not None:
        contact = torch.from_numpy(np.stack([split.contact[i, t : t + horizon] for i, t in found]))
    obs, action = cut(episodes, found, -WARM_UP, horizon + 1)
    return Starts(
        obs[:, WARM_UP],
        action[:, WARM_UP : WARM_UP + horizon],
        obs[:, WARM_UP + 1 :],
        contact,
        History(obs[:, :WARM_UP], action[:, :WARM_UP], torch.ones(len(found), WARM_UP)),
    )


def cut(episodes: Sequence[Episode], starts: Sequence[tuple[int, int]], low: int, high: int) -> tuple[Tensor, Tensor]:
    """Observations and actions at the steps t + low .. t + high - 1 of each start (episode, t)."""
    obs = np.stack([episodes[i].obs[t + low : t + high] for i, t in starts])
    action = np.stack([episodes[i].action[t + low : t + high - 1] for i, t in starts])
    return torch.from_numpy(obs), torch.from_numpy(action)


@torch.inference_mode()
def squared_error(
    model: DynamicsModel,
    dataset: Dataset,
    starts: Starts,
    rule: ExitRule | None = None,
    seen: int = WARM_UP,
    columns: Sequence[int] = (),
    chunk: int = 1,
) -> Tensor:
    """Mean squared error of each prediction in units of the data's deviations (N, H); WORST^2 where it is not finite.

    Args:
        model: trained on the data set.
        dataset: gives the deviations, and the columns that count.
        starts: and what followed.
        rule: loops to use; None leaves the model's own.
        seen: transitions of history that a model with context is shown.
        columns: of the observation to look at; empty takes all that are measured.
        chunk: control steps of a transition; errors are those after each, (N, H / chunk).
    """
    with using(model, rule if chunk == 1 else None):  # what loops do to the belief is no matter of chunks
        state = model.encode(starts.obs, history=starts.past(model, seen))
    with using(model, rule):
        predicted = model.rollout(state, starts.action, chunk).observations()
    chosen = [column for column in dataset.columns if not columns or column in columns]
    truth = starts.truth[:, chunk - 1 :: chunk]
    error = ((predicted[..., chosen] - truth[..., chosen]) / dataset.std[chosen]).square().mean(-1)
    return torch.nan_to_num(error, nan=WORST**2, posinf=WORST**2).clamp_max(WORST**2)


def by_horizon(error: Tensor, horizons: Sequence[int] = HORIZONS, chunk: int = 1) -> dict[str, float]:
    """Root mean square at each horizon [control steps]: (N, H / chunk) -> {"h1": ...}."""
    return {f"h{h}": float(error[:, h // chunk - 1].mean().sqrt()) for h in horizons}


def open_loop(
    model: DynamicsModel, dataset: Dataset, split: str, stride: int, rule: ExitRule | None = None, seen: int = WARM_UP
) -> dict[str, Any]:
    """Open-loop errors on a split: overall, and where there is something to touch, with and without contact on the way.

    Returns:
        {"all": {"h1": ...}, "object": ..., "contact": ..., "free": ..., "starts": N, "curve": error at each step}.
        object looks at the columns of the object alone. Contact at horizon h means in at least one of the h steps; a
        horizon without such starts is left out.
    """
    starts = starts_of(dataset.splits[split], max(HORIZONS), stride)
    error = squared_error(model, dataset, starts, rule, seen)
    found: dict[str, Any] = {"all": by_horizon(error), "curve": error.mean(0).sqrt().tolist(), "starts": len(error)}
    if "object" in dataset.groups:
        found["object"] = by_horizon(squared_error(model, dataset, starts, rule, seen, dataset.groups["object"]))
    if starts.contact is not None:
        touched = starts.contact.cumsum(1) > 0  # (N, H)
        for name, chosen in (("contact", touched), ("free", ~touched)):
            found[name] = {
                f"h{h}": float(error[chosen[:, h - 1], h - 1].mean().sqrt()) for h in HORIZONS if chosen[:, h - 1].any()
            }
    return found


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation of two samples (N,); ties share their mean rank. 0 where one of them is constant."""
    a, b = _ranks(x.double().numpy()), _ranks(y.double().numpy())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.bincount(inverse, ranks) / counts)[inverse]
