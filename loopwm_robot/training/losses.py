"""The training loss of the dynamics models (eq 10, 19 to 22)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.dynamics import DynamicsModel, Unroll, Unrolled
from ..models.loopwm import LoopWM
from ..types import Obs, SequenceBatch, vector_of

MAX_WEIGHT = 1e6
DECODE = ("every", "terminal")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms: an observed number 1, the others relative to it, each at least 0.

    Attributes:
        position: weight of the numbers that the planner's cost is computed on (the end-effector position).
        reward: of the reward error.
        terminated: of the continuation error.
        decode: every (each predicted observation is compared), or terminal: deferred decoding, only the last is (eq
            19).
        consistency: of the projected latent against the encoder's embedding of what was observed (eq 20); at 0 the
            projection is trained without influence on the rest.
        contraction: of the latent path length beyond its budget (eq 21, 22).
        contraction_budget: path length C_max per transition that is free, in units of the state's norm.
        image: of the error of pictures, in units of their variance.
        image_steps: transitions of a sequence whose picture is drawn and compared, drawn anew for each update, at least
            1; with decode=terminal the last one only.
    """

    position: float = 6.0
    reward: float = 0.1
    terminated: float = 0.01
    decode: str = "every"
    consistency: float = 0.0
    contraction: float = 0.0
    contraction_budget: float = 0.3
    image: float = 1.0
    image_steps: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.image_steps <= 1024:
            raise ValueError(
                f"train.update.loss.image_steps is {self.image_steps}, allowed [1, 1024]; change configs/train/"
            )
        for name in ("image", "position", "reward", "terminated", "consistency", "contraction", "contraction_budget"):
            if not 0 <= getattr(self, name) <= MAX_WEIGHT:
                raise ValueError(
                    f"train.update.loss.{name} is {getattr(self, name)}, allowed [0, {MAX_WEIGHT:g}]; "
                    "change configs/train/"
                )
        if self.decode not in DECODE:
            raise ValueError(f"train.update.loss.decode is '{self.decode}', allowed {', '.join(DECODE)}")


def world_model_loss(
    model: DynamicsModel,
    batch: SequenceBatch,
    weights: LossWeights,
    obs_weight: Tensor,
    how: Unroll,
    generator: torch.Generator,
    unrolled: Unrolled | None = None,
    there: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of an imagined rollout along recorded actions: sum over k of observation, reward and continuation terms.

    Args:
        model: any dynamics model.
        batch: recorded sequences of L transitions.
        weights: of the loss terms.
        obs_weight: weight of each observed number (n_obs,).
        how: observations shown on the way, and the length of a transition.
        generator: source of randomness.
        unrolled: the batch as the model imagined it; None has it imagined here.
        there: number of transitions at each step (L,), on average over the processes that share a batch; None counts
            those of this batch.

    Returns:
        the mean loss of a transition and its terms, detached scalars.
    """
    unrolled = unrolled or model.unroll(batch, how, generator)
    h, m = unrolled.h, how.chunk  # (B, K, S, d)
    seen = batch.seen[:, m::m]  # (B, K, .)
    mask = batch.mask[:, m - 1 :: m]
    counts = (batch.mask.sum(0) if there is None else there)[m - 1 :: m]

    def at(steps: Tensor | slice) -> tuple[Tensor, Tensor]:
        # What an error at some of the steps is weighed with, and by what it is divided.
        return mask[:, steps], counts[steps].sum().clamp_min(1)

    every: Tensor | slice = slice(None)
    last: Tensor | slice = slice(-1, None) if weights.decode == "terminal" else every
    if unrolled.obs_error is None:
        obs_error = vector_error(model, h[:, last], seen[:, last], obs_weight)
    else:
        obs_error = unrolled.obs_error[:, last]
    errors = {
        "obs": (obs_error, *at(last)),
        "reward": ((model.reward(h, batch.goal) - batch.reward[:, m - 1 :: m]).square(), *at(every)),
        "terminated": (
            F.binary_cross_entropy_with_logits(
                model.continue_logit(h), 1 - batch.terminated[:, m - 1 :: m], reduction="none"
            ),
            *at(every),
        ),
        **{name: (term, *at(every)) for name, term in unrolled.extra.items()},
    }
    scale = {"reward": weights.reward, "terminated": weights.terminated}
    if isinstance(model, LoopWM):
        source = h if weights.consistency else h.detach()
        shown = every
        if model.vision is not None:  # pictures are dear: only some of them are encoded or drawn
            shown = last if weights.decode == "terminal" else chosen_steps(h.shape[1], weights.image_steps, generator)
            errors["image"] = image_error(model, h[:, shown], seen[:, shown]), *at(shown)
            scale["image"] = weights.image
        errors["consistency"] = model.mismatch(source[:, shown], seen[:, shown]), *at(shown)
        scale["consistency"] = weights.consistency or 1.0
        if weights.contraction:
            errors["contraction"] = path_excess(h, weights.contraction_budget).unsqueeze(1).expand_as(mask), *at(every)
            scale["contraction"] = weights.contraction
    terms = {name: (error * weight).sum() / count for name, (error, weight, count) in errors.items()}
    loss = torch.stack([scale.get(name, 1.0) * term for name, term in terms.items()]).sum()
    return loss, {name: value.detach() for name, value in terms.items()}


def vector_error(model: DynamicsModel, h: Tensor, target: Obs, obs_weight: Tensor) -> Tensor:
    """Mean weighted square error of the decoded numbers, normalised units; 0 where there are pictures only.

    Args:
        model: any dynamics model.
        h: latent states (..., S, d).
        target: what was seen then (..., n_obs).
        obs_weight: weight of each number (n_obs,).

    Returns:
        (...).
    """
    if not model.n_obs:
        return h.new_zeros(h.shape[:-2])
    wanted = model.obs_normalizer(vector_of(target))
    return ((model.decode_normalised(h) - wanted).square() * obs_weight).mean(-1)


def image_error(model: LoopWM, h: Tensor, target: Obs) -> Tensor:
    """Mean square error of the drawn pictures, in units of the data's variance.

    Args:
        model: sees pictures.
        h: latent states (..., S, d).
        target: what was seen then, with its picture.

    Returns:
        (...).

    Raises:
        ValueError: the model sees no pictures, or there is none.
    """
    if model.vision is None:
        raise ValueError("the model was made without pictures, allowed vector_error; make it with image=(H, W, C)")
    return model.vision.error(model.image_tokens(h), model.vision.check(target).image)


def chosen_steps(steps: int, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the indices 0 to steps - 1, in order, each equally likely."""
    return torch.randperm(steps, generator=generator)[:count].sort().values


def path_excess(h: Tensor, budget: float) -> Tensor:
    """Contraction budget max(0, sum_k |h_{k+1} - h_k| - K C_max) / K (eq 21, 22), norms in units of the state's (1 for
    unit RMS).

    Args:
        h: latent states (B, K, S, d).
        budget: C_max.

    Returns:
        (B,).
    """
    steps = (h[:, 1:] - h[:, :-1]).square().mean(dim=(-2, -1)).clamp_min(1e-12).sqrt()  # (B, K-1)
    if steps.shape[1] == 0:
        return h.new_zeros(len(h))
    return F.relu(steps.mean(1) - budget)


def curriculum_horizon(update: int, every: int, longest: int) -> int:
    """Horizon curriculum K = min(K_max, 1 + floor(update / every)); every = 0 starts at K_max (section 3.5)."""
    return longest if every == 0 else min(longest, 1 + update // every)
