"""How large a state can become, whatever the actions, the depth and the length of a rollout are.

1. A linear layer behind a LayerNorm of gain g and shift s sees x = g n + s, where n has mean zero and norm sqrt(d) at
   most. So |W x + b|_i <= sqrt(d) |row i of W g less its mean| + |W s + b|_i, and some n attains it (`reach`).
2. That bounds B e, the coda's change C' and R (`residual_reach`): attention is a mean of values behind a LayerNorm;
   the feed-forward layer has its hidden units normalised ("hidden") or its input, and |silu(x)| <= |x| ("pre");
   "sandwich" normalises both outputs to a norm of sqrt(d).
3. A loop leaves |h| <= Abar |h| + q with q = gain |B e| + Delta |R|, and the coda then adds c = Delta |C'|, channel by
   channel. If |h_{k-1}| <= M, then T >= 1 loops and the coda leave at most
       paper, step_consistent   Abar^T M + (1 - Abar^T) / (1 - Abar) q + c
       implicit                 c^T M + (1 - c^T) (Abar M + q) + c           with the damping c^T
   Both are at most M as soon as M >= (q + c / share) / (1 - Abar), share being 1 and 1 - damping: T = 1 is the worst
   case, since more loops only move the state closer to q / (1 - Abar) before the coda acts. Step-consistent loops are
   shorter with depth; q_s / (1 - Abar^s) grows with their length s, so again T = 1, s = m decides.
So |h_k| <= max(|h_0|, (q + c / share) / (1 - Abar)) for all k, in exact arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .block import Coda, RecurrentBlock


def reach(norm: nn.LayerNorm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Largest |weight LayerNorm(x) + bias| over all x, number by number: weight (..., n, d), bias (n,) -> (..., n)."""
    scaled = weight * norm.weight
    centred = scaled - scaled.mean(-1, keepdim=True)
    shift = weight @ norm.bias if bias is None else weight @ norm.bias + bias
    return math.sqrt(weight.shape[-1]) * centred.norm(dim=-1) + shift.abs()


def residual_reach(block: RecurrentBlock, drive: nn.LayerNorm) -> Tensor:
    """Bound of |R(h, e)| over all h and all e behind the norm `drive`, for each channel (d,)."""
    d = block.out.out_features
    if block.norm == "sandwich":
        return math.sqrt(d) * (block.gain_attention.abs() + block.gain_mlp.abs())
    out = block.out.weight.view(d, block.heads, -1).transpose(0, 1)  # (heads, d, d/heads)
    values = block.query_key_value.weight[2 * d :].view(block.heads, -1, d)
    heads = out @ values  # (heads, d, d): from a token behind its norm to what the head adds
    attended = torch.maximum(reach(block.norm_attention, heads), reach(drive, heads)).sum(0)
    if block.norm == "hidden":
        return attended + reach(block.norm_mlp, block.down.weight, block.down.bias)
    hidden = reach(block.norm_mlp, block.up.weight, block.up.bias)
    return attended + block.down.weight.abs() @ hidden + block.down.bias.abs()


def coda_reach(coda: Coda) -> Tensor:
    """Bound of what the coda adds to a channel (S, d)."""
    return coda.log_delta.clamp(-20, 3).exp() * reach(coda.norm, coda.down.weight, coda.down.bias)


def limit(block: RecurrentBlock, drive: nn.LayerNorm, added: Tensor, step: float = 1.0) -> Tensor:
    """The size that no channel outgrows, unless it starts beyond it (S, d): (q + c / share) / (1 - Abar).

    Args:
        block: of the loops.
        drive: the LayerNorm behind e.
        added: bound of what is added after the loops (S, d).
        step: length of the longest loop in control steps.
    """
    retention, gain, delta = block.discretise(step)
    share = 1 - block.damping if block.form == "implicit" else 1.0
    moved = gain * reach(drive, block.b.weight) + delta * residual_reach(block, drive)
    return (moved + added / share) / (1 - retention)


def core_limit(blocks: Sequence[RecurrentBlock], drive: nn.LayerNorm, added: Tensor, duration: float) -> Tensor:
    """The limit for blocks that are applied in turn, any number of times if it is a single one (S, d).

    Of several blocks the one that allows most decides: it leaves M - c at most, and the coda adds c.
    """
    step = duration / len(blocks) if blocks[0].form == "step_consistent" else 1.0
    return torch.stack([limit(block, drive, added, step) for block in blocks]).amax(0)
