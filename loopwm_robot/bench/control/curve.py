"""A learning curve: what a training could do after so much time and so many steps, in a file that grows with it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...runs import write_text
from ..subruns import read_json
from .target import Score, Target


@dataclass(frozen=True)
class Point:
    """A measurement.

    Attributes:
        time_s: of the training so far, without the time of measurements [s].
        steps: control steps in the environment so far.
        success, mean_return, distance_m, episodes: see `target.Score`; the distance is None where nobody tells it.
    """

    time_s: float
    steps: int
    success: float
    mean_return: float
    distance_m: float | None
    episodes: int

    @classmethod
    def of(cls, time_s: float, steps: int, score: Score) -> Point:
        """A score at a time."""
        values = asdict(score)
        values["distance_m"] = None if math.isnan(score.distance_m) else score.distance_m
        return cls(time_s, steps, **values)

    def meets(self, target: Target) -> bool:
        """Whether the target is reached."""
        return target.met(self.success, self.mean_return)


@dataclass(frozen=True)
class Curve:
    """The measurements of one training.

    Attributes:
        points: in order.
        end: why it ended: reached, limit (of time or steps) or done (all there was to do); empty while it goes on.
        time_s, steps: at the end.
        about: what a reader has to know, such as the version of a package or the number of parameters.
    """

    points: tuple[Point, ...] = ()
    end: str = ""
    time_s: float = 0.0
    steps: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    def first(self, target: Target) -> Point | None:
        """The first measurement that reaches the target."""
        return next((point for point in self.points if point.meets(target)), None)

    def before(self, steps: int) -> Point | None:
        """The last measurement after at most so many steps."""
        return max((p for p in self.points if p.steps <= steps), key=lambda p: p.steps, default=None)

    def with_point(self, point: Point) -> Curve:
        """One measurement more."""
        return replace(self, points=(*self.points, point), time_s=point.time_s, steps=point.steps)

    def save(self, path: Path) -> None:
        """Write it in one step."""
        write_text(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Curve:
        """Read it; an empty one where there is no file.

        Raises:
            BenchmarkError: it is damaged.
        """
        values = read_json(path)
        return cls(**{**values, "points": tuple(Point(**point) for point in values.get("points", ()))})
