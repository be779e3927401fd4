"""Closed-loop evaluation of a controller on held-out goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from .data.collect import Policy, run_episode
from .types import Episode

EVALUATION_SEED = 1_000_000
"""Episode i of an evaluation is reset with EVALUATION_SEED + i; training never uses seeds this high."""


@dataclass(frozen=True)
class ClosedLoopResult:
    """What a controller did in some episodes.

    Attributes:
        success: at the end of each episode (E,).
        final_distance: to the goal at the end of each episode (E,) [m]; where nobody says, minus the last reward.
        plan_time: duration of every control step's planning [s]; empty for controllers that do not plan.
        ctrl_dt: control interval [s].
        episodes: the recorded episodes.
        execution: how plans were carried out, see `Executor.statistics`; empty where they took no time.
    """

    success: np.ndarray
    final_distance: np.ndarray
    plan_time: np.ndarray
    ctrl_dt: float
    episodes: list[Episode]
    execution: dict[str, float] = field(default_factory=dict)

    def summary(self, prefix: str = "") -> dict[str, float | int]:
        """Flat keys of summary.json, each with the prefix."""
        values: dict[str, float | int] = {
            "success_rate": float(self.success.mean()),
            "episodes": len(self.success),
            "final_distance_m_median": float(np.median(self.final_distance)),
            "final_distance_m_max": float(self.final_distance.max()),
            "return_mean": float(np.mean([episode.reward.sum() for episode in self.episodes])),
        }
        if len(self.plan_time):
            p50, p95, p99 = np.quantile(self.plan_time, (0.5, 0.95, 0.99))
            values |= {
                "plan_time_s_p50": float(p50),
                "plan_time_s_p95": float(p95),
                "plan_time_s_p99": float(p99),
                "deadline_met_fraction": float((self.plan_time <= self.ctrl_dt).mean()),
                "control_rate_hz": 1.0 / self.ctrl_dt,
            }
        return {prefix + key: value for key, value in (values | self.execution).items()}


def evaluate(
    env: gym.Env[Any, Any],
    policy: Policy,
    seeds: Sequence[int],
    on_episode: Callable[[Episode, bool], None] | None = None,
    options: Callable[[int, Episode | None], dict[str, Any] | None] | None = None,
) -> ClosedLoopResult:
    """Run a policy once for each seed.

    Args:
        env: whose info has `is_success`, and `distance` [m] where there is one.
        policy: the controller; its attribute `timings`, if any, gives the plan times of these episodes, and its method
            `statistics` what else is told of it.
        seeds: of the resets; the same seeds give the same starts and goals.
        on_episode: called after each episode with it and its success.
        options: of the reset of episode i, given the episode before; none leaves the start to the environment.

    Raises:
        ValueError: there are no seeds.
    """
    if not len(seeds):
        raise ValueError("evaluation over 0 episodes, allowed >= 1; raise evaluate.episodes")
    before = len(getattr(policy, "timings", []))
    success: list[bool] = []
    distance: list[float] = []
    episodes: list[Episode] = []
    for i, seed in enumerate(seeds):
        start = options(i, episodes[-1] if episodes else None) if options is not None else None
        episode, info = run_episode(env, policy, seed, start)
        success.append(bool(info.get("is_success", False)))
        distance.append(float(info.get("distance", -episode.reward[-1])))
        episodes.append(episode)
        if on_episode is not None:
            on_episode(episode, success[-1])
    return ClosedLoopResult(
        np.asarray(success),
        np.asarray(distance),
        np.asarray(getattr(policy, "timings", [])[before:]),
        episodes[0].ctrl_dt,
        episodes,
        getattr(policy, "statistics", dict)(),
    )
