"""What all costs have in common: weight, hard or soft, tolerance, when they count, and the names of columns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .view import View

Layout = Mapping[str, slice]
"""Columns of an observation by the name of their group."""
WHEN = ("always", "terminal")


@dataclass(frozen=True, kw_only=True)
class Term(ABC):
    """Base of the costs.

    Attributes:
        weight: price of one unit of excess in one step, at least 0; of a hard term its weight beside other violations.
        hard: whether it is a constraint: candidates that break one rank below all that do not.
        tolerance: excess that is forgiven, at least 0, in the unit of the term.
        when: always, or terminal: only the last state of a plan counts, and nothing else is decoded for it.
    """

    weight: float = 1.0
    hard: bool = False
    tolerance: float = 0.0
    when: str = "always"

    kind: ClassVar[str] = ""
    """How configurations call it; empty takes the name of the class."""
    spans_steps: ClassVar[bool] = False
    """Whether it compares steps, so that the last state alone says nothing."""

    def __post_init__(self) -> None:
        for name in ("weight", "tolerance"):
            value = number(self.name(name), getattr(self, name))
            if value < 0:
                raise ValueError(f"{self.name(name)} is {value}, allowed finite numbers >= 0")
        if not isinstance(self.hard, bool):
            raise ValueError(f"{self.name('hard')} is {self.hard!r}, allowed true or false")
        if self.hard and not self.weight:
            raise ValueError(f"{self.name('weight')} is 0 with hard, allowed > 0; leave the constraint out instead")
        if self.when not in WHEN:
            raise ValueError(f"{self.name('when')} is {self.when!r}, allowed {', '.join(WHEN)}")
        if self.spans_steps and self.when == "terminal":
            raise ValueError(f"{self.name('when')} is 'terminal', allowed always: it compares one step with the next")

    @classmethod
    def name(cls, field: str = "") -> str:
        """How messages and YAML call the term, or one of its fields."""
        kind = cls.kind or cls.__name__
        return f"{kind}.{field}" if field else kind

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        """Refuse names and sizes that do not fit the observation and the goal.

        Raises:
            ValueError: says which, and what there is.
        """
        return None

    @abstractmethod
    def excess(self, view: View) -> Tensor:
        """By how much the states are not as wished (N, K), at least 0; K is H, or H - 1 where steps are compared."""


@dataclass(frozen=True)
class OnGroup(Term):
    """Base of the costs on one group of observed numbers x.

    Attributes:
        of: the group by name, for example ee_pos [m] or q [rad].
    """

    of: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, str):
            raise ValueError(f"{self.name('of')} is {self.of!r}, allowed the name of a group such as ee_pos")

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        if self.of not in layout:
            raise ValueError(f"{self.name('of')} is {self.of!r}, allowed {', '.join(layout)}")

    def fits(self, field: str, size: int, layout: Layout) -> None:
        """Refuse a field with another number of entries than the group has.

        Raises:
            ValueError: it has.
        """
        width = layout[self.of].stop - layout[self.of].start
        if size != width:
            raise ValueError(f"{self.name(field)} has {size} numbers, allowed {width}, as {self.of} has")


def keep(term: Term, name: str, value: tuple[float, ...]) -> None:
    """Replace a field of a term while it is made."""
    object.__setattr__(term, name, value)  # how a frozen dataclass tidies its own fields


def number(name: str, value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: the value is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, allowed a finite number")
    return float(value)


def numbers(name: str, values: Any, none: float | None = None) -> tuple[float, ...]:
    """Finite numbers; `none` stands for those that are left out, where any may be.

    Raises:
        ValueError: the values are none.
    """
    given = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{name} is {values!r}, allowed a list of numbers such as [0.4, 0.0, 0.3]")
    return tuple(none if none is not None and v in (None, none) else number(name, v) for v in given)
