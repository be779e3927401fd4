"""When a task counts as learned, and one loop that measures every controller on the same goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from ...closed_loop import EVALUATION_SEED
from ...data.collect import Policy, split_observation

TRIED = 0.2
"""Share of the goals that are tried even where the target is out of reach."""


@dataclass(frozen=True)
class Target:
    """What has to be reached.

    Attributes:
        of: success (at the end of an episode) or return (the sum of its rewards).
        least: mean over the goals that counts as learned.
        most: that an episode can have.
    """

    of: str = "success"
    least: float = 0.95
    most: float = 1.0

    def __post_init__(self) -> None:
        if self.of not in ("success", "return"):
            raise ValueError(f"target.of is '{self.of}', allowed success, return")

    def met(self, success: float, mean_return: float) -> bool:
        """Whether these means reach it."""
        return (success if self.of == "success" else mean_return) >= self.least

    def __str__(self) -> str:
        return f"{self.least:g} success" if self.of == "success" else f"a return of {self.least:g}"


class Actor(Protocol):
    """A controller that is handed what the environment gives."""

    def begin(self, raw: Any) -> None:
        """An episode starts with this observation."""

    def act(self, raw: Any) -> Any:
        """Action (nu,) in [-1, 1]."""


class PolicyActor:
    """One of our policies as an actor."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def begin(self, raw: Any) -> None:
        self.policy.reset(split_observation(raw)[2])

    def act(self, raw: Any) -> Any:
        return self.policy.act(split_observation(raw)[0])


@dataclass(frozen=True)
class Score:
    """What a controller did.

    Attributes:
        success: share of the episodes that ended in success.
        mean_return: of the episodes.
        distance_m: median at the end, where the environment tells it, otherwise nan [m].
        episodes: that were run.
    """

    success: float
    mean_return: float
    distance_m: float
    episodes: int


def measure(env: gym.Env[Any, Any], actor: Actor, goals: int, target: Target | None = None) -> Score:
    """Run a controller on the first goals of an evaluation, those of `loopwm evaluate`.

    Args:
        env: the task.
        actor: the controller.
        goals: at least 1.
        target: ends the measurement when it is out of reach and a fifth of the goals were tried; None tries all.
    """
    success: list[float] = []
    returns: list[float] = []
    away: list[float] = []
    for i in range(goals):
        raw, info = env.reset(seed=EVALUATION_SEED + i)
        actor.begin(raw)
        total, done = 0.0, False
        while not done:
            raw, reward, terminated, truncated, info = env.step(actor.act(raw))
            total += float(reward)
            done = terminated or truncated
        success.append(float(info.get("is_success", False)))
        returns.append(total)
        away.append(float(info.get("distance", np.nan)))
        if target is not None and i + 1 >= TRIED * goals:
            values = success if target.of == "success" else returns
            if sum(values) + target.most * (goals - i - 1) < target.least * goals:
                break
    distance = float(np.median(away))
    return Score(float(np.mean(success)), float(np.mean(returns)), distance, len(success))
