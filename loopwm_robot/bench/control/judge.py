"""What is asked of a training of somebody else, and who measures and ends it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...build import make_env
from ...config import EnvConfig
from .curve import Curve, Point
from .target import Actor, Target, measure

REQUEST, CURVE = "request.json", "curve.json"
"""Files in the folder of a training."""


@dataclass(frozen=True)
class PeerRequest:
    """What is asked of a peer.

    Attributes:
        peer: sac or tdmpc2.
        env: the task, with the reward that the peer learns from.
        goal: whether the task has goals.
        target: ends the training; None goes on to its limit.
        seed: of the training.
        threads: of torch.
        device: cpu, cuda or auto.
        goals: of a measurement.
        first_s, spacing: when it is measured, see `config.ControlBench`.
        marks: control steps after which it is measured as well; with some it is measured at no other time.
        limit_s: on its time [s].
        limit_steps: on its control steps.
        tdmpc2, tdmpc2_size, tdmpc2_compile: see `config.ControlBench`.
    """

    peer: str
    env: EnvConfig
    goal: bool
    target: Target | None
    seed: int
    threads: int
    device: str
    goals: int
    first_s: float
    spacing: float
    limit_s: float
    limit_steps: int = 10_000_000
    marks: tuple[int, ...] = field(default_factory=tuple)
    tdmpc2: str = ""
    tdmpc2_size: int = 5
    tdmpc2_compile: bool = False


class Over(Exception):
    """The training has to end."""


class Judge:
    """Measures a training when it is time to, on a clock that stands still meanwhile.

    Args:
        request: what is asked.
        file: of the curve.
        began: when its time began, by `time.monotonic` [s].
    """

    def __init__(self, request: PeerRequest, file: Path, began: float) -> None:
        self.request, self.file, self.began = request, file, began
        self.curve = Curve()
        self.env = make_env(request.env)
        self._measuring = 0.0
        self._next = request.first_s
        self._marks = list(request.marks)

    @property
    def time_s(self) -> float:
        """Of the training so far."""
        return time.monotonic() - self.began - self._measuring

    def check(self, steps: int) -> None:
        """After a control step.

        Raises:
            Over: time or steps are used up.
        """
        if self.time_s >= self.request.limit_s or steps >= self.request.limit_steps:
            raise Over

    def look(self, actor: Actor, steps: int) -> None:
        """Between two episodes: measure when it is time to.

        Raises:
            Over: the target is reached.
        """
        due = steps >= self._marks[0] if self._marks else not self.request.marks and self.time_s >= self._next
        if due and steps:
            self.measure(actor, steps)

    def measure(self, actor: Actor, steps: int) -> None:
        """Measure now. Raises: Over: the target is reached."""
        now, begun = self.time_s, time.monotonic()
        point = Point.of(now, steps, measure(self.env, actor, self.request.goals, self.request.target))
        self.curve = self.curve.with_point(point)
        self.curve.save(self.file)
        self._next = max(self._next, now) * self.request.spacing
        self._marks = [mark for mark in self._marks if mark > steps]
        found = f"success {point.success:.2f}, return {point.mean_return:.4g}"
        print(f"{self.request.peer}: {now:.0f} s, {steps} steps, {found}", file=sys.stderr)
        self._measuring += time.monotonic() - begun
        if self.request.target is not None and point.meets(self.request.target):
            raise Over

    def end(self, actor: Actor, steps: int, about: dict[str, Any]) -> None:
        """The training is over: measure the last time, unless that has just been done."""
        target = self.request.target
        last, now = self.curve.points[-1].steps if self.curve.points else -1, self.time_s
        reached = target is not None and self.curve.first(target) is not None
        if last != steps and not reached:
            try:
                self.measure(actor, steps)
            except Over:
                reached = True
        end = "reached" if reached else "limit"
        now = self.curve.points[-1].time_s if reached else now
        self.curve = replace(self.curve, end=end, time_s=now, steps=steps, about=about)
        self.curve.save(self.file)
