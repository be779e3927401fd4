"""Data that travels between the parts: episodes, training batches, latent states."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

Array = TypeVar("Array", NDArray[Any], Tensor)


@dataclass(frozen=True)
class Observed(Generic[Array]):
    """Numbers and a picture of the same instants, as arrays or as tensors; it is indexed by its leading dimensions.

    Attributes:
        vector: (..., n_obs) float32, physical units; n_obs is 0 where there is only a picture.
        image: (..., H, W, C) uint8, 0 to 255, rows from the top.
    """

    vector: Array
    image: Array

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, index: Any) -> Observed[Array]:
        return Observed(self.vector[index], self.image[index])


Obs = Tensor | Observed[Tensor]
"""What a model is shown: numbers (..., n_obs), or numbers and a picture."""
Seen = Float32 | Observed[NDArray[Any]]
"""The same at one instant, as an environment gives it."""


def vector_of(obs: Obs) -> Tensor:
    """The numbers (..., n_obs) of what is seen."""
    return obs.vector if isinstance(obs, Observed) else obs


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T control steps.

    Attributes:
        obs: observations (T+1, n_obs), physical units.
        achieved: what the task measures (T+1, n_goal), an end-effector position [m] for reaching.
        goal: desired value of it (n_goal,); (T+1, n_goal) where it moves.
        action: (T, nu), each in [-1, 1].
        reward: (T,).
        terminated: (T,) the task ended here.
        truncated: (T,) the time limit ended here.
        ctrl_dt: duration of a control step [s].
        env_id: Gymnasium id.
        seed: seed of the reset.
        image: (T+1, H, W, C) uint8; None where there are no pictures.
    """

    obs: Float32
    achieved: Float32
    goal: Float32
    action: Float32
    reward: Float32
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    ctrl_dt: float
    env_id: str
    seed: int
    image: UInt8 | None = None

    def __post_init__(self) -> None:
        steps = len(self.action)
        for name, want in (("obs", steps + 1), ("achieved", steps + 1), ("reward", steps), ("terminated", steps)):
            if len(getattr(self, name)) != want:
                raise ValueError(
                    f"episode.{name} has {len(getattr(self, name))} rows, allowed {want} for {steps} actions; "
                    "record one observation more than actions"
                )
        if self.image is not None and not (self.image.ndim == 4 and self.image.dtype == np.uint8):
            raise ValueError(
                f"episode.image has shape {self.image.shape} and type {self.image.dtype}, "
                "allowed (T+1, H, W, C) of uint8; record pictures as they are"
            )
        if self.image is not None and len(self.image) != steps + 1:
            raise ValueError(f"episode.image has {len(self.image)} rows, allowed {steps + 1} for {steps} actions")
        for name in ("obs", "achieved", "goal", "action", "reward"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"episode.{name} has non-finite numbers, allowed finite; drop the episode")

    def __len__(self) -> int:
        return len(self.action)

    def seen(self, index: Any) -> Seen:
        """Observations by their indices, with their pictures where there are some."""
        return self.obs[index] if self.image is None else Observed(self.obs[index], self.image[index])


@dataclass(frozen=True)
class History:
    """What was seen before a state: up to W transitions of each of B samples, the latest last.

    Attributes:
        obs: observation before each action (B, W, n_obs).
        action: (B, W, nu).
        mask: (B, W) float, 1 for transitions that happened, 0 for padding, which comes first.
    """

    obs: Tensor
    action: Tensor
    mask: Tensor

    def expand(self, num: int) -> History:
        """Repeat a single history for `num` samples without copying."""
        return History(*(x.expand(num, *x.shape[1:]) for x in (self.obs, self.action, self.mask)))

    def last(self, steps: int) -> History:
        """Only the latest `steps` transitions, or all where there are fewer."""
        first = max(0, self.obs.shape[1] - steps)
        return History(self.obs[:, first:], self.action[:, first:], self.mask[:, first:])

    def to(self, device: torch.device) -> History:
        """The same on a device."""
        return History(self.obs.to(device), self.action.to(device), self.mask.to(device))


