"""Train the exit gate on whether one more loop still lowers the prediction error.

The published loss names the gate only in an entropy bonus (eq 11), whose optimum says nothing about when to stop. Here
the finished model is frozen and the gate learns from what the loops really do: for a recorded transition the error of
the next observation is taken after every loop, and h(t) is labelled "stop" where h(t+1) is no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.buffer import ReplayBuffer, shares
from ..models.loopwm import LoopWM
from ..models.untied import UntiedStack
from .losses import image_error, vector_error


@dataclass(frozen=True)
class GateConfig:
    """Training of the exit gate after that of the model.

    Attributes:
        updates: gradient updates, at least 0; 0 leaves the gate untrained (g = 0.5).
        batch_size: transitions in a batch, at least 1.
        learning_rate: above 0.
        entropy: weight alpha of the entropy bonus (eq 11), at least 0.
        min_gain: a loop counts as useful when it lowers the error by more than this share, in [0, 1).
    """

    updates: int = 200
    batch_size: int = 256
    learning_rate: float = 1e-2
    entropy: float = 0.01
    min_gain: float = 0.02

    def __post_init__(self) -> None:
        for name, low, high in (
            ("updates", 0, 1_000_000),
            ("batch_size", 1, 1 << 20),
            ("learning_rate", 1e-8, 1.0),
            ("entropy", 0, 100),
            ("min_gain", 0, 0.999),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"train.gate.{name} is {value}, allowed [{low:g}, {high:g}]; change configs/train/")


def fit_exit_gate(
    model: LoopWM, buffer: ReplayBuffer, config: GateConfig, obs_weight: Tensor, rng: np.random.Generator
) -> dict[str, float]:
    """Train the gate of a finished model; no other weight changes.

    Args:
        model: trained. Without a loop that can be stopped early (form step_consistent, an untied stack) it has no gate
            to train, and nothing happens.
        buffer: recorded transitions.
        config: settings.
        obs_weight: weight of each observed number in the error (n_obs,).
        rng: draws the batches.

    Returns:
        {"gate_loss", "gate_accuracy", "gate_stop_share"} over the last tenth of the updates, empty without updates:
        cross-entropy, share of right decisions, and share of "stop" among the labels.
    """
    return fit_shared_gate([(model, buffer, obs_weight)], config, rng)


def fit_shared_gate(
    environments: Sequence[tuple[LoopWM, ReplayBuffer, Tensor]], config: GateConfig, rng: np.random.Generator
) -> dict[str, float]:
    """Train the gate that the views of a model share, see `fit_exit_gate`.

    Args:
        environments: for each one its view, its transitions and its weights; batches have equal shares of them.
        config: settings.
        rng: draws the batches.
    """
    model = environments[0][0]
    if model.core.form == "step_consistent" or isinstance(model, UntiedStack):
        return {}
    sizes = shares(config.batch_size, len(environments))
    parts = [(*some, replace(config, batch_size=size)) for some, size in zip(environments, sizes, strict=True)]
    torch.nn.init.zeros_(model.gate.weight)
    torch.nn.init.zeros_(model.gate.bias)
    optimizer = torch.optim.Adam(model.gate.parameters(), lr=config.learning_rate)
    rows: list[tuple[float, float, float]] = []
    for _ in range(config.updates):
        drawn = [gate_examples(view, buffer, share, weight, rng) for view, buffer, weight, share in parts]
        h, stop = (torch.cat(some) for some in zip(*drawn, strict=True))
        logit = model.gate_logit(h)
        loss = F.binary_cross_entropy_with_logits(logit, stop) - config.entropy * bernoulli_entropy(logit).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        right = ((logit.detach() > 0) == (stop > 0.5)).double().mean()
        rows.append((float(loss.detach()), float(right), float(stop.mean())))
    if not rows:
        return {}
    last = np.array(rows[-max(1, len(rows) // 10) :]).mean(0)
    return dict(zip(("gate_loss", "gate_accuracy", "gate_stop_share"), map(float, last), strict=True))


@torch.no_grad()
def gate_examples(
    model: LoopWM, buffer: ReplayBuffer, config: GateConfig, obs_weight: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """States inside the loop and whether to stop there.

    Returns:
        h(t) (B * (T-1), S, d) for t = 1..T-1 with T twice the mean depth, at least 2, and labels (B * (T-1),), 1 where
        h(t+1) is not better by `min_gain`.
    """
    batch = buffer.sample(config.batch_size, 1, rng, context=model.context).to(model.device)
    mean = torch.full((config.batch_size,), max(1, round(model.mean_loops)))  # the past is refined at the mean depth
    state = model.encode(batch.seen[:, 0], history=batch.history, depths=mean)
    inner, outer = model.depths(state, batch.action[:, 0], max(2, round(2 * model.mean_loops)))
    following = batch.seen[:, 1:2]  # (B, 1, .), for all depths
    if model.n_obs:
        error = vector_error(model, outer, following, obs_weight)  # (B, T)
    else:
        depths = outer.unbind(1)
        error = torch.cat([image_error(model, h.unsqueeze(1), following) for h in depths], 1)
    stop = error[:, 1:] > (1 - config.min_gain) * error[:, :-1]
    return inner[:, :-1].flatten(0, 1), stop.flatten().float()


def bernoulli_entropy(logit: Tensor) -> Tensor:
    """H(g) = - g log g - (1 - g) log (1 - g) for g = sigmoid(logit), stable for any logit (eq 11)."""
    g = torch.sigmoid(logit)
    return F.softplus(logit) - g * logit
