"""The training loss of LoopWM (eq 9, 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.loop_control import sample_depths
from ..models.loopwm import LoopWM
from ..types import SequenceBatch

MAX_WEIGHT = 1e6


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms: an observed number 1, the others relative to it, each at least 0.

    Attributes:
        position: weight of the numbers that the planner's cost is computed on (the end-effector position).
        reward: of the reward error.
        terminated: of the continuation error.
    """

    position: float = 6.0
    reward: float = 0.1
    terminated: float = 0.01

    def __post_init__(self) -> None:
        for name in ("position", "reward", "terminated"):
            if not 0 <= getattr(self, name) <= MAX_WEIGHT:
                raise ValueError(
                    f"train.update.loss.{name} is {getattr(self, name)}, allowed [0, {MAX_WEIGHT:g}]; "
                    "change configs/train/"
                )


def world_model_loss(
    model: LoopWM,
    batch: SequenceBatch,
    weights: LossWeights,
    obs_weight: Tensor,
    observe_prob: float,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of an imagined rollout along recorded actions: sum over k of observation, reward and continuation terms.

    The model sees the first observation; each later one is shown to it with probability `observe_prob`, so that the
    same weights serve imagination (e_k = 0) and filtering. Every sequence has its own loop count T ~ Poisson (eq 9).

    Args:
        model: LoopWM.
        batch: recorded sequences.
        weights: of the loss terms.
        obs_weight: weight of each observed number (n_obs,).
        observe_prob: chance that an observation after the first is shown, in [0, 1].
        generator: source of randomness.

    Returns:
        the mean loss of a transition and its terms, detached scalars.
    """
    size, length = batch.action.shape[:2]
    depths = sample_depths(size, model.mean_loops, model.max_loops, generator)
    state = model.encode(batch.obs[:, 0], batch.goal)
    latent = []
    for k in range(length):
        embedding = None
        if k > 0 and observe_prob > 0:
            shown = torch.rand(size, 1, 1, generator=generator) < observe_prob
            embedding = model.embed(batch.obs[:, k]) * shown
        state, _ = model.step(state, batch.action[:, k], embedding, depths)
        latent.append(state.h)
    h = torch.stack(latent, 1)  # (B, L, S, d)
    total = batch.mask.sum()
    predicted = model.obs_head(h.flatten(-2))
    obs_error = (predicted - model.obs_normalizer(batch.obs[:, 1:])).square()  # (B, L, n_obs)
    obs_error = (obs_error * obs_weight).mean(-1)  # (B, L)
    reward_error = (model.reward(h, batch.goal) - batch.reward).square()
    end_error = F.binary_cross_entropy_with_logits(model.continue_logit(h), 1 - batch.terminated, reduction="none")
    terms = {
        name: (error * batch.mask).sum() / total
        for name, error in (("obs", obs_error), ("reward", reward_error), ("terminated", end_error))
    }
    loss = terms["obs"] + weights.reward * terms["reward"] + weights.terminated * terms["terminated"]
    return loss, {name: value.detach() for name, value in terms.items()}