def moved(data: Any, device: torch.device) -> list[Any]:
    """The tensors of a dataclass in the order in which it takes them, each on a device; None stays."""
    parts = [getattr(data, f.name) for f in fields(data)]
    return [part if part is None else part.to(device) for part in parts]


@dataclass(frozen=True)
class SequenceBatch:
    """B training sequences of L transitions.

    Attributes:
        obs: (B, L+1, n_obs). action: (B, L, nu). reward: (B, L). terminated: (B, L) float, 1 where the task ended.
        goal: (B, n_goal) the goal that `reward` was computed for.
        mask: (B, L) float, 1 for real transitions, 0 for padding after the end of an episode.
        history: the W transitions before obs[:, 0]; None where nobody asked for it.
        image: (B, L+1, H, W, C) uint8; None where there are no pictures.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    goal: Tensor
    mask: Tensor
    history: History | None = None
    image: Tensor | None = None

    @property
    def seen(self) -> Obs:
        """The observations, with their pictures where there are some."""
        return self.obs if self.image is None else Observed(self.obs, self.image)

    def part(self, rows: slice) -> SequenceBatch:
        """Some of the sequences."""
        past = self.history
        history = None if past is None else History(past.obs[rows], past.action[rows], past.mask[rows])
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "history"}
        some: dict[str, Any] = {name: x if x is None else x[rows] for name, x in given.items()}
        return SequenceBatch(**some, history=history)

    def to(self, device: torch.device) -> SequenceBatch:
        """The same on a device."""
        return SequenceBatch(*moved(self, device))


def joined(a: SequenceBatch, b: SequenceBatch) -> SequenceBatch:
    """The sequences of two batches of the same length in one, those of `a` first."""
    parts = {f.name: (getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name != "history"}
    tensors = {name: None if one is None else torch.cat([one, two]) for name, (one, two) in parts.items()}
    history = None
    if a.history is not None and b.history is not None:
        both = ((getattr(a.history, f.name), getattr(b.history, f.name)) for f in fields(History))
        history = History(*(torch.cat(pair) for pair in both))
    return SequenceBatch(**tensors, history=history)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LatentState:
    """A latent state h (B, tokens, d) and the goal (B or 1, n_goal) that the reward head is asked about."""

    h: Tensor
    goal: Tensor | None = None

    def expand(self, num: int) -> LatentState:
        """Repeat a single state (1, tokens, d) for `num` candidates without copying."""
        return LatentState(self.h.expand(num, -1, -1), self.goal)


class StopReason(IntEnum):
    """Why the loop over the latent state ended."""

    CONVERGED = 0
    CAP = 1
    NONFINITE = 2


@dataclass(frozen=True)
class LoopInfo:
    """What the refinement loop did for each of B samples.

    Attributes:
        num_loops: loops used (B,) int64.
        residual: last relative latent change |h(t+1) - h(t)| / |h(t+1)| (B,); NaN where it was not measured.
        stop_reason: StopReason (B,) int64.
    """

    num_loops: Tensor
    residual: Tensor
    stop_reason: Tensor

    @staticmethod
    def sampled(depths: Tensor) -> LoopInfo:
        """Sample b did depths[b] loops, as drawn for training."""
        return LoopInfo(
            depths,
            torch.full(depths.shape, torch.nan, device=depths.device),
            torch.full_like(depths, int(StopReason.CAP)),
        )

    @staticmethod
    def fixed(batch: int, loops: int, device: torch.device) -> LoopInfo:
        """All samples did the same number of loops."""
        return LoopInfo(
            torch.full((batch,), loops, device=device),
            torch.full((batch,), torch.nan, device=device),
            torch.full((batch,), int(StopReason.CAP), device=device),
        )
