"""Parameter efficiency: how large a family has to be to reach an error."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .results import Results

FAMILIES = ("loopwm", "untied", "mlp")
HORIZON = 20


@dataclass(frozen=True)
class Point:
    """One size of a family: parameters, and the errors of its seeds."""

    parameters: int
    errors: list[float]

    @property
    def error(self) -> float:
        """Median of the seeds."""
        return statistics.median(self.errors)


def curve(results: Results, dataset: str, family: str) -> list[Point]:
    """Members of a family by size; empty where sizes were not swept."""
    names = [n for n in results.variants(dataset) if n.startswith(f"{family}_d") and n.rpartition("_d")[2].isdigit()]
    if not names:
        return []
    if family != "untied":
        names.append(family)  # the usual width is part of the main comparison
    points = []
    for name in names:
        chosen = results.of(dataset, name)
        if chosen:
            points.append(Point(chosen[0].record["parameters"], results.errors(dataset, name, HORIZON)))
    return sorted(points, key=lambda point: point.parameters)


def parameters_for(points: Sequence[Point], error: float) -> float | None:
    """Parameters of the smallest member that reaches an error, interpolated between the sizes; None where none does."""
    for i, point in enumerate(points):
        if point.error > error:
            continue
        if i == 0:
            return float(point.parameters)
        before = points[i - 1]
        share = (math.log(before.error) - math.log(error)) / (math.log(before.error) - math.log(point.error))
        return math.exp(
            math.log(before.parameters) + share * (math.log(point.parameters) - math.log(before.parameters))
        )
    return None


def common_error(curves: Sequence[Sequence[Point]]) -> float:
    """The lowest error that all families reach."""
    return max(min(point.error for point in points) for points in curves)
