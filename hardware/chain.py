"""A serial arm as numbers: where its links are, and how far each joint can move them.

Frame i (1 .. n) turns with joint i, frame 0 is the base: T_i = T_i-1 Trans(pos_i) Rot(quat_i) Rot(axis_i, q_i).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .errors import LimitsMismatch, ShapeMismatch
from .geometry import BODY, JOINT, Kinematics, ends_of, frames_of, records
from .interface import Array
from .plain import refuse_unknown

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class ChainJoint:
    """One revolute joint.

    Attributes:
        name: of the joint.
        pos: origin of its frame in the frame before [m].
        quat: orientation of its frame there at q = 0 (w, x, y, z).
        axis: of rotation in its own frame, any length above 0.
    """

    name: str
    pos: Vector
    quat: Quaternion = (1.0, 0.0, 0.0, 0.0)
    axis: Vector = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Body:
    """A capsule fixed to a frame; a sphere where both ends agree, a point where the radius is 0 too.

    Attributes:
        name: of the body.
        frame: number of the frame, 0 for the base.
        start: one end of the axis in that frame [m].
        end: the other end [m].
        radius: [m].
    """

    name: str
    frame: int
    start: Vector
    end: Vector
    radius: float = 0.0


@dataclass(frozen=True)
class Chain:
    """An arm.

    Attributes:
        joints: from the base to the tool.
        bodies: capsules that cover the arm, and named points such as "tcp".
        pairs: names of bodies that must not touch each other.
    """

    joints: tuple[ChainJoint, ...]
    bodies: tuple[Body, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "joints", tuple(self.joints))
        object.__setattr__(self, "bodies", tuple(self.bodies))
        object.__setattr__(self, "pairs", tuple((str(a), str(b)) for a, b in self.pairs))
        if not self.joints:
            raise LimitsMismatch("chain: no joints; give at least one")
        for joint in self.joints:
            _finite(f"chain: joint '{joint.name}'", joint.pos, joint.quat, joint.axis)
            if not (np.linalg.norm(joint.axis) > 1e-9 and np.linalg.norm(joint.quat) > 1e-9):
                raise LimitsMismatch(f"chain: joint '{joint.name}' has an axis or a quaternion of length 0")
        known = [body.name for body in self.bodies]
        if len(set(known)) != len(known):
            raise LimitsMismatch(f"chain: bodies {known}, each name only once")
        for body in self.bodies:
            _finite(f"chain: body '{body.name}'", body.start, body.end, (body.radius,))
            if not (0 <= body.frame <= self.n and body.radius >= 0.0):
                raise LimitsMismatch(
                    f"chain: body '{body.name}' has frame {body.frame} and radius {body.radius:g} m, "
                    f"allowed frames 0 to {self.n} and radii of at least 0 m"
                )
        for name in (name for pair in self.pairs for name in pair):
            self.index(name)

    @property
    def n(self) -> int:
        """Number of joints."""
        return len(self.joints)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the joints."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def kinematics(self) -> Kinematics:
        """The numbers that compiled functions take."""
        fixed = np.array([rotation(joint.quat) for joint in self.joints])
        axes = np.array([skew(np.asarray(joint.axis) / np.linalg.norm(joint.axis)) for joint in self.joints])
        origins, ends = [joint.pos for joint in self.joints], [(body.start, body.end) for body in self.bodies]
        return Kinematics(
            records(self.n, JOINT, pos=origins, fixed=fixed, sine=fixed @ axes, cosine=fixed @ axes @ axes),
            records(len(self.bodies), BODY, frame=[body.frame for body in self.bodies], ends=ends),
        )

    def index(self, name: str) -> int:
        """Position of a body in ``bodies``.

        Raises:
            LimitsMismatch: there is none of that name.
        """
        names = [body.name for body in self.bodies]
        if name not in names:
            raise LimitsMismatch(f"chain: no body or point '{name}'; known: {', '.join(names) or 'none'}")
        return names.index(name)

    def frames(self, q: ArrayLike) -> list[Array]:
        """Frames 1 .. n in the base frame.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            n homogeneous matrices (..., 4, 4), lengths in [m].
        """
        poses, lead = self.as_poses(q)
        turn, at = frames_of(self.kinematics, poses)
        frames = np.zeros((len(poses), self.n, 4, 4))
        frames[..., :3, :3], frames[..., :3, 3], frames[..., 3, 3] = turn[:, 1:], at[:, 1:], 1.0
        return [frames[:, i].reshape(*lead, 4, 4) for i in range(self.n)]

    def ends(self, q: ArrayLike) -> Array:
        """Ends of all bodies in the base frame.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            start and end of each axis (..., bodies, 2, 3) [m].
        """
        poses, lead = self.as_poses(q)
        return ends_of(self.kinematics, poses).reshape(*lead, len(self.bodies), 2, 3)

    def as_poses(self, q: ArrayLike) -> tuple[Array, tuple[int, ...]]:
        """Poses (..., n) [rad] as a list (m, n), and their leading axes.

        Raises:
            ShapeMismatch: the last axis has not n entries.
        """
        array = np.array(q, dtype=np.float64, order="C")
        if array.shape[-1:] != (self.n,):
            raise ShapeMismatch(f"chain: pose has shape {array.shape}, expected (..., {self.n})")
        return array.reshape(-1, self.n), array.shape[:-1]

    def reach(self) -> Array:
        """How far a body's axis can move per radian of a joint, whatever the pose (bodies, n) [m/rad].

        The exact distance from the axis of rotation where the body sits on that joint's own link, else a bound:
        the joints between may turn the rest of the arm anywhere.
        """
        found = np.zeros((len(self.bodies), self.n))
        for row, body in zip(found, self.bodies, strict=True):
            for j in range(body.frame):
                rest = max(float(np.linalg.norm(point)) for point in (body.start, body.end))
                if j == body.frame - 1:
                    row[j] = max(_off_axis(self.joints[j], point) for point in (body.start, body.end))
                    continue
                rest += sum(float(np.linalg.norm(joint.pos)) for joint in self.joints[j + 2 : body.frame])
                row[j] = _off_axis(self.joints[j], self.joints[j + 1].pos) + rest
        return found

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Chain:
        """Build from plain data: ``joints``, ``bodies`` and ``pairs``."""
        refuse_unknown(cls, data, "chain: keys", LimitsMismatch)
        return cls(
            joints=tuple(from_plain(ChainJoint, joint, "chain joint") for joint in data.get("joints", ())),
            bodies=tuple(from_plain(Body, body, "chain body") for body in data.get("bodies", ())),
            pairs=tuple((a, b) for a, b in data.get("pairs", ())),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data; ``from_mapping`` reads it back exactly."""
        return asdict(self)


