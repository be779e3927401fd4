"""Cross-entropy method: sample action sequences, keep the elites, refit a Gaussian, repeat.

Source: Rubinstein and Kroese, The Cross-Entropy Method (2004); as an MPC in Chua et al. 2018 (PETS). The mean is
warm-started by shifting the last plan; the elites of an iteration compete again in the next one (Pinneri et al. 2020).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .interfaces import Scorer
from .plan import Plan


class PlanningError(RuntimeError):
    """No candidate had a finite score."""


@dataclass(frozen=True)
class CEMConfig:
    """Settings of the cross-entropy planner.

    Attributes:
        horizon: number of actions H in a plan, at least 1.
        num_samples: candidates N in each iteration, at least 2.
        num_elites: how many of them refit the distribution, 1 to num_samples.
        iterations: refits in each plan, at least 1.
        init_std: initial standard deviation of an action, min_std to max_std.
        min_std: lower bound of the standard deviation, at least 0.
        max_std: upper bound of the standard deviation, above 0.
        momentum: share of the old mean and deviation kept at a refit, in [0, 1).
        keep_elites: elites of an iteration that compete again in the next, 0 to num_elites.
        noise_smoothing: correlation of the noise of successive actions, in [0, 1); 0 is white noise.
    """

    horizon: int = 6
    num_samples: int = 128
    num_elites: int = 24
    iterations: int = 3
    init_std: float = 0.3
    min_std: float = 0.02
    max_std: float = 1.0
    momentum: float = 0.1
    keep_elites: int = 8
    noise_smoothing: float = 0.9

    def __post_init__(self) -> None:
        _check("horizon", self.horizon, 1)
        _check("num_samples", self.num_samples, 2)
        _check("num_elites", self.num_elites, 1, self.num_samples)
        _check("iterations", self.iterations, 1)
        _check("max_std", self.max_std, 1e-9)
        _check("min_std", self.min_std, 0, self.max_std)
        _check("init_std", self.init_std, self.min_std, self.max_std)
        _check("momentum", self.momentum, 0, math.nextafter(1, 0))
        _check("keep_elites", self.keep_elites, 0, self.num_elites)
        _check("noise_smoothing", self.noise_smoothing, 0, math.nextafter(1, 0))


class CEM:
    """Cross-entropy planner over bounded action sequences.

    Args:
        config: settings.
        nu: number of action dimensions.
        ctrl_dt: duration of one action [s].
        generator: source of all randomness; its device is the planner's device.
    """

    def __init__(self, config: CEMConfig, nu: int, ctrl_dt: float, generator: torch.Generator) -> None:
        self.config, self.nu, self.ctrl_dt, self.generator = config, nu, ctrl_dt, generator
        device = generator.device
        self._candidates = torch.empty(config.num_samples, config.horizon, nu, device=device)
        self._smoothing = smoothing_matrix(config.horizon, config.noise_smoothing).to(device)  # (H, H)

    @torch.inference_mode()
    def plan(self, score: Scorer, warm_start: Tensor | None = None) -> Plan:
        """Search for the action sequence that scores best.

        Args:
            score: scores candidates (N, H, nu) -> (N,); a non-finite score excludes the candidate.
            warm_start: first guess of the mean (H, nu), for example `last_plan.shift()`.

        Returns:
            the final mean of the distribution, in bounds.

        Raises:
            PlanningError: in some iteration no candidate had a finite score.
            ValueError: warm_start or the scores have the wrong shape.
        """
        started = time.perf_counter()
        c = self.config
        mean = self._initial_mean(warm_start)
        std = torch.full_like(mean, c.init_std)
        kept: Tensor | None = None
        num_invalid = 0
        for _ in range(c.iterations):
            candidates = self._propose(mean, std, kept)
            scores = score(candidates)  # (N,)
            if scores.shape != (c.num_samples,):
                raise ValueError(
                    f"scores have shape {tuple(scores.shape)}, allowed ({c.num_samples},); return one score a candidate"
                )
            finite = torch.isfinite(scores)
            invalid = c.num_samples - int(finite.sum())
            num_invalid += invalid
            if invalid == c.num_samples:
                raise PlanningError(
                    f"all {c.num_samples} candidates have non-finite scores; the model or the objective diverged: "
                    "check the observation and the checkpoint"
                )
            num_elites = min(c.num_elites, c.num_samples - invalid)
            top = torch.topk(torch.where(finite, scores, -torch.inf), num_elites)
            elites = candidates[top.indices]  # (E, H, nu), best first
            mean = torch.lerp(elites.mean(0), mean, c.momentum)
            std = torch.lerp(elites.std(0, correction=0), std, c.momentum).clamp_(c.min_std, c.max_std)
            kept = elites[: c.keep_elites]
        return Plan(
            actions=mean.clamp(-1, 1),
            std=std,
            score=float(top.values.mean()),
            ctrl_dt=self.ctrl_dt,
            iterations=c.iterations,
            num_invalid=num_invalid,
            wall_time=time.perf_counter() - started,
        )

    def _initial_mean(self, warm_start: Tensor | None) -> Tensor:
        shape = (self.config.horizon, self.nu)
        if warm_start is None:
            return torch.zeros(shape, device=self.generator.device)
        if warm_start.shape != shape or not bool(torch.isfinite(warm_start).all()):
            raise ValueError(
                f"warm_start has shape {tuple(warm_start.shape)}, allowed {shape} with finite entries; "
                "pass Plan.shift() of a plan with the same horizon, or None"
            )
        return warm_start.to(self._candidates).clamp(-1, 1)

    def _propose(self, mean: Tensor, std: Tensor, kept: Tensor | None) -> Tensor:
        """Fill the candidate buffer: row 0 the mean, then kept elites, the rest sampled; all in bounds."""
        x = self._candidates.normal_(generator=self.generator)  # (N, H, nu)
        if self.config.noise_smoothing:
            x = torch.matmul(self._smoothing, x)
        x.mul_(std).add_(mean).clamp_(-1, 1)
        x[0] = mean
        if kept is not None and len(kept):
            x[1 : 1 + len(kept)] = kept[: len(x) - 1]
        return x


def smoothing_matrix(horizon: int, correlation: float) -> Tensor:
    """Lower-triangular (H, H) that turns white noise into first-order autoregressive noise of unit variance."""
    steps = torch.arange(horizon)
    lag = (steps[:, None] - steps[None, :]).clamp_min(0).float()
    matrix = torch.tril(correlation**lag) if correlation else torch.eye(horizon)
    matrix[:, 1:] *= math.sqrt(1 - correlation**2)
    return matrix


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        raise ValueError(f"planner.{name} is {value}, allowed [{low:g}, {high:g}]; change it in configs/planner/")
