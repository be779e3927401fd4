"""What people ask for while a planner runs: written by any thread, read by the loop between two plans."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Wishes:
    """What was asked for since the last look.

    Attributes:
        paused: whether to stand still.
        steps: control steps to do although paused.
        settings: planner settings by name, with their new values.
        goal: where the goal was moved to (3,) [m].
        new_goal: draw another goal, the arm goes on from where it is.
        reset: begin a new episode.
        tour: draw another goal whenever one is reached.
        speed: of the simulation, 1 is real time.
        stop: end the view.
    """

    paused: bool = False
    steps: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    goal: NDArray[np.float64] | None = None
    new_goal: bool = False
    reset: bool = False
    tour: bool = True
    speed: float = 1.0
    stop: bool = False


class Controls:
    """A letter box between a panel and the loop.

    Args:
        paused, tour, speed: as they are in the beginning; see Wishes.
    """

    def __init__(self, paused: bool = False, tour: bool = True, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._lasting: dict[str, Any] = {"paused": paused, "tour": tour, "speed": speed}
        self._once: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}

    def keep(self, **values: Any) -> None:
        """Ask for something that lasts: paused, tour or speed."""
        with self._lock:
            self._lasting.update(values)
        self._news.set()

    def lasting(self, name: str) -> Any:
        """What was last asked for of what lasts."""
        with self._lock:
            return self._lasting[name]

    def set(self, name: str, value: Any) -> None:
        """Ask for a planner setting; the last value asked for before a plan counts."""
        with self._lock:
            self._settings[name] = value
        self._news.set()

    def stop(self) -> None:
        """Ask for the end."""
        self._stopped.set()
        self._news.set()

    def step(self) -> None:
        """Ask for one control step."""
        with self._lock:
            self._once["steps"] = self._once.get("steps", 0) + 1
        self._news.set()

    def reset(self) -> None:
        """Ask for a new episode."""
        self._ask("reset", True)

    def new_goal(self) -> None:
        """Ask for another goal."""
        self._ask("new_goal", True)

    def move_goal(self, point: ArrayLike) -> None:
        """Ask for the goal to be at a point (3,) [m]; the last one counts."""
        self._ask("goal", np.array(point, np.float64))

    def take(self) -> Wishes:
        """Everything that was asked for; the next look finds only what lasts."""
        with self._lock:
            self._news.clear()
            wishes = Wishes(settings=self._settings, stop=self._stopped.is_set(), **self._lasting, **self._once)
            self._settings, self._once = {}, {}
        return wishes

    def wait(self, seconds: float) -> None:
        """Sleep until something new is asked for, or a time [s] is over."""
        self._news.wait(max(0.0, seconds))

    def rest(self, seconds: float) -> None:
        """Sleep for a time [s], or until the end is asked for."""
        self._stopped.wait(max(0.0, seconds))

    def _ask(self, name: str, value: Any) -> None:
        with self._lock:
            self._once[name] = value
        self._news.set()
