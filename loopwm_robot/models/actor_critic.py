"""A policy and a value beside a dynamics model: what to do in a latent state, and what comes after it.

Twin critics and a deterministic policy in the manner of TD3 (Fujimoto et al. 2018, arXiv 1802.09477), on the features
of the latent state and the goal. The planner takes the policy's action sequences among its candidates and the value of
the last imagined state into its score, as TD-MPC2 does (Hansen et al. 2024, arXiv 2310.16828).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ActorCriticConfig:
    """A policy and a value that are learned with the model.

    Attributes:
        enabled: learn them.
        hidden: width of the two hidden layers, at least 1.
        critics: independent estimates of the value, at least 2; targets take the lower of two.
        discount: of later rewards, in (0, 1); plan with the same.
    """

    enabled: bool = False
    hidden: int = 256
    critics: int = 2
    discount: float = 0.95

    def __post_init__(self) -> None:
        for name, low, high in (
            ("hidden", 1, 8192),
            ("critics", 2, 64),
            ("discount", 1e-6, math.nextafter(1, 0)),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"model.actor_critic.{name} is {value}, allowed [{low:g}, {high:g}]")


class Stack(nn.Module):
    """E multilayer perceptrons of the same size, evaluated together; hidden layers are normalised.

    Args:
        members: E.
        sizes: widths from input to output.
    """

    def __init__(self, members: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            scale = 0.0 if i == len(sizes) - 2 else 1 / math.sqrt(n_in)
            self.weights.append(nn.Parameter(torch.randn(members, n_in, n_out) * scale))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, n_out)))

    def forward(self, x: Tensor, trained: bool = True) -> Tensor:
        """x (B, n_in) -> (E, B, n_out).

        Args:
            x: input of every member.
            trained: gradients reach the parameters, and not only x.
        """
        layers = list(zip(self.weights, self.biases, strict=True))
        h = x.expand(len(self.weights[0]), *x.shape)
        for i, (weight, bias) in enumerate(layers):
            w, b = (weight, bias) if trained else (weight.detach(), bias.detach())
            h = torch.baddbmm(b, h, w)
            if i + 1 < len(layers):
                h = F.silu(F.layer_norm(h, h.shape[-1:]))
        return h


class ActorCritic(nn.Module):
    """Policy pi(x) and values Q(x, a) of an input x: features of a latent state, and the goal.

    Args:
        n_in: numbers in x.
        nu: action dimensions.
        config: sizes.
    """

    def __init__(self, n_in: int, nu: int, config: ActorCriticConfig) -> None:
        super().__init__()
        self.config = config
        hidden = (config.hidden, config.hidden)
        self.actor = Stack(1, (n_in, *hidden, nu))
        self.critics = Stack(config.critics, (n_in + nu, *hidden, 1))
        self.targets = Stack(config.critics, (n_in + nu, *hidden, 1)).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())

    def act(self, x: Tensor) -> Tensor:
        """Actions (B, nu) in (-1, 1) for inputs (B, n_in)."""
        return torch.tanh(self.raw_action(x))

    def raw_action(self, x: Tensor) -> Tensor:
        """Actions before they are squashed (B, nu)."""
        return self.actor(x)[0]

    def q(self, x: Tensor, action: Tensor, trained: bool = True) -> Tensor:
        """What each critic expects of action (B, nu) at x (B, n_in): discounted rewards from here on (E, B)."""
        return self.critics(torch.cat([x, action], -1), trained).squeeze(-1)

    def value(self, x: Tensor) -> Tensor:
        """What the policy is expected to earn from x (B, n_in) on: the mean of the critics (B,)."""
        return self.q(x, self.act(x)).mean(0)

    @torch.no_grad()
    def target(self, x: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        """The lower of two slowly averaged critics (B,), which the generator draws anew where there are more."""
        q = self.targets(torch.cat([x, action], -1)).squeeze(-1)
        if len(q) > 2:
            q = q[torch.randperm(len(q), generator=generator)[:2].to(q.device)]
        return q.amin(0)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the slow critics by a share of their distance to the critics."""
        for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            slow.lerp_(fast, rate)
