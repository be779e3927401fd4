"""Planners without a model, for the executor and its process: they can be slow, wrong, and end in many ways."""

from __future__ import annotations

import os
import time

import numpy as np

from loopwm_robot.execution.interfaces import Answer, Situation


class Numbered:
    """Plan i says i + step / 100 in each of its steps, for two action dimensions; keeps what it was asked."""

    def __init__(self, horizon: int = 8) -> None:
        self.horizon = horizon
        self.asked: list[Situation] = []
        self.goals: list[np.ndarray] = []
        self._answer: Answer | None = None

    def reset(self, goal: np.ndarray) -> None:
        self.goals.append(goal)
        self._answer = None

    def ask(self, situation: Situation) -> None:
        self.asked.append(situation)
        steps = np.arange(self.horizon, dtype=np.float32) / 100
        self._answer = Answer(np.tile(len(self.asked) + steps[:, None], (1, 2)).astype(np.float32), 0.0)

    def answer(self) -> Answer | None:
        answer, self._answer = self._answer, None
        return answer


class Odd(Numbered):
    """Numbered, until it does something else.

    Args:
        what: "raise" an error, "exit" the process, "sleep" for some seconds; or do so "in reset".
        at: the plan in which it does.
    """

    def __init__(self, what: str = "", at: int = 1, seconds: float = 0.0) -> None:
        super().__init__()
        self.what, self.at, self.seconds = what, at, seconds

    def reset(self, goal: np.ndarray) -> None:
        super().reset(goal)
        if self.what == "raise in reset":
            raise ValueError("no such goal")

    def ask(self, situation: Situation) -> None:
        super().ask(situation)
        if len(self.asked) >= self.at:
            if self.what == "raise":
                raise ValueError("all candidates are lost")
            if self.what == "exit":
                os._exit(7)
            if self.what == "sleep":
                time.sleep(self.seconds)


def refuses() -> Numbered:
    """A planner that cannot be made."""
    raise FileNotFoundError("no checkpoint here")


class Forgetful(Numbered):
    """Numbered, without a memory of the questions."""

    def ask(self, situation: Situation) -> None:
        super().ask(situation)
        self.asked.clear()
