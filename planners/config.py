"""Settings of the sampling planners."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .knots import INTERPOLATIONS

DEPTHS = ("full", "staged")


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of a sampling planner; which of them an algorithm uses stands at its class.

    Attributes:
        horizon: number of actions H in a plan, at least 1.
        num_samples: candidates N in each iteration, at least 1: the warm start alone.
        num_elites: how many of them refit the distribution, 1 to num_samples.
        iterations: refits in each plan, at least 1; with a deadline as many as fit.
        init_std: initial standard deviation of an action, min_std to max_std.
        min_std: lower bound of the standard deviation, at least 0.
        max_std: upper bound of the standard deviation, above 0.
        momentum: share of the old mean and deviation kept at a refit, in [0, 1).
        keep_elites: elites of an iteration that compete again in the next, 0 to num_elites.
        noise_smoothing: correlation of the noise of successive actions, in [0, 1); 0 is white noise.
        noise_fade: factor on that and on noise_beta from one iteration to the next, in [0, 1]; 1 keeps them.
        noise_beta: iCEM: exponent of the noise's power spectrum f^-beta, at least 0; 0 is white, 2 is Brownian.
        keep_std: iCEM: weight of the last plan's deviation beside init_std, in [0, 1]; 0 begins every plan anew.
        decay: iCEM: factor on the number of candidates from one iteration to the next, in (0, 1].
        temperature: MPPI: of the softmax over scores, in units of their standard deviation, above 0.
        knots: numbers K of knots that actions are interpolated from, at most horizon; 0 lets every action be free.
        interpolation: between knots: hold, linear or cubic.
        rate_limit: largest change of an action from one step to the next [action units], above 0; none for no limit.
        jerk_limit: largest change of that change [action units], above 0; none for no limit.
        learning_rate: gradient: step of Adam [action units], above 0.
        prior_samples: candidates of a policy in each iteration, where `plan` is given one, at least 0.
        deadline: time that a plan aims at [s], above 0; none always does all iterations.
        min_horizon: where a deadline leaves no room for an iteration over the whole horizon, candidates are scored over
            their first actions, at least so many, at most horizon; 0 leaves the iteration out.
        depth: full scores every candidate with the model as it is; staged searches with a shallow model and ranks the
            best with the model as it is. Models that are not looped do as with full.
        shallow_loops: staged: loops of the shallow model, at least 1.
        promoted: staged: candidates that the model as it is ranks, at least 1; more while the two disagree.
        agreement: staged: rank correlation of the two among the promoted that counts as agreeing, in [-1, 1].
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
    noise_fade: float = 0.5
    noise_beta: float = 2.0
    keep_std: float = 0.5
    decay: float = 0.8
    temperature: float = 1.0
    knots: int = 0
    interpolation: str = "cubic"
    rate_limit: float | None = None
    jerk_limit: float | None = None
    learning_rate: float = 0.1
    prior_samples: int = 24
    deadline: float | None = None
    min_horizon: int = 0
    depth: str = "full"
    shallow_loops: int = 1
    promoted: int = 32
    agreement: float = 0.5

    def __post_init__(self) -> None:
        _check("horizon", self.horizon, 1)
        _check("num_samples", self.num_samples, 1)
        _check("num_elites", self.num_elites, 1, self.num_samples)
        _check("iterations", self.iterations, 1)
        _check("max_std", self.max_std, 1e-9)
        _check("min_std", self.min_std, 0, self.max_std)
        _check("init_std", self.init_std, self.min_std, self.max_std)
        _check("momentum", self.momentum, 0, math.nextafter(1, 0))
        _check("keep_elites", self.keep_elites, 0, self.num_elites)
        _check("noise_smoothing", self.noise_smoothing, 0, math.nextafter(1, 0))
        _check("noise_fade", self.noise_fade, 0, 1)
        _check("keep_std", self.keep_std, 0, 1)
        _check("noise_beta", self.noise_beta, 0, 10)
        _check("decay", self.decay, 1e-3, 1)
        _check("temperature", self.temperature, 1e-6)
        _check("knots", self.knots, 0, self.horizon)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"planner.interpolation is '{self.interpolation}', allowed {', '.join(INTERPOLATIONS)}; "
                "change it in configs/planner/"
            )
        if self.depth not in DEPTHS:
            raise ValueError(
                f"planner.depth is '{self.depth}', allowed {', '.join(DEPTHS)}; change it in configs/planner/"
            )
        _check("min_horizon", self.min_horizon, 0, self.horizon)
        _check("shallow_loops", self.shallow_loops, 1)
        _check("promoted", self.promoted, 1)
        _check("agreement", self.agreement, -1, 1)
        _check("learning_rate", self.learning_rate, 1e-6)
        _check("prior_samples", self.prior_samples, 0)
        for name in ("rate_limit", "jerk_limit", "deadline"):
            if (value := getattr(self, name)) is not None:
                _check(name, value, 1e-6)


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        raise ValueError(f"planner.{name} is {value}, allowed [{low:g}, {high:g}]; change it in configs/planner/")
