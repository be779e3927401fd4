"""What an arm must keep clear of, where its points may be and how fast they may move: settings.

All places are in the base frame of the chain, lengths in m. ``of`` names the bodies or points of the chain
that an obstacle holds for; empty means every capsule of the arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .chain import Quaternion, Vector, from_plain
from .errors import LimitsMismatch


@dataclass(frozen=True)
class Plane:
    """A half space that stays free, such as that above a table.

    Attributes:
        name: for messages.
        point: on the plane [m].
        normal: towards the free side, any length above 0.
        of: bodies and points it holds for; empty: all capsules.
    """

    name: str
    point: Vector
    normal: Vector
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Capsule:
    """A rod with round ends to keep out of; a sphere where both ends agree.

    Attributes:
        name: for messages.
        start: one end of its axis [m].
        end: the other end [m].
        radius: [m].
        of: bodies and points it holds for; empty: all capsules.
    """

    name: str
    start: Vector
    end: Vector
    radius: float
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """A box to keep out of.

    Attributes:
        name: for messages.
        pos: its middle [m].
        half_size: half edges [m].
        quat: its orientation (w, x, y, z).
        of: bodies and points it holds for; empty: all capsules.
    """

    name: str
    pos: Vector
    half_size: Vector
    quat: Quaternion = (1.0, 0.0, 0.0, 0.0)
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workspace:
    """A box that points must not leave.

    Attributes:
        lower: lower corner [m].
        upper: upper corner [m].
        of: points of the chain, such as tcp or joint4 (the elbow of a Panda).
    """

    lower: Vector
    upper: Vector
    of: tuple[str, ...] = ("tcp",)


@dataclass(frozen=True)
class SceneConfig:
    """Everything beyond joint limits; the default checks nothing.

    Attributes:
        margin_m: distance kept from obstacles and between links [m].
        self_collision: keep the links of the arm apart.
        planes: half spaces that stay free, as {name, point, normal, of}.
        capsules: rods and spheres to keep out of, as {name, start, end, radius, of}.
        boxes: boxes to keep out of, as {name, pos, half_size, quat, of}.
        workspaces: boxes that points must not leave, as {lower, upper, of}.
        speed_max: largest mean speed of the points over a control period [m/s]; 0 means none.
        speed_of: the points that it holds for.
    """

    margin_m: float = 0.02
    self_collision: bool = False
    planes: tuple[Plane, ...] = ()
    capsules: tuple[Capsule, ...] = ()
    boxes: tuple[Box, ...] = ()
    workspaces: tuple[Workspace, ...] = ()
    speed_max: float = 0.0
    speed_of: tuple[str, ...] = ("tcp",)

    def __post_init__(self) -> None:
        for name, value, high, unit in (
            ("margin_m", self.margin_m, 1.0, "m"),
            ("speed_max", self.speed_max, 100.0, "m/s"),
        ):
            if not (np.isfinite(value) and 0.0 <= value <= high):
                raise LimitsMismatch(f"scene {name} {value:g} {unit}, allowed [0, {high:g}] {unit}")
        for kind in (self.planes, self.capsules, self.boxes, self.workspaces):
            for item in kind:
                numbers = [v for k, v in asdict(item).items() if k not in ("name", "of")]
                if not all(np.isfinite(np.asarray(v, dtype=np.float64)).all() for v in numbers):
                    raise LimitsMismatch(f"scene: {item} has non-finite entries")
        for plane in self.planes:
            if not np.linalg.norm(plane.normal) > 1e-9:
                raise LimitsMismatch(f"scene: plane '{plane.name}' has a normal of length 0")
        for capsule in self.capsules:
            if not capsule.radius >= 0.0:
                raise LimitsMismatch(f"scene: '{capsule.name}' has radius {capsule.radius:g} m, allowed >= 0 m")
        for box in self.boxes:
            if not (min(box.half_size) >= 0.0 and np.linalg.norm(box.quat) > 1e-9):
                raise LimitsMismatch(
                    f"scene: box '{box.name}' has half_size {list(box.half_size)} m and quat {list(box.quat)}, "
                    "allowed half edges of at least 0 m and a quaternion of length above 0"
                )
        for space in self.workspaces:
            if not all(low < high for low, high in zip(space.lower, space.upper, strict=True)):
                raise LimitsMismatch(
                    f"scene: workspace lower {list(space.lower)} m must be below upper {list(space.upper)} m"
                )

    @property
    def empty(self) -> bool:
        """Whether nothing is to be checked."""
        parts = (self.planes, self.capsules, self.boxes, self.workspaces)
        return not (any(parts) or self.self_collision or self.speed_max)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> SceneConfig:
        """Build from plain data; an unknown key lists the known ones."""
        kinds: dict[str, Any] = {"planes": Plane, "capsules": Capsule, "boxes": Box, "workspaces": Workspace}
        values = {
            key: tuple(from_plain(kinds[key], item, f"scene {key}") for item in value) if key in kinds else value
            for key, value in data.items()
        }
        return from_plain(cls, values, "scene")

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data; ``from_mapping`` reads it back exactly."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(item) if not isinstance(item, str | float | int) else item for item in value]
    return value
