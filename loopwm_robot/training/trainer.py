"""Gradient updates of the world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.buffer import ReplayBuffer, RewardFn, shares
from ..models.dynamics import DynamicsModel, Unroll
from ..models.loopwm import LoopWM
from ..types import SequenceBatch, joined
from .actor_critic import ActorCriticUpdate, actor_critic_loss
from .anchor import Anchor
from .losses import LossWeights, curriculum_horizon, world_model_loss
from .refused import save_batch
from .team import ALONE, Team

NORMALIZER_IMAGES = 4096
"""Pictures that their mean is taken from."""
NORMALIZER_ROWS = 1 << 20
"""Transitions that the scaling is taken from."""


class TrainingError(RuntimeError):
    """Training cannot go on."""


@dataclass(frozen=True)
class UpdateConfig:
    """Settings of a gradient update.

    Attributes:
        batch_size: sequences in a batch, at least 1.
        sequence_length: transitions L in a sequence, at least 1.
        curriculum: updates after which the sequences grow by a transition, from 1 to sequence_length; 0 starts with
            all.
        chunks: lengths of a transition in control steps, one drawn for each update; more than 1 needs
            model.form=step_consistent.
        learning_rate: peak of the one-cycle schedule (linear warm-up, cosine decay), above 0.
        weight_decay: AdamW decay of the matrices, at least 0.
        grad_clip: largest norm of the gradient, above 0.
        observe_prob: chance that an observation after the first is shown to the model, in [0, 1].
        relabel_fraction: share of the sequences whose goal is replaced in hindsight, in [0, 1].
        old_share: share of a batch that is drawn from old_data in fine-tuning, in [0, 1].
        anchor: in fine-tuning, pull of the weights to their old values, at least 0; 20 lets none get much further than
            1 / 20 from there.
        loss: weights of the loss terms.
        actor_critic: settings of the update of policy and value, where the model has them.
    """

    batch_size: int = 256
    sequence_length: int = 4
    curriculum: int = 0
    chunks: tuple[int, ...] = (1,)
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    grad_clip: float = 1.0
    observe_prob: float = 0.1
    relabel_fraction: float = 0.5
    old_share: float = 0.5
    anchor: float = 0.0
    loss: LossWeights = field(default_factory=LossWeights)
    actor_critic: ActorCriticUpdate = field(default_factory=ActorCriticUpdate)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("batch_size", 1, 1 << 20),
            ("sequence_length", 1, 1024),
            ("curriculum", 0, 1_000_000),
            ("learning_rate", 1e-8, 1.0),
            ("weight_decay", 0, 1.0),
            ("grad_clip", 1e-6, 1e6),
            ("observe_prob", 0, 1),
            ("relabel_fraction", 0, 1),
            ("old_share", 0, 1),
            ("anchor", 0, 1e6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"train.update.{name} is {value}, allowed [{low:g}, {high:g}]; change configs/train/")
        if not self.chunks or not all(1 <= m <= 64 for m in self.chunks):
            raise ValueError(
                f"train.update.chunks is {list(self.chunks)}, allowed one or more in [1, 64]; change configs/train/"
            )


@dataclass(frozen=True)
class Subject:
    """An environment that a model is trained on (models/shared.py).

    Attributes:
        model: as this environment sees it.
        position: columns of the observation that get the loss weight `position`.
        reward_fn: the task's reward, for hindsight goals; None keeps the recorded ones.
    """

    model: DynamicsModel
    position: slice
    reward_fn: RewardFn | None = None

    def obs_weight(self, config: UpdateConfig) -> Tensor:
        """Weight of each observed number (n_obs,)."""
        weight = torch.ones(self.model.n_obs, device=self.model.device)
        weight[self.position] = config.loss.position
        return weight


class WorldModelTrainer:
    """Owns the optimiser and its schedule.

    Args:
        model: trained in place.
        config: settings.
        total_updates: length of the learning-rate schedule.
        rng: draws the batches.
        generator: draws loop counts and hidden observations.
        position: columns of the observation that get the loss weight `position`.
        reward_fn: the task's reward, for hindsight goals; None keeps the recorded ones.
        team: the processes that share each batch.
        others: further environments whose views of the same model are trained with it.

    Attributes:
        obs_weights: for each environment the weight of each observed number (n_obs,).
        updates: done so far.
        refused: file for the batch that an update fails on; None keeps none.
        old: episodes that a fine-tuned model knew, a share of each batch; None has none.
        anchor: holds the weights near their old values; None leaves them free.
    """

    def __init__(
        self,
        model: DynamicsModel,
        config: UpdateConfig,
        total_updates: int,
        rng: np.random.Generator,
        generator: torch.Generator,
        position: slice,
        reward_fn: RewardFn | None = None,
        team: Team = ALONE,
        others: Sequence[Subject] = (),
    ) -> None:
        self.team = team
        self.model, self.config, self.total_updates = model, config, total_updates
        self.rng, self.generator, self.reward_fn, self.others = rng, generator, reward_fn, tuple(others)
        self.updates = 0
        self.refused: Path | None = None
        self.old: ReplayBuffer | None = None
        self.anchor: Anchor | None = None
        self.obs_weights = [subject.obs_weight(config) for subject in (Subject(model, position), *others)]
        acting = [] if model.actor_critic is None else list(model.actor_critic.parameters())
        self.acting = [p for p in acting if p.requires_grad]
        apart = {id(p) for p in acting}
        self.dynamics = [p for p in model.parameters() if id(p) not in apart]
        groups = [
            {"params": [p for p in self.dynamics if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self.dynamics if p.ndim < 2], "weight_decay": 0.0},
        ]
        if self.acting:
            groups.append({"params": self.acting, "weight_decay": 0.0, "lr": config.actor_critic.learning_rate})
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, foreach=True)

    def fit_normalizers(self, buffer: ReplayBuffer) -> None:
        """Take the scaling of observations, their changes and goals from the data of a single environment."""
        self.model.fit_normalizers(*scaling_data(buffer, self.model.device))
        images = buffer.images(NORMALIZER_IMAGES)
        if images is not None and isinstance(self.model, LoopWM) and self.model.vision is not None:
            self.model.vision.normalizer.fit(torch.from_numpy(images))

    def learning_rate(self) -> float:
        """Learning rate of the next update: 5 % linear warm-up, then a cosine to a twentieth of the peak."""
        progress = min(1.0, self.updates / max(1, self.total_updates))
        warm = 0.05
        if progress < warm:
            return self.config.learning_rate * (0.1 + 0.9 * progress / warm)
        fall = (progress - warm) / (1 - warm)
        return self.config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * fall)))

    def _draw(self, buffer: ReplayBuffer, length: int, size: int, reward_fn: RewardFn | None) -> SequenceBatch:
        c, rest = self.config, (length, self.rng, reward_fn, self.config.relabel_fraction, self.model.context)
        again = 0 if self.old is None else round(c.old_share * size)
        if self.old is None or again == 0:
            return buffer.sample(size, *rest)
        old = self.old.sample(again, *rest)
        return old if again == size else joined(buffer.sample(size - again, *rest), old)

    def _losses(
        self, how: Unroll, model: DynamicsModel, obs_weight: Tensor, batch: SequenceBatch, there: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # All that is learned from one batch, and its terms; "loss", that of the dynamics, comes first.
        unrolled = model.unroll(batch, how, self.generator)
        loss, terms = world_model_loss(
            model, batch, self.config.loss, obs_weight, how, self.generator, unrolled, there.to(model.device)
        )
        terms = {"loss": loss.detach(), **terms}
        if model.actor_critic is None:
            return loss, terms
        acting, more = actor_critic_loss(
            model, model.actor_critic, batch, unrolled.h, self.config.actor_critic, self.generator
        )
        return loss + acting, terms | more  # neither has a gradient in what the other trains

    def update(self, *buffers: ReplayBuffer) -> dict[str, float]:
        """One gradient step on a fresh batch.

        Args:
            buffers: one for each environment; the batch has equal shares of them, the first ones get what is left over.

        Returns:
            the loss, its terms, the gradient norm before clipping, and the learning rate.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights are unchanged.
        """
        c = self.config
        chunk = c.chunks[int(self.rng.integers(len(c.chunks)))] if len(c.chunks) > 1 else c.chunks[0]
        length = chunk * curriculum_horizon(self.updates, c.curriculum, c.sequence_length)
        sizes, rewards = shares(c.batch_size, len(buffers)), (self.reward_fn, *(o.reward_fn for o in self.others))
        drawn = [
            self._draw(buffer, length, size, reward_fn)
            for buffer, size, reward_fn in zip(buffers, sizes, rewards, strict=True)
        ]
        there = [batch.mask.sum(0) / self.team.size for batch in drawn]
        if self.team.size > 1:  # the same batch everywhere
            drawn = [batch.part(self.team.part(len(batch.action))) for batch in drawn]
        batches = [batch.to(self.model.device) for batch in drawn]
        models = (self.model, *(other.model for other in self.others))
        how = Unroll(c.observe_prob, chunk)
        self.optimizer.zero_grad(set_to_none=True)
        losses, terms = zip(*map(partial(self._losses, how), models, self.obs_weights, batches, there), strict=True)
        torch.stack(losses).mean().backward()
        found = torch.stack([torch.stack([some[name] for some in terms]).mean() for name in terms[0]])
        numbers = self.team.mean([*self.dynamics, *self.acting], found)
        loss = numbers[0]
        norm = torch.nn.utils.clip_grad_norm_(self.dynamics, c.grad_clip)
        actor_critic = self.model.actor_critic
        if actor_critic is not None:
            norm = norm + torch.nn.utils.clip_grad_norm_(self.acting, c.grad_clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            if self.refused is not None:
                for i, batch in enumerate(batches):
                    save_batch(self.refused.with_suffix(f".{i}.npz") if i else self.refused, batch)
            kept = "" if self.refused is None else f" in {self.refused}"
            raise TrainingError(
                f"update {self.updates}: loss {float(loss):g}, gradient norm {float(norm):g}, allowed finite; "
                f"lower train.update.learning_rate or look at the batch{kept}"
            )
        rate = self.learning_rate()
        for group in self.optimizer.param_groups[:2]:
            group["lr"] = rate
        self.optimizer.step()
        if self.anchor is not None:
            self.anchor.pull(rate)
        if actor_critic is not None:
            actor_critic.follow(c.actor_critic.target_rate)
        self.updates += 1
        values = {name: float(number) for name, number in zip(terms[0], numbers.cpu(), strict=True)}
        return {**values, "grad_norm": float(norm), "learning_rate": rate}


def scaling_data(buffer: ReplayBuffer, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, those one control step later (rows, n_obs), and goals (any, n_goal) that scalings come from."""
    before, after = buffer.transitions(NORMALIZER_ROWS)
    arrays = (before, after, buffer.goals[:NORMALIZER_ROWS])
    obs, following, goals = (torch.from_numpy(a).to(device) for a in arrays)
    return obs, following, goals
