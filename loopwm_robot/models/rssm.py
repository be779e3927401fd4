"""A recurrent state-space model in the manner of DreamerV3 (arXiv 2301.04104): the peer with a stochastic latent state.

    sequence model  h_k = GRU(h_{k-1}, z_{k-1}, a_{k-1})
    posterior       z_k ~ q(z_k | h_k, E(o_k))         prior  z_k ~ p(z_k | h_k)
    decoder, heads  o^_k, r^_k, c^_k from [h_k, z_k]
    loss            reconstruction + beta_dyn max(1, KL[sg(q) | p]) + beta_rep max(1, KL[q | sg(p)])

z is a vector of categoricals, 1 % of each mixed with the uniform distribution, with straight-through gradients. In
training every observation is shown, as in Dreamer: the reconstruction is that of the posterior, and the prior, which
imagination uses, learns from the KL alone. The KL terms are divided by n_obs, since the error of an observation is a
mean here and a sum there (without it errors on PandaReach are 12 to 35 % larger).

Where it differs: inputs are scaled by their statistics instead of symlog; the heads are those that all models here
share; the state before a sequence is filtered from `context` transitions of history instead of from the start of the
episode; and imagination carries the probabilities of z instead of a sample, so that a planner scores a plan twice
alike. On PandaReach they err less than the most probable class: after 600 updates (one seed) the normalised error is
0.34, 0.42 and 0.53 at 1, 5 and 10 steps against 0.34, 0.49 and 0.66.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..types import History, LatentState, LoopInfo, Obs, SequenceBatch
from .dynamics import DynamicsModel, Unroll, Unrolled
from .mlp import MLP, check_ranges

UNIMIX = 0.01
"""Share of the uniform distribution in each categorical (section "World model learning" of the paper)."""


@dataclass(frozen=True)
class RSSMConfig:
    """Settings of the RSSM.

    Attributes:
        deterministic: width of the GRU state.
        categoricals: categorical variables of the stochastic state.
        classes: of each of them, at least 2.
        hidden: width of the hidden layers.
        layers: hidden layers of encoder and decoder, at least 1.
        context: transitions of history that are filtered before the first action, at least 0.
        kl_dyn: weight of the KL that trains the prior (0.5 in DreamerV3), at least 0.
        kl_rep: weight of the KL that keeps the posterior predictable (0.1 there), at least 0.
        free_nats: KL below which neither has an effect [nat] (1 there), at least 0.
    """

    deterministic: int = 128
    categoricals: int = 16
    classes: int = 8
    hidden: int = 128
    layers: int = 2
    context: int = 4
    kl_dyn: float = 0.5
    kl_rep: float = 0.1
    free_nats: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(
            "model.rssm",
            self,
            ("deterministic", 1, 8192),
            ("categoricals", 1, 1024),
            ("classes", 2, 1024),
            ("hidden", 1, 8192),
            ("layers", 1, 16),
            ("context", 0, 1024),
            ("kl_dyn", 0, 1e6),
            ("kl_rep", 0, 1e6),
            ("free_nats", 0, 1e6),
        )


class RSSM(DynamicsModel):
    """The model; the state is [h, z], (B, 1, deterministic + categoricals * classes).

    Args: see DynamicsModel; config: its settings.
    """

    def __init__(self, n_obs: int, nu: int, n_goal: int, ctrl_dt: float, config: RSSMConfig | None = None) -> None:
        c = config or RSSMConfig()
        stochastic = c.categoricals * c.classes
        width = c.deterministic + stochastic
        super().__init__(n_obs, nu, n_goal, ctrl_dt, width, c.hidden)
        self.config, self.context = c, c.context
        self.encoder = MLP(n_obs, c.hidden, c.hidden, c.layers, nn.SiLU)
        self.mixer = MLP(stochastic + nu, c.deterministic, c.hidden, 1, nn.SiLU)
        self.cell = LayerNormGRU(c.deterministic, c.deterministic)
        self.prior_head = MLP(c.deterministic, stochastic, c.hidden, 1, nn.SiLU)
        self.posterior_head = MLP(c.deterministic + c.hidden, stochastic, c.hidden, 1, nn.SiLU)
        self.decoder = MLP(width, n_obs, c.hidden, c.layers, nn.SiLU)
        self.initial = nn.Parameter(torch.zeros(c.deterministic))

    def encode(self, obs: Obs, goal: Tensor | None = None, history: History | None = None) -> LatentState:
        """State before the first action: the history, then obs, filtered from a learned start; see DynamicsModel."""
        obs = self.numbers(obs)
        det = self._filtered(obs, history)
        h = torch.cat([det, self._settled(self.posterior(det, obs))], dim=-1)
        return LatentState(h.unsqueeze(1), goal)

    def step(self, state: LatentState, action: Tensor) -> tuple[LatentState, LoopInfo]:
        """One transition under the prior; a chunk is imagined one control step after the other."""
        det, stoch = state.h.squeeze(1).split([self.config.deterministic, self.stochastic], dim=-1)
        for a in action.reshape(len(action), -1, self.nu).unbind(1):
            det = self._advance(det, stoch, a)
            stoch = self._settled(self.prior(det))
        h = torch.cat([det, stoch], dim=-1)
        return LatentState(h.unsqueeze(1), state.goal), LoopInfo.fixed(len(h), 1, h.device)

    def decode_normalised(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Observation after h in normalised units: (..., 1, width) -> (..., n)."""
        return self.decoder(h.squeeze(-2), columns)

    def unroll(self, batch: SequenceBatch, how: Unroll, generator: torch.Generator) -> Unrolled:
        """Filter a batch as Dreamer does: every observation is shown, whatever `how.observe_prob`.

        The states are those of the posterior after each transition; the KL of a chunk is the mean over its steps.
        """
        c = self.config
        det = self._filtered(batch.obs[:, 0], batch.history)
        stoch = self._sample(self.posterior(det, batch.obs[:, 0]), generator)
        states, dyn, rep = [], [], []
        for k in range(batch.action.shape[1]):
            det = self._advance(det, stoch, batch.action[:, k])
            prior, posterior = self.prior(det), self.posterior(det, batch.obs[:, k + 1])
            dyn.append(categorical_kl(posterior.detach(), prior))
            rep.append(categorical_kl(posterior, prior.detach()))
            stoch = self._sample(posterior, generator)
            states.append(torch.cat([det, stoch], -1).unsqueeze(1))
        h = torch.stack(states, 1)[:, how.chunk - 1 :: how.chunk]  # (B, K, 1, width)
        extra = {
            name: weight / self.n_obs * torch.stack(kl, 1).clamp_min(c.free_nats).unflatten(1, (-1, how.chunk)).mean(-1)
            for name, weight, kl in (("kl_dyn", c.kl_dyn, dyn), ("kl_rep", c.kl_rep, rep))
        }
        return Unrolled(h, extra=extra)

    def prior(self, det: Tensor) -> Tensor:
        """log p(z | h): (..., deterministic) -> (..., categoricals, classes)."""
        return self._log_probs(self.prior_head(det))

    def posterior(self, det: Tensor, obs: Tensor) -> Tensor:
        """log q(z | h, o): (..., deterministic) and (..., n_obs), physical units -> (..., categoricals, classes)."""
        embedding = nn.functional.silu(self.encoder(self.obs_normalizer(obs)))
        return self._log_probs(self.posterior_head(torch.cat([det, embedding], dim=-1)))

    @property
    def stochastic(self) -> int:
        """Numbers in z."""
        return self.config.categoricals * self.config.classes

    # -- inside ------------------------------------------------------------

    def _filtered(self, obs: Tensor, history: History | None) -> Tensor:
        """GRU state (B, deterministic) before obs: the learned start, taken through the transitions that happened."""
        det = torch.tanh(self.initial).expand(len(obs), -1)
        if history is None:
            return det
        for k in range(history.obs.shape[1]):
            stoch = self._settled(self.posterior(det, history.obs[:, k]))
            moved = self._advance(det, stoch, history.action[:, k])
            det = torch.where(history.mask[:, k, None] > 0, moved, det)
        return det

    def _advance(self, det: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        return self.cell(nn.functional.silu(self.mixer(torch.cat([stoch, action], dim=-1))), det)

    def _log_probs(self, logits: Tensor) -> Tensor:
        probs = logits.unflatten(-1, (self.config.categoricals, self.config.classes)).softmax(-1)
        return ((1 - UNIMIX) * probs + UNIMIX / self.config.classes).log()

    def _settled(self, log_probs: Tensor) -> Tensor:
        """z of imagination and filtering (..., stochastic): the probabilities, the mean of the samples."""
        return log_probs.exp().flatten(-2)

    def _sample(self, log_probs: Tensor, generator: torch.Generator) -> Tensor:
        """z of training (..., stochastic): a one-hot sample whose gradient is that of the probabilities."""
        probs = log_probs.exp()
        draw = torch.rand(probs.shape[:-1], generator=generator).to(probs)
        index = (probs.cumsum(-1) < draw.unsqueeze(-1)).sum(-1).clamp_max(self.config.classes - 1)
        return (one_hot(index, probs) + probs - probs.detach()).flatten(-2)


class LayerNormGRU(nn.Module):
    """A GRU cell with one LayerNorm on all gates and an update gate that starts mostly closed.

    Args:
        n_in: features in.
        n: width of the state.
    """

    def __init__(self, n_in: int, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in + n, 3 * n, bias=False)
        self.norm = nn.LayerNorm(3 * n)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x (..., n_in), h (..., n) -> new h (..., n)."""
        reset, candidate, update = self.norm(self.linear(torch.cat([x, h], dim=-1))).chunk(3, dim=-1)
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(h, candidate, (update - 1).sigmoid())


def categorical_kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL[q | p] of independent categoricals [nat]: log probabilities (..., categoricals, classes) -> (...)."""
    return (log_q.exp() * (log_q - log_p)).sum(dim=(-2, -1))


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """One-hot vectors (..., classes) of the type and width of `like`."""
    return torch.zeros_like(like).scatter_(-1, index.unsqueeze(-1), 1.0)
