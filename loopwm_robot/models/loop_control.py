"""How many times the shared block is applied: sampled depth in training, exit rules at inference.

Both run the loop on the samples that still need it only, so that a sample that is done costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..types import LoopInfo, StopReason


class Drive(Protocol):
    """Side inputs of the loop: what the samples are driven by. `block.Conditioning` is one."""

    def select(self, rows: Tensor | slice) -> Drive:
        """Narrow to some samples."""
        ...

    def for_depth(self, loops: int | Tensor) -> Drive:
        """Prepare for a number of loops that is known before they start: one number, or (B,)."""
        ...

    def at(self, remaining: int) -> Drive:
        """The inputs of the loop that is the `remaining`-th last."""
        ...


Loop = Callable[[Tensor, Any], Tensor]
"""One application of the shared block: (h (B, S, d), Drive) -> h."""

DEPTHS = ("poisson", "lognormal_poisson", "fixed")
SIGMA = 0.5
"""Spread of the log-normal rate (Huginn, arXiv 2502.05171, section 3.3)."""


def sample_depths(
    batch: int, mean: float, max_loops: int, generator: torch.Generator, kind: str = "poisson"
) -> Tensor:
    """Draw one loop count per sequence, truncated to [1, max_loops] (eq 9).

    Args:
        batch: number of sequences B.
        mean: mean of the distribution before truncation, above 0.
        max_loops: upper limit, at least 1.
        generator: source of randomness.
        kind: poisson; lognormal_poisson, whose rate is log-normal (a longer tail towards deep); or fixed, the mean.

    Returns:
        (B,) int64.

    Raises:
        ValueError: kind is unknown.
    """
    if kind not in DEPTHS:
        raise ValueError(f"model.depth is '{kind}', allowed {', '.join(DEPTHS)}")
    rate = torch.full((batch,), float(mean), device=generator.device)
    if kind == "fixed":
        return rate.round().long().clamp_(1, max_loops)
    if kind == "lognormal_poisson":
        normal = torch.randn(batch, generator=generator, device=generator.device)
        rate = rate * torch.exp(SIGMA * normal - SIGMA**2 / 2)
    return torch.poisson(rate, generator=generator).long().clamp_(1, max_loops)


def run_sampled(loop: Loop, h: Tensor, side: Drive, depths: Tensor, grad_loops: int) -> Tensor:
    """Apply the loop depths[b] times to sequence b; gradients flow through its last `grad_loops` loops only.

    All sequences END together: sequence b joins max(depths) - depths[b] loops after the deepest one, so the loops that
    carry gradients are the same last ones for everybody and the earlier loops run without a graph.

    Args:
        loop: one application of the shared block.
        h: (B, S, d).
        side: conditioning of the B sequences.
        depths: (B,) int64 loop counts, at least 1; falling ones save the sorting.
        grad_loops: truncation of backpropagation, at least 1.

    Returns:
        h after depths[b] loops (B, S, d), in the order given.
    """
    side, sorted_depths = side.for_depth(depths), depths.tolist()
    order = None
    if sorted_depths != sorted(sorted_depths, reverse=True):
        order = torch.argsort(depths, descending=True)
        h, side, sorted_depths = h[order], side.select(order), depths[order].tolist()
    deepest = sorted_depths[0]
    for remaining in range(deepest, 0, -1):  # this loop is the `remaining`-th last one
        active = sum(depth >= remaining for depth in sorted_depths)
        with torch.set_grad_enabled(torch.is_grad_enabled() and remaining <= grad_loops):
            part = side if active == len(h) else side.select(slice(0, active))
            refined = loop(h[:active], part.at(remaining))
        h = refined if active == len(h) else torch.cat([refined, h[active:]])  # those who wait keep their graph
    return h if order is None else h[torch.argsort(order)]


class ExitRule(Protocol):
    """Decides at inference when a sample has been refined enough."""

    def run(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        """Refine h (B, S, d) and report what was done."""
        ...


@dataclass(frozen=True)
class FixedDepth:
    """The same number of loops for every sample, at least 1."""

    num_loops: int

    def __post_init__(self) -> None:
        _check_loops(1, self.num_loops)

    def run(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        side = side.for_depth(self.num_loops)
        for remaining in range(self.num_loops, 0, -1):
            h = loop(h, side.at(remaining))
        return h, LoopInfo.fixed(len(h), self.num_loops, h.device)


@dataclass(frozen=True)
class AdaptiveDepth:
    """Base of the rules that stop each sample on its own; finished samples leave the batch.

    Attributes:
        threshold: of the rule, see there; at least 0.
        min_loops: loops that every sample does, at least 1.
        max_loops: cap, at least min_loops.
        compaction: finished samples leave the batch, which saves their work. Without it all do max_loops and finished
            ones are held: the same result with fixed shapes and no look at the data, as a CUDA graph needs it.
    """

    threshold: float
    min_loops: int
    max_loops: int
    compaction: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check_loops(self.min_loops, self.max_loops)
        if not self.threshold >= 0:
            raise ValueError(f"exit threshold is {self.threshold}, allowed >= 0; change model.exit_threshold")

    def done(self, h: Tensor, step: Tensor, before: Tensor | None) -> Tensor:
        """Which samples need no further loop (B,).

        Args:
            h: h(t) (B, S, d).
            step: h(t) - h(t-1).
            before: h(t-1) - h(t-2); None after the first loop.
        """
        raise NotImplementedError

    def run(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        """Refine h (B, S, d) and report what was done."""
        return self._run_compacted(loop, h, side) if self.compaction else self._run_masked(loop, h, side)

    def _run_masked(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        batch = len(h)
        num_loops = torch.full((batch,), self.max_loops, device=h.device)
        residual = torch.full((batch,), torch.nan, device=h.device, dtype=h.dtype)
        reason = torch.full((batch,), int(StopReason.CAP), device=h.device)
        active = torch.ones(batch, dtype=torch.bool, device=h.device)
        before: Tensor | None = None
        for count in range(1, self.max_loops + 1):
            new = loop(h, side)
            step = new - h
            relative = relative_size(step, new)
            residual = torch.where(active, relative, residual)
            diverged = ~torch.isfinite(relative) & active
            done = self.done(new, step, before) & active & ~diverged
            stop = diverged | done if count >= self.min_loops else diverged
            reason = torch.where(done & stop, int(StopReason.CONVERGED), reason)
            reason = torch.where(diverged, int(StopReason.NONFINITE), reason)
            num_loops = torch.where(stop, count, num_loops)
            h, before = torch.where(active.view(-1, 1, 1), new, h), step
            active = active & ~stop
        return h, LoopInfo(num_loops, residual, reason)

    def _run_compacted(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        batch = len(h)
        out = torch.empty_like(h, memory_format=torch.contiguous_format)
        num_loops = torch.full((batch,), self.max_loops, device=h.device)
        residual = torch.full((batch,), torch.nan, device=h.device)
        reason = torch.full((batch,), int(StopReason.CAP), device=h.device)
        active = torch.arange(batch, device=h.device)
        before: Tensor | None = None
        for count in range(1, self.max_loops + 1):
            new = loop(h, side)
            step = new - h
            relative = relative_size(step, new)
            residual[active] = relative
            diverged = ~torch.isfinite(relative)
            done = self.done(new, step, before) & ~diverged
            stop = diverged | done if count >= self.min_loops else diverged
            reason[active[done & stop]] = int(StopReason.CONVERGED)
            reason[active[diverged]] = int(StopReason.NONFINITE)
            num_loops[active[stop]] = count
            h, before = new, step
            if count == self.max_loops:
                stop = torch.ones_like(stop)
            if not bool(stop.any()):
                continue
            out[active[stop]] = new[stop]
            keep = torch.nonzero(~stop).squeeze(1)
            if len(keep) == 0:
                break
            active, h, before, side = active[keep], new[keep], step[keep], side.select(keep)
        return out, LoopInfo(num_loops, residual, reason)


@dataclass(frozen=True)
class Converged(AdaptiveDepth):
    """Stop when the relative latent change is small: |h(t) - h(t-1)| < threshold |h(t)|."""

    def done(self, h: Tensor, step: Tensor, before: Tensor | None) -> Tensor:
        return relative_size(step, h) < self.threshold


@dataclass(frozen=True)
class SecondOrder(AdaptiveDepth):
    """Stop when the second-order difference is small: |h(t) - 2 h(t-1) + h(t-2)| < threshold |h(t)| (below eq 12)."""

    def done(self, h: Tensor, step: Tensor, before: Tensor | None) -> Tensor:
        if before is None:
            return torch.zeros(len(h), dtype=torch.bool, device=h.device)
        return relative_size(step - before, h) < self.threshold


@dataclass(frozen=True)
class Gated(AdaptiveDepth):
    """Stop when the exit gate opens: sigmoid(gate(h(t))) > threshold (eq 12).

    Attributes:
        gate: logit of "one more loop would not help": (B, S, d) -> (B,).
    """

    gate: Callable[[Tensor], Tensor]

    def done(self, h: Tensor, step: Tensor, before: Tensor | None) -> Tensor:
        return torch.sigmoid(self.gate(h)) > self.threshold


@dataclass(frozen=True)
class Doubling:
    """Integrate an interval with 1, 2, 4, ... loops until two results in a row agree: for the step-consistent form.

    The difference between two depths estimates the error of the shallower one, as in an adaptive integrator; the deeper
    result is taken. Samples that agree leave the batch.

    Attributes:
        threshold: largest difference that counts as agreement, at least 0.
        max_loops: deepest integration, at least 1; powers of two are tried up to it.
        measure: difference of two results (B, S, d) -> (B,), such as `LoopWM.disagreement`; None takes the relative one
            |h_2T - h_T| / |h_2T|.
    """

    threshold: float
    max_loops: int
    measure: Callable[[Tensor, Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        _check_loops(1, self.max_loops)
        if not self.threshold >= 0:
            raise ValueError(f"exit threshold is {self.threshold}, allowed >= 0; change model.exit_threshold")

    def run(self, loop: Loop, h: Tensor, side: Drive) -> tuple[Tensor, LoopInfo]:
        """Refine h (B, S, d); LoopInfo.num_loops counts all applications of the block, discarded results too."""
        batch = len(h)
        out, _ = FixedDepth(1).run(loop, h, side)
        num_loops = torch.ones(batch, dtype=torch.long, device=h.device)
        residual = torch.full((batch,), torch.nan, device=h.device)
        reason = torch.full((batch,), int(StopReason.CAP), device=h.device)
        active, depth = torch.arange(batch, device=h.device), 2
        while depth <= self.max_loops and len(active):
            finer, _ = FixedDepth(depth).run(loop, h[active], side.select(active))
            before = out[active]
            difference = relative_size(finer - before, finer) if self.measure is None else self.measure(finer, before)
            num_loops[active] += depth
            residual[active] = difference
            diverged = ~torch.isfinite(difference)
            agreed = difference < self.threshold
            reason[active[agreed]] = int(StopReason.CONVERGED)
            reason[active[diverged]] = int(StopReason.NONFINITE)
            out[active] = finer
            active, depth = active[~(agreed | diverged)], 2 * depth
        return out, LoopInfo(num_loops, residual, reason)


def relative_size(change: Tensor, h: Tensor) -> Tensor:
    """|change| / |h| of each sample (B,), norms over tokens and channels."""
    size = torch.linalg.vector_norm(h, dim=(1, 2)).clamp_min(1e-12)
    return torch.linalg.vector_norm(change, dim=(1, 2)) / size


def _check_loops(low: int, high: int) -> None:
    if low < 1 or high < low:
        raise ValueError(f"loops are limited to {low}..{high}, allowed 1 <= min <= max; change model.max_loops")
