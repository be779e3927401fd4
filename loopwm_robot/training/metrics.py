"""How well the model predicts: open-loop errors by horizon and by loop count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..models.dynamics import DynamicsModel, LatentTrajectory
from ..models.loop_control import ExitRule, FixedDepth
from ..models.loopwm import LoopWM
from ..models.untied import UntiedStack
from ..types import Episode, History, Obs, Observed, moved

HORIZONS = (1, 5, 10, 20)
"""Steps ahead at which open-loop errors are reported."""


@dataclass(frozen=True)
class Starts:
    """Where N predictions begin, and what then happened.

    Attributes:
        obs: (N, n_obs), physical units.
        history: the transitions before; None for models without context.
        action: recorded actions (N, H, nu).
        truth: recorded observations after each of them (N, H, n_obs).
        image, truth_image: the pictures of obs and truth (N, H, W, C) and (N, H, H, W, C) uint8; None without.
    """

    obs: Tensor
    history: History | None
    action: Tensor
    truth: Tensor
    image: Tensor | None = None
    truth_image: Tensor | None = None

    @property
    def seen(self) -> Obs:
        """obs, with its picture where there is one."""
        return self.obs if self.image is None else Observed(self.obs, self.image)

    @property
    def truth_seen(self) -> Obs:
        """truth, with its pictures where there are some."""
        return self.truth if self.truth_image is None else Observed(self.truth, self.truth_image)

    def to(self, device: torch.device) -> Starts:
        """The same on a device."""
        return Starts(*moved(self, device))

    def after(self, chunk: int) -> Starts:
        """The same with what happened after every chunk of so many steps only, as a rollout in chunks says it."""
        images = None if self.truth_image is None else self.truth_image[:, chunk - 1 :: chunk]
        return replace(self, truth=self.truth[:, chunk - 1 :: chunk], truth_image=images)

    @staticmethod
    def of(
        episodes: Sequence[Episode], horizon: int, stride: int, context: int = 0, limit: int | None = None
    ) -> Starts:
        """Starts in recorded episodes, `stride` steps apart.

        Args:
            episodes: those shorter than `horizon` are left out.
            horizon: steps H to come.
            stride: distance between starts within an episode.
            context: transitions of history W; starts come after the first W steps where the episode is long enough.
            limit: of the number of starts; more are thinned out evenly.

        Raises:
            ValueError: no episode is long enough.
        """
        long = [e for e in episodes if len(e) >= horizon]
        chosen = [(e, t) for e in long for t in range(min(context, len(e) - horizon), len(e) - horizon + 1, stride)]
        if not chosen:
            raise ValueError(f"no episode has {horizon} steps, allowed >= {horizon}; record longer episodes")
        if limit is not None and len(chosen) > limit:
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, limit).astype(int)]
        pictures: tuple[Tensor, ...] = ()
        frames = [(e.image, t) for e, t in chosen if e.image is not None]
        if len(frames) == len(chosen):
            pictures = (
                torch.from_numpy(np.stack([frame[t] for frame, t in frames])),
                torch.from_numpy(np.stack([frame[t + 1 : t + 1 + horizon] for frame, t in frames])),
            )
        return Starts(
            torch.from_numpy(np.stack([e.obs[t] for e, t in chosen])),
            history_of(chosen, context),
            torch.from_numpy(np.stack([e.action[t : t + horizon] for e, t in chosen])),
            torch.from_numpy(np.stack([e.obs[t + 1 : t + 1 + horizon] for e, t in chosen])),
            *pictures,
        )


def history_of(starts: Sequence[tuple[Episode, int]], context: int) -> History | None:
    """The `context` transitions before each start (episode, step), masked before the episode; None without context."""
    if context == 0:
        return None
    back = np.arange(context, 0, -1)  # transitions ago
    rows = [np.maximum(t - back, 0) for _, t in starts]
    obs = torch.from_numpy(np.stack([e.obs[r] for (e, _), r in zip(starts, rows, strict=True)]))
    action = torch.from_numpy(np.stack([e.action[r] for (e, _), r in zip(starts, rows, strict=True)]))
    mask = torch.from_numpy(np.stack([back <= t for _, t in starts]).astype(np.float32))
    return History(obs, action, mask)


@torch.no_grad()
def imagine(
    model: DynamicsModel, starts: Starts, exit_rule: ExitRule | None = None, chunk: int = 1
) -> LatentTrajectory:
    """Imagine along the recorded actions, on the device of both.

    Args:
        model: the world model.
        starts: where, and the actions.
        exit_rule: replaces the model's own, for LoopWM.
        chunk: control steps of a transition.
    """
    with using(model, exit_rule):
        return model.rollout(model.encode(starts.seen, history=starts.history), starts.action, chunk)


@torch.inference_mode()
def open_loop_predictions(
    model: DynamicsModel, episodes: Sequence[Episode], horizon: int, stride: int, exit_rule: ExitRule | None = None
) -> tuple[Tensor, Tensor]:
    """Predict `horizon` steps from several starts in recorded episodes along the recorded actions.

    Args:
        model: the world model.
        episodes: recorded, some of at least `horizon` steps.
        horizon: steps H to predict.
        stride: distance between starts within an episode.
        exit_rule: loops to use, for LoopWM; none leaves the model's own.

    Returns:
        predicted and true observations (starts, H, n_obs), physical units.

    Raises:
        ValueError: no episode is long enough.
    """
    starts = Starts.of(episodes, horizon, stride, model.context).to(model.device)
    return imagine(model, starts, exit_rule).observations().cpu(), starts.truth.cpu()


@contextmanager
def using(model: DynamicsModel, exit_rule: ExitRule | None) -> Iterator[None]:
    """Run a LoopWM with another exit rule for a while; None, or another kind of model, changes nothing."""
    if exit_rule is None or not isinstance(model, LoopWM):
        yield
        return
    saved, model.exit_rule = model.exit_rule, exit_rule
    try:
        yield
    finally:
        model.exit_rule = saved


def normalised_rmse(predicted: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Root mean square error in units of the data's deviation, by step: (starts, H, n) -> (H,)."""
    return ((predicted - truth) / std).square().mean(dim=(0, 2)).sqrt()


