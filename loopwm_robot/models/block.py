"""The parts of the looped core: prelude, recurrent block with stable retention, coda (arXiv 2606.18208, eq 4 to 8).

Three forms of the loop share their parameters; h- is the state before the transition, Delta the step of each channel, s
the length of a loop in control steps:

    paper            h <- Abar h + Bbar B e + Delta R(h, e)
                     each loop is a step of its own (eq 5)
    step_consistent  h <- Abar^s h + Bbar_s B e + s Delta R(h, e),  s = m / T
                     T loops integrate one interval of m steps
    implicit         h <- c h + (1 - c) (Abar h- + Bbar B e + Delta R(h, e))
                     a damped iteration whose fixed point is the implicit step h = Abar h- + Bbar B e + Delta R(h, e)

R is bounded whatever h is: attention acts on normalised tokens, and the hidden layer of the feed-forward part is
normalised. With Abar < 1 the state is bounded as well (bounds.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .steady import Steady
from .tokens import GroupedLinear

FORMS = ("paper", "implicit", "step_consistent")
GAINS = ("zoh", "euler")
NORMS = ("hidden", "pre", "sandwich")

DELTA = 0.3
"""Initial step of channels about which nothing is known."""
DECAY = 0.01
"""Initial exp(a): a channel of step Delta forgets within 1 / (Delta DECAY) control steps."""
UNLIMITED = 1e6
"""Range of an observed channel before any data was seen."""
FEW = 64
"""Largest queries x keys for which attention is done elementwise."""
DAMPING = 0.5
"""Initial c of the implicit form: half of the way to the fixed point in each loop."""


@dataclass(frozen=True)
class Conditioning:
    """What drives the loops of one transition.

    Attributes:
        block: whose loops.
        start: state before the transition h- (B, S, d).
        e: normalised output of the prelude (B, S, d), or (B, T, S, d) where it differs from loop to loop.
        attended: the tokens behind key and value where they are not e.
        key, value: attention keys and values beside those of the state (B, M, d), or (B, T, M, d).
        bias: added to the attention scores of the M keys (B, 1, 1, M); None where all count.
        duration: control steps m that the loops cover together.
        driven: B e, shape of e.
        retention: Abar of one loop (S, d) or (B, S, d).
        inject: Bbar B e of one loop, shape of e.
        scale: Delta of one loop, shape of retention.
        anchor: Abar h- + Bbar B e of the implicit form; None in the others.
    """

    block: RecurrentBlock
    start: Tensor
    e: Tensor
    attended: Tensor | None
    key: Tensor
    value: Tensor
    bias: Tensor | None
    duration: float
    driven: Tensor
    retention: Tensor
    inject: Tensor
    scale: Tensor
    anchor: Tensor | None

    @property
    def per_loop(self) -> bool:
        """Whether e differs from loop to loop."""
        return self.e.ndim == 4

    def for_depth(self, loops: int | Tensor) -> Conditioning:
        """Prepare for a number of loops, one for all or (B,); only the form step_consistent depends on it."""
        if self.block.form != "step_consistent":
            return self
        step = self.duration / loops
        length = step.to(self.e).view(-1, 1, 1) if isinstance(step, Tensor) else step
        retention, gain, scale = self.block.discretise(length)
        if self.per_loop and gain.ndim == 3:
            gain = gain.unsqueeze(1)
        return replace(self, retention=retention, inject=gain * self.driven, scale=scale)

    def at(self, remaining: int) -> Conditioning:
        """The drive of the loop that is the `remaining`-th last."""
        if not self.per_loop:
            return self
        t = self.e.shape[1] - remaining
        return replace(self, e=self.e[:, t], inject=self.inject[:, t], key=self.key[:, t], value=self.value[:, t])

    def select(self, rows: Tensor | slice) -> Conditioning:
        """Narrow to some samples."""
        mine = ("start", "e", "attended", "key", "value", "bias", "driven", "inject", "anchor")
        channels = ("retention", "scale")  # the same for all samples, unless they differ in depth
        found: dict[str, Any] = {name: getattr(self, name) for name in (*mine, *channels)}
        for name, x in found.items():
            if x is not None and not (name in channels and x.ndim == 2):
                found[name] = x[rows]
        return replace(self, **found)


class Prelude(nn.Module):
    """e = LayerNorm(P [h_{k-1}; e_k; u_k]) (eq 4). P is split in its column blocks; all tokens share the first two."""

    def __init__(self, tokens: int, d: int) -> None:
        super().__init__()
        self.from_state = nn.Linear(d, d, bias=False)
        self.from_observation = nn.Linear(d, d, bias=False)
        self.from_action = GroupedLinear(tokens, d, d, bias=False)
        self.token_bias = nn.Parameter(torch.randn(tokens, d) * 0.02)
        self.norm = nn.LayerNorm(d)

    def forward(self, h: Tensor, u: Tensor, embedding: Tensor | None) -> Tensor:
        """Conditioning of a transition.

        Args:
            h: h_{k-1} (B, S, d).
            u: embedded action (B, d), or one for each loop (B, T, d).
            embedding: e_k (B, S, d); None in imagination (e_k = 0).

        Returns:
            e (B, S, d), or (B, T, S, d).
        """
        mixed = self.from_state(h) + self.token_bias
        if embedding is not None:
            mixed = mixed + self.from_observation(embedding)
        if u.ndim == 3:
            mixed = mixed.unsqueeze(1)
        normed: Tensor = self.norm(mixed + self.from_action(u.unsqueeze(-2)))
        return normed


class RecurrentBlock(Steady):
    """One loop with shared parameters (eq 5 to 7), in one of three forms (see the module).

    R is attention of the S state tokens over themselves and the conditioning tokens, then a feed-forward layer.

    Args:
        tokens: S.
        d: width of a token.
        heads: of the attention; they divide d.
        mlp_ratio: hidden width of the feed-forward layer in units of d.
        form: paper, implicit or step_consistent.
        gain: zoh, the exact zero-order-hold gain A^-1 (Abar - 1), or euler, Delta (eq 7).
        norm: of the feed-forward layer: hidden (its hidden units, after the activation), pre (its input), or sandwich
            (its input, and its output and that of the attention, with learned gains that start at zero).
    """

    def __init__(
        self,
        tokens: int,
        d: int,
        heads: int,
        mlp_ratio: float,
        form: str = "implicit",
        gain: str = "zoh",
        norm: str = "hidden",
    ) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"model.latent_dim is {d}, allowed multiples of model.heads = {heads}; change one of them")
        for name, value, allowed in (("form", form, FORMS), ("gain", gain, GAINS), ("norm", norm, NORMS)):
            if value not in allowed:
                raise ValueError(f"model.{name} is '{value}', allowed {', '.join(allowed)}")
        self.heads, self.form, self.gain, self.norm = heads, form, gain, norm
        hidden = int(d * mlp_ratio)
        self.log_a = nn.Parameter(torch.full((d,), math.log(DECAY)))
        self.log_delta = nn.Parameter(torch.full((tokens, d), math.log(DELTA)))
        if form == "implicit":
            self.log_damping = nn.Parameter(torch.full((d,), math.log(-math.log(DAMPING))))
        self.b = nn.Linear(d, d, bias=False)
        nn.init.zeros_(self.b.weight)
        self.norm_attention = nn.LayerNorm(d)
        self.query_key_value = nn.Linear(d, 3 * d, bias=False)  # one product instead of three
        self.out = nn.Linear(d, d, bias=False)
        self.norm_mlp = nn.LayerNorm(hidden if norm == "hidden" else d)
        self.up = nn.Linear(d, hidden)
        self.down = nn.Linear(hidden, d)
        if norm == "sandwich":  # R starts at zero through its gains
            self.gain_attention = nn.Parameter(torch.zeros(d))
            self.gain_mlp = nn.Parameter(torch.zeros(d))
        else:
            for layer in (self.out, self.down):
                nn.init.zeros_(layer.weight)
            nn.init.zeros_(self.down.bias)

    def discretise(self, step: Tensor | float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Retention Abar = exp(Delta A s), input gain and step for A = -exp(a) over a loop of length s.

        The rate Delta exp(a) s is kept in [1e-6, 20], so Abar stays strictly inside (0, 1) in float32 whatever the
        parameters are.

        Args:
            step: length s of the loop, above 0: a number, or (B, 1, 1).

        Returns:
            Abar, Bbar / B and Delta s, each (S, d) or (B, S, d).
        """
        if isinstance(step, Tensor):
            return self._discretise(step)
        return self.once(("discretise", step), lambda: self._discretise(step))

    def _discretise(self, step: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        delta = self.log_delta.clamp(-20, 3).exp() * step
        rate = (delta * self.log_a.clamp(-20, 20).exp()).clamp(1e-6, 20.0)
        if self.gain == "euler":
            return torch.exp(-rate), delta, delta
        return torch.exp(-rate), -torch.expm1(-rate) * delta / rate, delta

    @property
    def damping(self) -> Tensor:
        """c of the implicit form (d,), strictly inside (0, 1)."""
        low, high = math.log(1e-6), math.log(20.0)
        return self.once("damping", lambda: torch.exp(-self.log_damping.clamp(low, high).exp()))

    def condition(
        self,
        start: Tensor,
        e: Tensor,
        tokens: Tensor | None = None,
        bias: Tensor | None = None,
        duration: float = 1.0,
    ) -> Conditioning:
        """Everything that the loops of one transition share.

        Args:
            start: state before the transition (B, S, d).
            e: output of the prelude (B, S, d), or (B, T, S, d) with one for each loop.
            tokens: what the state attends to beside itself (B, M, d); None means e.
            bias: of the attention scores of those (B, 1, 1, M).
            duration: control steps that the loops cover together.
        """
        d = e.shape[-1]
        if tokens is None:  # one product instead of two
            key, value, driven = F.linear(e, self.once("from e", self._from_e)).split(d, dim=-1)
        else:
            key, value = F.linear(tokens, self.query_key_value.weight[d:]).split(d, dim=-1)
            driven = self.b(e)
        retention, gain, scale = self.discretise()
        inject = gain * driven
        anchor = torch.addcmul(inject, retention, start) if self.form == "implicit" else None
        return Conditioning(
            self, start, e, tokens, key, value, bias, duration, driven, retention, inject, scale, anchor
        )

    def _from_e(self) -> Tensor:
        """Weights of keys, values and B, side by side (3 d, d)."""
        return torch.cat([self.query_key_value.weight[self.b.in_features :], self.b.weight])

    def forward(self, h: Tensor, c: Conditioning) -> Tensor:
        """One loop: h (B, S, d) -> h (B, S, d)."""
        change = self.residual(h, c)
        if c.anchor is None:
            return torch.addcmul(torch.addcmul(c.inject, c.retention, h), c.scale, change)
        return torch.lerp(torch.addcmul(c.anchor, c.scale, change), h, self.damping)

    def residual(self, h: Tensor, c: Conditioning) -> Tensor:
        """R(h, e): attention, then feed-forward; bounded whatever h is. h (B, S, d) -> (B, S, d)."""
        x = h + c.e
        attended = self.attend(self.norm_attention(x), c)
        if self.norm == "sandwich":
            attended = self.gain_attention * rms_normalise(attended)
        x = x + attended
        if self.norm == "hidden":
            return attended + self.down(self.norm_mlp(F.silu(self.up(x))))
        fed_forward = self.down(F.silu(self.up(self.norm_mlp(x))))
        if self.norm == "sandwich":
            fed_forward = self.gain_mlp * rms_normalise(fed_forward)
        return attended + fed_forward

    def attend(self, x: Tensor, c: Conditioning) -> Tensor:
        """Each state token attends to all state tokens and to all conditioning tokens; x (B, S, d)."""
        batch, tokens, d = x.shape
        split = (batch, -1, self.heads, d // self.heads)
        q, k, v = self.query_key_value(x).chunk(3, dim=-1)
        if tokens == 1 and c.key.shape[1] == 1 and c.bias is None:  # two keys: softmax is a sigmoid
            difference = (q * (k - c.key)).view(split).sum(-1, keepdim=True)  # (B, 1, heads, 1)
            share = torch.sigmoid(difference / math.sqrt(split[3]))
            mixed = torch.lerp(c.value.reshape(split), v.reshape(split), share).reshape(batch, 1, d)
        else:
            mixed = attention(q, torch.cat([k, c.key], dim=1), torch.cat([v, c.value], dim=1), self.heads, c.bias)
        attended: Tensor = self.out(mixed)
        return attended


class Coda(Steady):
    """h_k = C(W h(T)) (eq 8): h + Delta C'(W h), where C' starts at zero and is bounded, its hidden layer normalised.

    The state leaves bounded: the memory, the channels that stand for no observed number, with unit root mean square,
    and each observed channel inside the range that its number was ever seen in.

    Args:
        observed: 1 for the channels of a token that hold an observed number (S, d).
        mlp_ratio: hidden width in units of d.

    Attributes:
        low, high: that range (S, d), normalised units.
    """

    memory: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, observed: Tensor, mlp_ratio: float) -> None:
        super().__init__()
        tokens, d = observed.shape
        self.register_buffer("memory", 1 - observed, persistent=False)
        self.register_buffer("low", torch.full((tokens, d), -UNLIMITED))
        self.register_buffer("high", torch.full((tokens, d), UNLIMITED))
        self.log_delta = nn.Parameter(torch.full((tokens, d), math.log(DELTA)))
        self.up = nn.Linear(d, int(d * mlp_ratio))
        self.norm = nn.LayerNorm(int(d * mlp_ratio))
        self.down = nn.Linear(int(d * mlp_ratio), d)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, h: Tensor) -> Tensor:
        """h(T) (..., S, d) -> h_k (..., S, d)."""
        change = self.down(self.norm(F.silu(self.up(h))))
        step = self.once("step", lambda: self.log_delta.clamp(-20, 3).exp())
        changed = torch.addcmul(h, step, change)
        return torch.clamp(self.normalise(changed), self.low, self.high)

    def normalise(self, h: Tensor) -> Tensor:
        """Give the memory of each token unit root mean square; observed channels stay. h (..., S, d)."""
        observed, memory, share = (part[: h.shape[-2]] for part in self.once("parts", self._parts))
        scale = torch.rsqrt((h.square() * share).sum(-1, keepdim=True) + 1e-6)
        return h * torch.addcmul(observed, scale, memory)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """1 for the observed channels, 1 for the memory, and the latter over its number in each token."""
        return 1 - self.memory, self.memory, self.memory / self.memory.sum(-1, keepdim=True).clamp_min(1)