def from_plain(kind: type[T], data: Mapping[str, Any], what: str) -> T:
    """Build a dataclass of numbers, texts and lists; an unknown key lists the known ones."""
    refuse_unknown(kind, data, f"{what}: keys", LimitsMismatch)
    values = {k: tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else v for k, v in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise LimitsMismatch(f"{what} {dict(data)}: {error}") from error


def rotation(quat: ArrayLike) -> Array:
    """Rotation matrix (3, 3) of a quaternion (w, x, y, z) of any length above 0."""
    w, x, y, z = np.asarray(quat, dtype=np.float64) / np.linalg.norm(quat)
    k = skew(np.array([x, y, z]))
    return np.asarray(np.eye(3) + 2.0 * w * k + 2.0 * k @ k)


def skew(v: Array) -> Array:
    """Matrix (3, 3) whose product with a vector is the cross product of v (3,) with it."""
    x, y, z = v
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _off_axis(joint: ChainJoint, point: Sequence[float]) -> float:
    axis = np.asarray(joint.axis) / np.linalg.norm(joint.axis)
    return float(np.linalg.norm(np.cross(axis, point)))


def _finite(what: str, *values: Sequence[float]) -> None:
    for value in values:
        if not np.isfinite(np.asarray(value, dtype=np.float64)).all():
            raise LimitsMismatch(f"{what} has non-finite entries {list(value)}")