def image_rmse(predicted: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Root mean square error of pictures by step: (starts, H, h, w, C) uint8 -> (H,).

    Args:
        predicted, truth: pictures.
        std: deviation of the data's pixels from their mean picture, 1 being white (`Vision.normalizer.std`).

    Returns:
        error in units of `std`.
    """
    steps = zip(predicted.unbind(1), truth.unbind(1), strict=True)  # one at a time: as floats they are large
    return torch.stack([((p.float() - t.float()) / 255).square().mean().sqrt() for p, t in steps]) / std


@torch.no_grad()
def open_loop_rmse(model: DynamicsModel, trajectory: LatentTrajectory, starts: Starts) -> Tensor:
    """Normalised open-loop error by step (H,): that of the numbers, or of the pictures where there are no numbers."""
    if model.n_obs or starts.truth_image is None:
        return normalised_rmse(trajectory.observations(), starts.truth, model.obs_normalizer.std)
    return image_rmse(trajectory.images(), starts.truth_image, picture_std(model))


def picture_std(model: DynamicsModel) -> Tensor:
    """Deviation of the data's pixels from their mean picture, 1 being white.

    Raises:
        ValueError: the model sees no pictures.
    """
    if not isinstance(model, LoopWM) or model.vision is None:
        raise ValueError(f"{type(model).__name__} was made without pictures; make a LoopWM with image=(H, W, C)")
    return model.vision.normalizer.std


@torch.inference_mode()
def open_loop_table(
    model: DynamicsModel,
    episodes: Sequence[Episode],
    position: slice,
    horizons: Sequence[int] = HORIZONS,
    loops: Sequence[int] | None = None,
    stride: int = 5,
) -> dict[int, dict[int, tuple[float, float]]]:
    """Open-loop error by loop count and horizon.

    Args:
        model: the world model.
        episodes: held out.
        position: columns of the end-effector position [m].
        horizons: steps ahead.
        loops: loop counts; by default 1, 2, the training mean and 4 times the mean. Models without a choice of depth
            have one entry: the blocks of an untied stack, or 1.
        stride: distance between starts within an episode.

    Returns:
        {loops: {horizon: (normalised RMSE of the observation, RMSE of the position [m])}}.
    """
    if not isinstance(model, LoopWM):
        loops = (1,)
    elif isinstance(model, UntiedStack):
        loops = (model.max_loops,)
    elif loops is None:
        mean = max(1, round(model.mean_loops))
        loops = sorted({1, 2, mean, 4 * mean})
    table: dict[int, dict[int, tuple[float, float]]] = {}
    for count in loops:
        starts = Starts.of(episodes, max(horizons), stride, model.context).to(model.device)
        imagined = imagine(model, starts, FixedDepth(count))
        rmse = open_loop_rmse(model, imagined, starts)
        error = (imagined.observations() - starts.truth)[..., position]
        metres = error.square().sum(-1).mean(0).sqrt()  # (H,)
        table[count] = {h: (float(rmse[h - 1]), float(metres[h - 1])) for h in horizons}
    return table
