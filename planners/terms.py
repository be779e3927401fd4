"""Costs that a user puts together at run time, on decoded observations whose columns have names.

A term measures an excess e_k >= 0 after each step, in its own unit; up to `tolerance` it is forgiven. Soft terms are
paid for, `weight` for each unit and step. Hard terms are constraints: no excess at all, whatever the score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from .term import Layout, OnGroup, Term, keep, number, numbers
from .view import View, members_of


@dataclass(frozen=True)
class Reach(OnGroup):
    """Bring x to a target: e = |x - target|, in the unit of x.

    Attributes:
        target: of x; none is the episode's goal.
    """

    kind: ClassVar[str] = "reach"

    target: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None:
            keep(self, "target", numbers(self.name("target"), self.target))

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        if self.target is None and goal is None:
            raise ValueError(f"{self.name('target')} is none without a goal, allowed numbers; give a target or a goal")
        size = goal.shape[-1] if self.target is None and goal is not None else len(self.target or ())
        self.fits("target", size, layout)

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

    kind: ClassVar[str] = "stay_in_box"

    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, unbounded in (("low", -math.inf), ("high", math.inf)):
            if (bound := getattr(self, name)) is not None:
                keep(self, name, numbers(self.name(name), bound, unbounded))
        if self.low is None and self.high is None:
            raise ValueError(f"{self.name('low')} and high are none, allowed numbers; give at least one of them")
        pairs = zip(self.low or (), self.high or (), strict=False)
        if any(low > high for low, high in pairs if low is not None and high is not None):
            raise ValueError(f"{self.name('low')} is {self.low} with high {self.high}, allowed low <= high")

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        for name in ("low", "high"):
            if (bound := getattr(self, name)) is not None:
                self.fits(name, len(bound), layout)

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

    kind: ClassVar[str] = "keep_speed"

    low: float = 0.0
    high: float | None = None

    spans_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low = number(self.name("low"), self.low)
        high = math.inf if self.high is None else number(self.name("high"), self.high)
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

    kind: ClassVar[str] = "avoid_sphere"

    centre: Sequence[float]
    radius: float

    def __post_init__(self) -> None:
        super().__post_init__()
        keep(self, "centre", numbers(self.name("centre"), self.centre))
        if not number(self.name("radius"), self.radius) > 0:
            raise ValueError(f"{self.name('radius')} is {self.radius}, allowed > 0")

    def check(self, layout: Layout, goal: Tensor | None) -> None:
        super().check(layout, goal)
        self.fits("centre", len(self.centre), layout)

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

    kind: ClassVar[str] = "smooth_actions"
    spans_steps: ClassVar[bool] = True

    def excess(self, view: View) -> Tensor:
        return view.actions.diff(dim=1).square().mean(-1)


@dataclass(frozen=True)
class Uncertainty(OnGroup):
    """Stay where the members of an ensemble agree: e = |standard deviation of x over them|, in the unit of x."""

    kind: ClassVar[str] = "uncertainty"

    def excess(self, view: View) -> Tensor:
        members = members_of(view.trajectory, f"a cost '{self.name()}'")
        x = torch.stack([member.observations(view.layout[self.of]) for member in members])
        return torch.linalg.vector_norm(x.std(0, correction=0), dim=-1)


TERMS: dict[str, type[Term]] = {
    term.kind: term for term in (Reach, StayInBox, KeepSpeed, AvoidSphere, SmoothActions, Uncertainty)
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