_counting = False


@contextmanager
def counted_attention() -> Iterator[None]:
    """Inside, all attention is done by matrix products, whose operations PyTorch's counter sees."""
    global _counting
    _counting = True
    try:
        yield
    finally:
        _counting = False


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of S queries over K keys.

    Few queries and keys are cheaper as elementwise products: on a CPU the fused kernel then spends most of its time on
    other things, forwards and even more so backwards.

    Args:
        q: (B, S, d).
        k, v: (B, K, d).
        heads: they divide d.
        bias: added to the scores of the last M keys (B, 1, 1, M), M <= K; None adds nothing.

    Returns:
        (B, S, d).
    """
    batch, queries, d = q.shape
    keys, split = k.shape[1], (heads, d // heads)
    if bias is not None:
        bias = F.pad(bias, (keys - bias.shape[-1], 0)).to(q.dtype)  # (B, 1, 1, K)
    if queries * keys > FEW or _counting:
        q, k, v = (x.view(batch, -1, *split).transpose(1, 2) for x in (q, k, v))  # (B, heads, ., d/heads)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(batch, queries, d)
    scores = (q.view(batch, queries, 1, *split) * k.view(batch, 1, keys, *split)).sum(-1) / math.sqrt(split[1])
    if bias is not None:
        scores = scores + bias.view(-1, 1, keys, 1)  # (B, S, K, heads)
    share = scores.softmax(2).unsqueeze(-1)
    return (share * v.view(batch, 1, keys, *split)).sum(2).reshape(batch, queries, d)


def rms_normalise(h: Tensor) -> Tensor:
    """Scale each token to unit root mean square, so that a state of any age has the same size."""
    return F.rms_norm(h, h.shape[-1:], eps=1e-6)
