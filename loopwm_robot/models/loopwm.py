"""LoopWM: one shared block, looped over a latent state. Read beside the paper, arXiv 2606.18208, section 3.

    encoder            e_k = E(o_k)                                   (encoders.py)
    action embedder    u_k = A(a_k)
    core               h_k = L(h_{k-1}, e_k, u_k); e_k = 0 in imagination
      prelude          e = LayerNorm(P [h_{k-1}; e_k; u_k])                                       (eq 4)
      recurrent block  h(t+1) = Abar h(t) + Bbar B e + R(h(t), e), t = 0..T-1, h(0) = h_{k-1}     (eq 5)
      retention        Abar = exp(-Delta exp(a)), in (0, 1) channel by channel                    (eq 6, 7)
      coda             h_k = C(W h(T))                                                            (eq 8)
    heads              o^_{k+1}, r^_k, c^_k = D(h_k)                  (heads.py)
    exit gate          g(t) = sigmoid(w . h(t) + b), stop when g(t) > tau                         (eq 12)

Our choices where the paper leaves room (docs/loopwm.md): the model starts as the identity (zero output
layers in R, identity W, Abar near 1), Bbar is the exact zero-order-hold gain, h_k is RMS-normalised between control
steps, e enters the input of R in every loop and is attended to as well, and the state before the first step is the
normalised embedding of the first observation rather than noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import LatentState, LoopInfo
from .encoders import Normalizer, VectorEncoder
from .heads import Head
from .loop_control import ExitRule, FixedDepth, run_sampled


class Conditioning(NamedTuple):
    """What stays the same through the loops of one transition."""

    e: Tensor  # (B, S, d) normalised output of the prelude
    inject: Tensor  # (B, S, d) Bbar B e
    key: Tensor  # (B, S, d) attention key of e
    value: Tensor  # (B, S, d) attention value of e
    retention: Tensor  # (d,) Abar

    def select(self, rows: Tensor | slice) -> Conditioning:
        """Narrow to some samples."""
        return Conditioning(self.e[rows], self.inject[rows], self.key[rows], self.value[rows], self.retention)


class Prelude(nn.Module):
    """e = LayerNorm(P [h_{k-1}; e_k; u_k]) (eq 4). P is split in its three column blocks; S tokens share it."""

    def __init__(self, tokens: int, d: int) -> None:
        super().__init__()
        self.from_state = nn.Linear(d, d, bias=False)
        self.from_observation = nn.Linear(d, d, bias=False)
        self.from_action = nn.Linear(d, d, bias=False)
        self.token_bias = nn.Parameter(torch.randn(tokens, d) * 0.02)
        self.norm = nn.LayerNorm(d)

    def forward(self, h: Tensor, u: Tensor, embedding: Tensor | None) -> Tensor:
        """h (B, S, d), u (B, d), embedding (B, S, d) or None in imagination -> e (B, S, d)."""
        mixed = self.from_state(h) + self.from_action(u).unsqueeze(1) + self.token_bias
        if embedding is not None:
            mixed = mixed + self.from_observation(embedding)
        normed: Tensor = self.norm(mixed)
        return normed


class RecurrentBlock(nn.Module):
    """h(t+1) = Abar h(t) + Bbar B e + R(h(t), e) with shared parameters (eq 5 to 7).

    R is attention of the S state tokens over themselves and the S tokens of e, then a feed-forward layer.
    """

    def __init__(self, d: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"model.latent_dim is {d}, allowed multiples of model.heads = {heads}; change one of them")
        self.heads = heads
        hidden = int(d * mlp_ratio)
        rate = torch.empty(d).uniform_(math.log(1e-3), math.log(5e-2)).exp()  # Delta exp(a): Abar 0.95 to 0.999
        self.log_a = nn.Parameter(torch.zeros(d))
        self.log_delta = nn.Parameter(rate.log())
        self.b = nn.Linear(d, d, bias=False)
        nn.init.eye_(self.b.weight)
        self.norm_attention = nn.LayerNorm(d)
        self.query_key_value = nn.Linear(d, 3 * d, bias=False)  # one product instead of three
        self.out = nn.Linear(d, d, bias=False)
        self.norm_mlp = nn.LayerNorm(d)
        self.up = nn.Linear(d, hidden)
        self.down = nn.Linear(hidden, d)
        for layer in (self.out, self.down):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.down.bias)

    def discretise(self) -> tuple[Tensor, Tensor]:
        """Retention Abar and zero-order-hold gain A^-1 (Abar - 1), both (d,), for A = -exp(a) and step Delta.

        The rate Delta exp(a) is kept in [1e-6, 20], so Abar stays strictly inside (0, 1) in float32 whatever the
        parameters are.
        """
        rate = (self.log_delta + self.log_a).clamp(math.log(1e-6), math.log(20.0)).exp()
        return torch.exp(-rate), -torch.expm1(-rate) * torch.exp(-self.log_a.clamp(-20, 20))

    def condition(self, e: Tensor) -> Conditioning:
        """Everything that the loops of one transition share; e (B, S, d)."""
        retention, gain = self.discretise()
        key, value = F.linear(e, self.query_key_value.weight[e.shape[-1] :]).chunk(2, dim=-1)
        return Conditioning(e, gain * self.b(e), key, value, retention)

    def forward(self, h: Tensor, c: Conditioning) -> Tensor:
        """One loop: h (B, S, d) -> h (B, S, d)."""
        x = h + c.e
        attended = self.attend(self.norm_attention(x), c)
        fed_forward = self.down(F.silu(self.up(self.norm_mlp(x + attended))))
        return torch.addcmul(c.inject, c.retention, h) + attended + fed_forward

    def attend(self, x: Tensor, c: Conditioning) -> Tensor:
        """Each state token attends to all state tokens and to all conditioning tokens; x (B, S, d)."""
        batch, tokens, d = x.shape
        split = (batch, -1, self.heads, d // self.heads)
        q, k, v = self.query_key_value(x).chunk(3, dim=-1)
        if tokens == 1:  # two keys: their softmax is a sigmoid of the score difference
            difference = (q * (k - c.key)).view(split).sum(-1, keepdim=True)  # (B, 1, heads, 1)
            share = torch.sigmoid(difference / math.sqrt(split[3]))
            mixed = torch.lerp(c.value.reshape(split), v.reshape(split), share).reshape(batch, 1, d)
        else:
            keys = torch.cat([k, c.key], dim=1).view(split).transpose(1, 2)  # (B, heads, 2S, d/heads)
            values = torch.cat([v, c.value], dim=1).view(split).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q.view(split).transpose(1, 2), keys, values)
            mixed = mixed.transpose(1, 2).reshape(batch, tokens, d)
        attended: Tensor = self.out(mixed)
        return attended


class Coda(nn.Module):
    """h_k = C(W h(T)) (eq 8): W starts as the identity, C adds a residual layer that starts at zero."""

    def __init__(self, d: int, mlp_ratio: float) -> None:
        super().__init__()
        self.project = nn.Linear(d, d, bias=False)
        nn.init.eye_(self.project.weight)
        self.norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, int(d * mlp_ratio))
        self.down = nn.Linear(int(d * mlp_ratio), d)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, h: Tensor) -> Tensor:
        w = self.project(h)
        return rms_normalise(w + self.down(F.silu(self.up(self.norm(w)))))


def rms_normalise(h: Tensor) -> Tensor:
    """Scale each token to unit root mean square, so that a state of any age has the same size."""
    return F.rms_norm(h, h.shape[-1:], eps=1e-6)


@dataclass(frozen=True)
class LatentTrajectory:
    """H imagined latent states of N candidates; decoded late, and only as far as asked."""

    model: LoopWM
    h: Tensor  # (N, H, S, d)
    goal: Tensor | None  # (N or 1, n_goal)
    loops: Tensor  # (N, H) int64

    def observations(self, columns: slice | None = None) -> Tensor:
        """Predicted observations after each action (N, H, n) in physical units."""
        return self.model.decode(self.h, columns)

    def rewards(self) -> Tensor:
        """Predicted rewards (N, H)."""
        return self.model.reward(self.h, self.goal)


class LoopWM(nn.Module):
    """The world model: encode an observation, step it with actions, decode what will be seen.

    Args:
        n_obs: numbers in an observation.
        nu: action dimensions.
        n_goal: numbers in a goal; 0 where the task has none. Only the reward head sees the goal.
        ctrl_dt: duration of one action [s].
        latent_dim, tokens, heads, mlp_ratio: size of the core: S tokens of width d.
        mean_loops: mean mu of the training depth; backpropagation is truncated to its last ceil(mu / 2) loops.
        max_loops: largest depth in training.
    """

    def __init__(
        self,
        n_obs: int,
        nu: int,
        n_goal: int,
        ctrl_dt: float,
        *,
        latent_dim: int = 128,
        tokens: int = 1,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        mean_loops: float = 3.0,
        max_loops: int = 12,
    ) -> None:
        super().__init__()
        d = latent_dim
        self.n_obs, self._nu, self.n_goal, self._ctrl_dt = n_obs, nu, n_goal, ctrl_dt
        self.tokens, self.latent_dim, self.mean_loops, self.max_loops = tokens, d, mean_loops, max_loops
        self.exit_rule: ExitRule = FixedDepth(max(1, round(mean_loops)))
        self.obs_normalizer = Normalizer(n_obs)
        self.goal_normalizer = Normalizer(n_goal)
        self.encoder = VectorEncoder(n_obs, tokens, d)
        self.action_embedder = nn.Linear(nu, d)
        self.prelude = Prelude(tokens, d)
        self.block = RecurrentBlock(d, heads, mlp_ratio)
        self.coda = Coda(d, mlp_ratio)
        self.obs_head = Head(tokens * d, n_obs, hidden=d)
        self.reward_head = Head(tokens * d + n_goal, 1, hidden=d)
        self.continue_head = Head(tokens * d, 1, hidden=d)
        self.gate = nn.Linear(tokens * d, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    @property
    def nu(self) -> int:
        """Number of action dimensions."""
        return self._nu

    @property
    def ctrl_dt(self) -> float:
        """Duration of one action [s]."""
        return self._ctrl_dt

    @property
    def grad_loops(self) -> int:
        """Loops that gradients flow through: the last ceil(mu / 2)."""
        return math.ceil(self.mean_loops / 2)

    def encode(self, obs: Tensor, goal: Tensor | None = None) -> LatentState:
        """State before the first action: the RMS-normalised embedding of obs (B, n_obs), physical units."""
        return LatentState(self.embed(obs), goal)

    def embed(self, obs: Tensor) -> Tensor:
        """e_k = E(o_k), each token of unit RMS: obs (..., n_obs) -> (..., S, d)."""
        return rms_normalise(self.encoder(self.obs_normalizer(obs)))

    def step(
        self,
        state: LatentState,
        action: Tensor,
        embedding: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> tuple[LatentState, LoopInfo]:
        """One transition h_{k-1} -> h_k.

        Args:
            state: h_{k-1}, B samples.
            action: a_k (B, nu), each in [-1, 1].
            embedding: E(o_k) (B, S, d) where the observation is known; None in imagination (e_k = 0).
            depths: loop count of each sample (B,) in training; None applies `exit_rule`.

        Returns:
            h_k and what the loop did.
        """
        conditioning = self.block.condition(self.prelude(state.h, self.action_embedder(action), embedding))
        if depths is None:
            h, info = self.exit_rule.run(self.block, state.h, conditioning)
        else:
            h = run_sampled(self.block, state.h, conditioning, depths, self.grad_loops)
            info = LoopInfo.sampled(depths)
        return LatentState(self.coda(h), state.goal), info

    def gate_logit(self, h: Tensor) -> Tensor:
        """Exit gate w . h(t) + b: logit of "one more loop would not help" (eq 12), (B, S, d) -> (B,)."""
        return self.gate(h.flatten(-2)).squeeze(-1)

    def depths(self, state: LatentState, action: Tensor, max_loops: int) -> tuple[Tensor, Tensor]:
        """All intermediate states of one transition.

        Args:
            state: h_{k-1}, B samples.
            action: a_k (B, nu).
            max_loops: depth T to go to.

        Returns:
            h(1..T) inside the loop (B, T, S, d), and what the coda makes of each (B, T, S, d).
        """
        conditioning = self.block.condition(self.prelude(state.h, self.action_embedder(action), None))
        h, inner = state.h, []
        for _ in range(max_loops):
            h = self.block(h, conditioning)
            inner.append(h)
        stacked = torch.stack(inner, 1)
        return stacked, self.coda(stacked)

    def rollout(self, state: LatentState, actions: Tensor) -> LatentTrajectory:
        """Imagine action sequences (N, H, nu) from one state (or N states); nothing is decoded yet."""
        if len(state.h) != len(actions):
            state = state.expand(len(actions))
        states, loops = [], []
        for k in range(actions.shape[1]):
            state, info = self.step(state, actions[:, k])
            states.append(state.h)
            loops.append(info.num_loops)
        return LatentTrajectory(self, torch.stack(states, 1), state.goal, torch.stack(loops, 1))

    def decode(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Observation after h: (..., S, d) -> (..., n) in physical units, all numbers or those of `columns`."""
        return self.obs_normalizer.inverse(self.obs_head(h.flatten(-2), columns), columns)

    def reward(self, h: Tensor, goal: Tensor | None) -> Tensor:
        """Predicted reward of the transitions that led to h (B, H, S, d); goal (B or 1, n_goal) -> (B, H)."""
        features = h.flatten(-2)
        if self.n_goal:
            if goal is None:
                raise ValueError(f"the state has no goal, allowed {self.n_goal} numbers; pass goal to encode()")
            g = self.goal_normalizer(goal).unsqueeze(1).expand(*features.shape[:-1], -1)
            features = torch.cat([features, g], dim=-1)
        return self.reward_head(features).squeeze(-1)

    def continue_logit(self, h: Tensor) -> Tensor:
        """Logit of "the episode goes on after this transition": (..., S, d) -> (...)."""
        return self.continue_head(h.flatten(-2)).squeeze(-1)
