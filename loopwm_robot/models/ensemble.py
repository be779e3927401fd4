"""A probabilistic ensemble in the manner of PETS (arXiv 1805.12114): the peer without a latent space.

    member m     change of the observation ~ N(mu_m(o, a), diag sigma_m(o, a)^2), in units of its deviation in the data
    loss         negative log likelihood of single transitions, each member on its own bootstrap sample of the data
    propagation  each particle stays with its member (TS-infinity); here it moves by the mean: plans are reproducible

The state is the observation itself, one for each member: what is decoded is their mean, their spread says how unsure
they are. The reward and continuation heads see that mean; the members learn nothing from them, as in PETS, where the
reward is known. No position weight applies: the likelihood weighs each number by its own predicted variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..types import History, LatentState, LoopInfo, Obs, SequenceBatch
from .dynamics import DynamicsModel, LatentTrajectory, Unroll, Unrolled
from .mlp import check_ranges
from .tokens import GroupedLinear

BOUND_PENALTY = 0.01
"""Weight of the width of the log-variance bounds (appendix A.1 of the paper)."""


@dataclass(frozen=True)
class EnsembleConfig:
    """Settings of the ensemble.

    Attributes:
        members: networks M, at least 1.
        hidden: width of the hidden layers.
        layers: how many of them, at least 1.
        sample: move each particle by a sample of its member's distribution instead of the mean.
    """

    members: int = 5
    hidden: int = 200
    layers: int = 3
    sample: bool = False

    def __post_init__(self) -> None:
        check_ranges("model.ensemble", self, ("members", 1, 256), ("hidden", 1, 8192), ("layers", 1, 16))


class MemberTrajectories(LatentTrajectory):
    """Trajectories of all members; read as one they are their mean."""

    def members(self) -> list[LatentTrajectory]:
        """What each member imagines."""
        alone = self.h.split(1, dim=-2)  # the mean of one member is what it says
        return [LatentTrajectory(self.model, h, self.goal, self.loops) for h in alone]

    def terminal(self) -> MemberTrajectories:
        """Only the last states."""
        return MemberTrajectories(self.model, self.h[:, -1:], self.goal, self.loops[:, -1:])


class Ensemble(DynamicsModel):
    """The model; the state h is the normalised observation of each member, (B, M, n_obs).

    Args: see DynamicsModel; config: its settings.
    """

    def __init__(self, n_obs: int, nu: int, n_goal: int, ctrl_dt: float, config: EnsembleConfig | None = None) -> None:
        c = config or EnsembleConfig()
        super().__init__(n_obs, nu, n_goal, ctrl_dt, n_obs, c.hidden)
        self.config = c
        widths = [n_obs + nu, *[c.hidden] * c.layers]
        self.layers = nn.ModuleList(GroupedLinear(c.members, a, b) for a, b in pairwise(widths))
        self.out = GroupedLinear(c.members, c.hidden, 2 * n_obs)
        self.min_log_var = nn.Parameter(torch.full((n_obs,), -10.0))
        self.max_log_var = nn.Parameter(torch.full((n_obs,), 0.5))
        self.noise = torch.Generator().manual_seed(0)
        """Source of the samples where `config.sample`; seed it again to repeat them."""

    def encode(self, obs: Obs, goal: Tensor | None = None, history: History | None = None) -> LatentState:
        """State before the first action: all members start at obs; see DynamicsModel."""
        obs = self.numbers(obs)
        return LatentState(self.obs_normalizer(obs).unsqueeze(1).expand(-1, self.config.members, -1), goal)

    def step(self, state: LatentState, action: Tensor) -> tuple[LatentState, LoopInfo]:
        """One transition of every member's particle; a chunk is imagined one control step after the other."""
        h = state.h
        for a in action.reshape(len(action), -1, self.nu).unbind(1):
            mean, log_var = self.change(h, a)
            if self.config.sample:
                noise = torch.randn(mean.shape, generator=self.noise).to(mean)
                mean = mean + noise * (0.5 * log_var).exp()
            h = self._moved(h, mean)
        return LatentState(h, state.goal), LoopInfo.fixed(len(h), 1, h.device)

    def rollout(self, state: LatentState, actions: Tensor, chunk: int = 1) -> MemberTrajectories:
        """Imagine action sequences with every member; see DynamicsModel."""
        imagined = super().rollout(state, actions, chunk)
        return MemberTrajectories(self, imagined.h, imagined.goal, imagined.loops)

    def decode_normalised(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Mean observation of the members in normalised units: (..., M, n_obs) -> (..., n)."""
        return (h if columns is None else h[..., columns]).mean(-2)

    def features(self, h: Tensor) -> Tensor:
        """What the heads see: the mean over the members, (..., M, n_obs) -> (..., n_obs)."""
        return h.mean(-2)

    def disagreement(self, h: Tensor) -> Tensor:
        """Deviation between the members, in units of the data's deviation: (..., M, n_obs) -> (..., n_obs)."""
        return h.std(-2, correction=0)

    def change(self, h: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Distribution of the change of the observation in one control step, in units of `delta_normalizer`.

        Args:
            h: normalised observations (..., M, n_obs), or (..., 1, n_obs) that all members share.
            action: (..., nu).

        Returns:
            mean and log variance of each member (..., M, n_obs).
        """
        x = torch.cat([h, action.unsqueeze(-2).expand(*h.shape[:-1], -1)], dim=-1)
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        mean, raw = self.out(x).chunk(2, dim=-1)
        low = self.max_log_var - nn.functional.softplus(self.max_log_var - raw)
        return mean, self.min_log_var + nn.functional.softplus(low - self.min_log_var)

    def nll(self, obs: Tensor, action: Tensor, following: Tensor) -> Tensor:
        """Negative log likelihood of transitions, mean over the numbers of an observation [nat].

        Args:
            obs, following: before and after the transitions (..., n_obs), physical units.
            action: (..., nu).

        Returns:
            of each member (..., M).
        """
        return self._nll(*self.change(self.obs_normalizer(obs).unsqueeze(-2), action), obs, following)

    def unroll(self, batch: SequenceBatch, how: Unroll, generator: torch.Generator) -> Unrolled:
        """Single steps from the true observations, whatever `how.observe_prob`.

        The state after a chunk is that after its last step; its error is the mean over its steps.
        """
        before, after = batch.obs[:, :-1], batch.obs[:, 1:]
        h = self.obs_normalizer(before).unsqueeze(-2)
        mean, log_var = self.change(h, batch.action)  # (B, L, M, n_obs)
        weight = bootstrap_weights(before, batch.action, self.config.members).to(mean)
        error = (weight * self._nll(mean, log_var, before, after)).mean(-1)
        bounds = BOUND_PENALTY * (self.max_log_var - self.min_log_var).mean()
        states = self._moved(h, mean.detach())[:, how.chunk - 1 :: how.chunk]
        error = error.unflatten(1, (-1, how.chunk)).mean(-1)
        return Unrolled(states, obs_error=error, extra={"bounds": bounds.expand_as(error)})

    # -- inside ------------------------------------------------------------

    def _nll(self, mean: Tensor, log_var: Tensor, obs: Tensor, following: Tensor) -> Tensor:
        target = self.delta_normalizer(following - obs).unsqueeze(-2)
        return 0.5 * ((target - mean).square() * (-log_var).exp() + log_var + math.log(2 * math.pi)).mean(-1)

    def _moved(self, h: Tensor, change: Tensor) -> Tensor:
        """Normalised observations after a change in units of `delta_normalizer`."""
        return h + self.delta_normalizer.inverse(change) / self.obs_normalizer.std


def bootstrap_weights(obs: Tensor, action: Tensor, members: int) -> Tensor:
    """How often each member's bootstrap sample holds a transition: Poisson(1), the limit of drawing with replacement.

    A weight is a hash of the transition's own bits: it stays when the transition is drawn again, so that a member never
    sees what its sample lacks, and the data need no labels.

    Args:
        obs: (..., n_obs).
        action: (..., nu).
        members: M.

    Returns:
        (..., M) int64.
    """
    bits = torch.cat([obs, action], dim=-1).float().contiguous().view(torch.int32).long()
    state = torch.arange(1, members + 1, device=bits.device).expand(*bits.shape[:-1], -1)
    for number in bits.unbind(-1):
        state = _mix(state ^ number.unsqueeze(-1))
    uniform = (_mix(state) & 0x7FFFFFFF).double() / 2**31
    cdf = torch.tensor([math.exp(-1) * sum(1 / math.factorial(i) for i in range(k + 1)) for k in range(8)])
    return torch.bucketize(uniform, cdf.to(uniform), right=True)


def _mix(x: Tensor) -> Tensor:
    """Scatter the bits of 64-bit integers: the finaliser of SplitMix64; the masks make the shifts logical."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)
