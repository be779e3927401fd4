"""The loss of a policy and a value on recorded transitions, with imagined latent states as their input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.actor_critic import ActorCritic
from ..models.dynamics import DynamicsModel
from ..types import SequenceBatch

CALM = 1e-3
"""Weight of the squared action before its squashing: a policy that saturates early would stop learning."""


@dataclass(frozen=True)
class ActorCriticUpdate:
    """Settings of an update of policy and value.

    Attributes:
        learning_rate: of Adam, constant, above 0.
        target_rate: share by which the slow critics follow in an update, in (0, 1].
        target_noise: deviation of the noise on the policy's action in a target, at least 0 (TD3's smoothing).
        imitation: weight of the squared distance between the policy's and the recorded action, at least 0 (TD3+BC).
    """

    learning_rate: float = 5e-4
    target_rate: float = 0.01
    target_noise: float = 0.2
    imitation: float = 0.1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("learning_rate", 1e-8, 1.0),
            ("target_rate", 1e-6, 1.0),
            ("target_noise", 0.0, 1.0),
            ("imitation", 0.0, 1e6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(
                    f"train.update.actor_critic.{name} is {value}, allowed [{low:g}, {high:g}]; change configs/train/"
                )


def actor_critic_loss(
    model: DynamicsModel,
    actor_critic: ActorCritic,
    batch: SequenceBatch,
    imagined: Tensor,
    settings: ActorCriticUpdate,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one transition drawn from each sequence. The dynamics model gets no gradient.

    The state before the transition is the imagined one, as in planning; the one after it is encoded from what was
    observed then. An episode that was cut off goes on in the value, one that ended does not.

    Args:
        model: the dynamics model that imagined.
        actor_critic: policy and value.
        batch: recorded sequences of L transitions.
        imagined: latent states after each transition (B, L, S, d).
        settings: of the update.
        generator: draws transitions and noise.

    Returns:
        the loss and its terms, detached scalars.
    """
    size = len(batch.action)
    rows = torch.arange(size)
    valid = batch.mask.sum(1).clamp_min(1).cpu()
    k = (torch.rand(size, generator=generator) * valid).long()
    with torch.no_grad():
        first = model.encode(batch.seen[:, 0], batch.goal, batch.history).h
        states = torch.cat([first[:, None], imagined.detach()], 1)  # (B, L + 1, S, d)
        x = model.with_goal(model.features(states[rows, k]), batch.goal)
        after = model.observed(batch.seen[rows, k + 1], states[rows, k + 1])
        x_after = model.with_goal(model.features(after), batch.goal)
        noise = torch.randn(batch.action[:, 0].shape, generator=generator).to(x) * settings.target_noise
        action_after = (actor_critic.act(x_after) + noise.clamp(-0.5, 0.5)).clamp(-1, 1)
        goes_on = actor_critic.config.discount * (1 - batch.terminated[rows, k])
        target = batch.reward[rows, k] + goes_on * actor_critic.target(x_after, action_after, generator)
        weight = batch.mask[rows, k] / batch.mask[rows, k].sum().clamp_min(1)
    action = batch.action[rows, k]
    q = actor_critic.q(x, action)
    critic = ((q - target).square().sum(0) * weight).sum()
    raw = actor_critic.raw_action(x)
    chosen = torch.tanh(raw)
    gain = actor_critic.q(x, chosen, trained=False).mean(0)
    scale = (target.abs() * weight).sum().clamp_min(1e-6)
    distance = (chosen - action).square().mean(-1)
    actor = ((settings.imitation * distance + CALM * raw.square().mean(-1) - gain / scale) * weight).sum()
    terms = {"critic": critic, "actor": actor, "value": (q.mean(0) * weight).sum()}
    return critic + actor, {name: value.detach() for name, value in terms.items()}
