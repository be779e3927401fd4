"""Costs that a user puts together at run time, on decoded observations whose columns have names.

A term measures an excess e_k >= 0 after each step, in its own unit; up to `tolerance` it is forgiven. Soft terms are
paid for, `weight` for each unit and step. Hard terms are constraints: no excess at all, whatever the score.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from .view import View, members_of

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

    spans_steps: ClassVar[bool] = False
    """Whether it compares steps, so that the last state alone says nothing."""

    def __post_init__(self) -> None:
        for name in ("weight", "tolerance"):
            value = _number(self.name(name), getattr(self, name))
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
        kind = next((kind for kind, term in TERMS.items() if term is cls), cls.__name__)
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

    def _fits(self, field: str, size: int, layout: Layout) -> None:
        width = layout[self.of].stop - layout[self.of].start
        if size != width:
            raise ValueError(f"{self.name(field)} has {size} numbers, allowed {width}, as {self.of} has")


@dataclass(frozen=True)
class Reach(OnGroup):
    """Bring x to a target: e = |x - target|, in the unit of x.

    Attributes:
        target: of x; none is the episode's goal.
    """

    target: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None:
            _keep(self, "target", _numbers(self.name("target"), self.target))

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        if self.target is None and goal is None:
            raise ValueError(f"{self.name('target')} is none without a goal, allowed numbers; give a target or a goal")
        self._fits("target", len(goal) if self.target is None and goal is not None else len(self.target or ()), layout)

    def excess(self, view: View) -> Tensor:
        x = view.group(self.of)
        target = view.goal if self.target is None else self.target
        return torch.linalg.vector_norm(x - torch.as_tensor(target).to(x), dim=-1)


@dataclass(frozen=True)
class StayInBox(OnGroup):
    """Keep x in a box: e is the distance to it, in the unit of x.

    Attributes:
        low: lower bound of each number, none where there is none.
        high: upper bounds.
    """

    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, unbounded in (("low", -math.inf), ("high", math.inf)):
            if (bound := getattr(self, name)) is not None:
                _keep(self, name, _numbers(self.name(name), bound, unbounded))
        if self.low is None and self.high is None:
            raise ValueError(f"{self.name('low')} and high are none, allowed numbers; give at least one of them")
        pairs = zip(self.low or (), self.high or (), strict=False)
        if any(low > high for low, high in pairs if low is not None and high is not None):
            raise ValueError(f"{self.name('low')} is {self.low} with high {self.high}, allowed low <= high")

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        for name in ("low", "high"):
            if (bound := getattr(self, name)) is not None:
                self._fits(name, len(bound), layout)

    def excess(self, view: View) -> Tensor:
        x = view.group(self.of)
        outside = torch.zeros_like(x)
        if self.low is not None:
            outside = torch.maximum(outside, torch.as_tensor(self.low).to(x) - x)
        if self.high is not None:
            outside = torch.maximum(outside, x - torch.as_tensor(self.high).to(x))
        return torch.linalg.vector_norm(outside, dim=-1)


@dataclass(frozen=True)
class KeepSpeed(OnGroup):
    """Keep the speed v = |x_k - x_(k-1)| / ctrl_dt in an interval: e is the distance to it, in units of x per second.

    Attributes:
        low: lowest speed, at least 0.
        high: highest speed, at least low; none has no limit. low = high keeps one speed.
    """

    low: float = 0.0
    high: float | None = None

    spans_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low = _number(self.name("low"), self.low)
        high = math.inf if self.high is None else _number(self.name("high"), self.high)
        if not 0 <= low <= high:
            raise ValueError(f"{self.name('low')} is {low} with high {high}, allowed 0 <= low <= high")

    def excess(self, view: View) -> Tensor:
        speed = torch.linalg.vector_norm(view.group(self.of).diff(dim=1), dim=-1) / view.ctrl_dt
        above = torch.zeros_like(speed) if self.high is None else speed - self.high
        return torch.maximum(self.low - speed, above).clamp_min(0)


@dataclass(frozen=True)
class AvoidSphere(OnGroup):
    """Keep the straight lines from x_(k-1) to x_k out of a sphere: e is how deep they enter, in the unit of x.

    Attributes:
        centre: of the sphere.
        radius: of the sphere, with the size of what must not touch it, above 0.
    """

    centre: Sequence[float]
    radius: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _keep(self, "centre", _numbers(self.name("centre"), self.centre))
        if not _number(self.name("radius"), self.radius) > 0:
            raise ValueError(f"{self.name('radius')} is {self.radius}, allowed > 0")

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        self._fits("centre", len(self.centre), layout)

    def excess(self, view: View) -> Tensor:
        x = view.group(self.of)
        end = x - torch.as_tensor(self.centre).to(x)  # from the centre
        start = torch.cat([end[:, :1], end[:, :-1]], dim=1)  # the first line is a point: nothing earlier is imagined
        line = end - start
        along = -(start * line).sum(-1) / line.square().sum(-1).clamp_min(1e-12)
        nearest = start + along.clamp(0, 1).unsqueeze(-1) * line
        return (self.radius - torch.linalg.vector_norm(nearest, dim=-1)).clamp_min(0)


@dataclass(frozen=True)
class SmoothActions(Term):
    """Change actions little: e = mean_i (a_k,i - a_(k-1),i)^2, without unit."""

    spans_steps: ClassVar[bool] = True

    def excess(self, view: View) -> Tensor:
        return view.actions.diff(dim=1).square().mean(-1)


@dataclass(frozen=True)
class Uncertainty(OnGroup):
    """Stay where the members of an ensemble agree: e = |standard deviation of x over them|, in the unit of x."""

    def excess(self, view: View) -> Tensor:
        members = members_of(view.trajectory, f"a cost '{self.name()}'")
        x = torch.stack([member.observations(view.layout[self.of]) for member in members])
        return torch.linalg.vector_norm(x.std(0, correction=0), dim=-1)


TERMS: dict[str, type[Term]] = {
    "reach": Reach,
    "stay_in_box": StayInBox,
    "keep_speed": KeepSpeed,
    "avoid_sphere": AvoidSphere,
    "smooth_actions": SmoothActions,
    "uncertainty": Uncertainty,
}
"""Costs by the name that configurations use."""


def make_terms(entries: Sequence[Mapping[str, Any]], path: str = "costs") -> tuple[Term, ...]:
    """Costs from plain values, as YAML gives them: {cost: avoid_sphere, of: ee_pos, centre: [...], radius: 0.1}.

    Args:
        entries: each with the key `cost`, a name in `TERMS`, and fields of that term.
        path: where they stand, for messages.

    Raises:
        ValueError: says which entry is wrong, and what is allowed.
    """
    terms = []
    for i, entry in enumerate(entries):
        where, kind = f"{path}[{i}]", entry.get("cost")
        if not isinstance(kind, str) or kind not in TERMS:
            raise ValueError(f"{where}.cost is {kind!r}, allowed {', '.join(TERMS)}")
        values = {name: value for name, value in entry.items() if name != "cost"}
        known = [field.name for field in sorted(fields(TERMS[kind]), key=lambda field: field.kw_only is True)]
        if unknown := [name for name in values if name not in known]:
            raise ValueError(f"{where}: {kind} has no {unknown[0]!r}, allowed {', '.join(known)}")
        try:
            terms.append(TERMS[kind](**values))
        except TypeError as error:  # the names are known, hence one is missing
            raise ValueError(f"{where}: {kind} needs more ({str(error).partition(' missing ')[2]})") from error
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return tuple(terms)


def _keep(term: Term, name: str, value: tuple[float, ...]) -> None:
    object.__setattr__(term, name, value)  # how a frozen dataclass tidies its own fields


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, allowed a finite number")
    return float(value)


def _numbers(name: str, values: Any, none: float | None = None) -> tuple[float, ...]:
    """Finite numbers; `none` stands for those that are left out, where any may be."""
    given = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{name} is {values!r}, allowed a list of numbers such as [0.4, 0.0, 0.3]")
    return tuple(none if none is not None and v in (None, none) else _number(name, v) for v in given)
