"""The results of all trainings, and how to ask for them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One trained model.

    Attributes:
        dataset, variant, seed: what it is.
        record: of its training.
        measures: see `evaluate`; empty where training diverged.
        times: see `run.time_alone`; empty where nothing was timed.
    """

    dataset: str
    variant: str
    seed: int
    record: dict[str, Any]
    measures: dict[str, Any]
    times: dict[str, Any] = field(default_factory=dict)

    def error(self, horizon: int, split: str = "test", where: str = "all") -> float | None:
        """Open-loop error at a horizon; None where it was not measured."""
        found: dict[str, float] = self.measures.get("open_loop", {}).get(split, {}).get(where, {})
        return found.get(f"h{horizon}")


class Results:
    """All trained models of a run."""

    def __init__(self, found: Sequence[Result]) -> None:
        self.all = list(found)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.all)

    def of(self, dataset: str, variant: str) -> list[Result]:
        """The seeds of a variant that did not diverge."""
        return [r for r in self.all if (r.dataset, r.variant) == (dataset, variant) and r.measures]

    def datasets(self) -> list[str]:
        """Names of the data sets, in order."""
        return list(dict.fromkeys(r.dataset for r in self.all))

    def variants(self, dataset: str) -> list[str]:
        """Names of the variants on a data set, in order."""
        return list(dict.fromkeys(r.variant for r in self.all if r.dataset == dataset and r.measures))

    def errors(self, dataset: str, variant: str, horizon: int, split: str = "test", where: str = "all") -> list[float]:
        """Open-loop errors of the seeds."""
        found = (r.error(horizon, split, where) for r in self.of(dataset, variant))
        return [error for error in found if error is not None]

    def median(self, dataset: str, variant: str, horizon: int, split: str = "test", where: str = "all") -> float | None:
        """Median of `errors`."""
        found = self.errors(dataset, variant, horizon, split, where)
        return statistics.median(found) if found else None

    def diverged(self) -> list[Result]:
        """Trainings that failed."""
        return [r for r in self.all if not r.measures]
