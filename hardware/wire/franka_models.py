"""Geometry and ratings of Franka's arms: what the driver compares with the arm's own description, and what the emulator
is made of.

An arm describes itself by a URDF over its control interface; ``Description`` is what we read from it.

Sources: franka_description (commit 566ba44), robots/fr3/kinematics.yaml, joint_limits.yaml, inertials.yaml; ranges and
position-dependent speeds as the arm of franky-sim 1.0.4 reports them, which are wider than the data sheet's.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from math import pi

import numpy as np

from ..interface import Array
from . import WireError

N = 7
ACCELERATION = 10.0
"""Rated acceleration of every joint [rad/s^2]: libfranka, include/franka/rate_limiting.h."""
JERK = 5000.0
"""Rated jerk of every joint [rad/s^3], from the same file."""

_MAX_URDF = 1 << 19


@dataclass(frozen=True, eq=False)
class Description:
    """What an arm says about its joints, each (7,).

    Attributes:
        name: of the robot.
        joint_names: from base to tool.
        q_min: lower end of the ranges [rad].
        q_max: upper end of the ranges [rad].
        dq_max: joint speeds far from the ends [rad/s].
        offset: of the speed near an end [rad/s].
        deceleration: with which the speed shrinks towards an end [rad/s^2].
        origins: place of each joint in its parent, with the last for the flange (8, 3) [m].
        rolls: rotation of each joint about its parent's x axis (8,) [rad].
    """

    name: str
    joint_names: tuple[str, ...]
    q_min: Array
    q_max: Array
    dq_max: Array
    offset: Array
    deceleration: Array
    origins: Array
    rolls: Array

    def speeds(self, q: Array) -> tuple[Array, Array]:
        """Lowest and highest joint speeds (7,) [rad/s] that the arm allows at joint positions (7,) [rad]."""

        def towards(way: Array) -> Array:
            # As libfranka 0.21 computes it (src/joint_velocity_limits.cpp).
            shrunk = np.sqrt(np.maximum(2.0 * self.deceleration * way, 0.0)) - self.offset
            return np.minimum(self.dq_max, np.maximum(shrunk, 0.0))

        return -towards(q - self.q_min), towards(self.q_max - q)


def parse_urdf(text: str) -> Description:
    """Read the arm's description of itself.

    Raises:
        WireError: it is no URDF, or one without seven joints and their limits.
    """
    if len(text) > _MAX_URDF or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise WireError(f"Franka description of {len(text)} characters, allowed {_MAX_URDF} without declarations")
    try:
        root = ET.fromstring(text)
        moving = [joint for joint in root.iter("joint") if joint.get("type") == "revolute"]
        if len(moving) != N:
            raise WireError(f"Franka description with {len(moving)} revolute joints, allowed {N}")
        flange = next((joint for joint in root.iter("joint") if joint.get("name", "").endswith("joint8")), None)
        places = [_place(joint) for joint in (*moving, flange)]
        numbers = np.array([[float(_of(joint, tag, key)) for tag, key in _LIMITS] for joint in moving])
    except (ET.ParseError, ValueError) as error:
        raise WireError(f"Franka description cannot be read: {error}") from error
    if not np.isfinite(numbers).all() or (numbers[:, 0] >= numbers[:, 1]).any() or (numbers[:, 2] <= 0.0).any():
        raise WireError(f"Franka description with joint limits {numbers[:, :3].tolist()}")
    names = tuple(str(joint.get("name")) for joint in moving)
    origins, rolls = np.array([p for p, _ in places]), np.array([r for _, r in places])
    q_min, q_max, dq_max, offset, deceleration = numbers.T
    return Description(str(root.get("name")), names, q_min, q_max, dq_max, offset, deceleration, origins, rolls)


_LIMITS = (
    ("limit", "lower"),
    ("limit", "upper"),
    ("limit", "velocity"),
    ("position_based_velocity_limits", "velocity_offset"),
    ("position_based_velocity_limits", "deceleration_limit"),
)


def _of(joint: ET.Element, tag: str, key: str) -> str:
    child = joint.find(tag)
    if child is None or child.get(key) is None:
        raise WireError(f"Franka description: joint '{joint.get('name')}' has no {tag} {key}")
    return str(child.get(key))


def _place(joint: ET.Element | None) -> tuple[list[float], float]:
    origin = None if joint is None else joint.find("origin")
    if origin is None:
        return [0.0] * 3, 0.0
    xyz = [float(x) for x in origin.get("xyz", "0 0 0").split()]
    return (xyz + [0.0] * 3)[:3], float(origin.get("rpy", "0 0 0").split()[0])


@dataclass(frozen=True)
class FrankaModel:
    """One model.

    Attributes:
        name: as in ``driver_kwargs.model``.
        joint_names: from base to tool, as everywhere in this project.
        origins: place of each joint in its parent, with the last for the flange [m].
        rolls: rotation of each joint about its parent's x axis [rad].
        q_min: lower end of the ranges [rad].
        q_max: upper end of the ranges [rad].
        dq_max: joint speed ratings [rad/s].
        offset: of the speed near an end [rad/s].
        deceleration: with which the speed shrinks towards an end [rad/s^2].
        tau_max: joint torque ratings [N m].
        masses: of the links [kg].
        centres: centres of mass of the links [m].
        home: the vendor's ready pose [rad].
    """

    name: str
    joint_names: tuple[str, ...]
    origins: tuple[tuple[float, float, float], ...]
    rolls: tuple[float, ...]
    q_min: tuple[float, ...]
    q_max: tuple[float, ...]
    dq_max: tuple[float, ...]
    offset: tuple[float, ...]
    deceleration: tuple[float, ...]
    tau_max: tuple[float, ...]
    masses: tuple[float, ...]
    centres: tuple[tuple[float, float, float], ...]
    home: tuple[float, ...]

    def forward(self, q: Array) -> Array:
        """Pose of the flange (4, 4) in the base's frame for joint positions (7,) [rad]."""
        pose = np.eye(4)
        for theta, origin, roll in zip((*q, 0.0), self.origins, self.rolls, strict=True):
            c, s, cr, sr = np.cos(theta), np.sin(theta), np.cos(roll), np.sin(roll)
            x, y, z = origin
            pose = pose @ np.array(
                [[c, -s, 0.0, x], [s * cr, c * cr, -sr, y], [s * sr, c * sr, cr, z], [0.0, 0.0, 0.0, 1.0]]
            )
        return pose

    def urdf(self) -> str:
        """Describe the arm as it describes itself; inertias about the centres of mass are stand-ins."""
        base = _joint("base_joint", "fixed", "base", "link0", (0.0, 0.0, 0.0), 0.0)
        parts = [f'<link name="base"/><link name="link0"/>{base}']
        for i in range(N):
            mass, centre = self.masses[i], " ".join(map(str, self.centres[i]))
            parts.append(
                f'<link name="link{i + 1}"><inertial><origin rpy="0 0 0" xyz="{centre}"/><mass value="{mass}"/>'
                '<inertia ixx="0.02" ixy="0" ixz="0" iyy="0.02" iyz="0" izz="0.02"/></inertial></link>'
            )
            limits = (
                f'<axis xyz="0 0 1"/><limit effort="{self.tau_max[i]}" lower="{self.q_min[i]}" upper="{self.q_max[i]}"'
                f' velocity="{self.dq_max[i]}"/><position_based_velocity_limits'
                f' deceleration_limit="{self.deceleration[i]}" velocity_offset="{self.offset[i]}"/>'
            )
            place = (f"link{i}", f"link{i + 1}", self.origins[i], self.rolls[i])
            parts.append(_joint(f"joint{i + 1}", "revolute", *place, limits))
        parts.append('<link name="link8"/>')
        parts.append(_joint("joint8", "fixed", "link7", "link8", self.origins[N], self.rolls[N]))
        return f'<?xml version="1.0"?><robot name="{self.name}">{"".join(parts)}</robot>'


def _joint(name: str, kind: str, parent: str, child: str, xyz: tuple[float, ...], roll: float, more: str = "") -> str:
    place = f'<origin rpy="{roll} 0 0" xyz="{" ".join(map(str, xyz))}"/>'
    return f'<joint name="{name}" type="{kind}">{place}<parent link="{parent}"/><child link="{child}"/>{more}</joint>'


MODELS = {
    "fr3": FrankaModel(
        name="fr3",
        joint_names=tuple(f"fr3_joint{i + 1}" for i in range(N)),
        origins=(
            (0.0, 0.0, 0.333),
            (0.0, 0.0, 0.0),
            (0.0, -0.316, 0.0),
            (0.0825, 0.0, 0.0),
            (-0.0825, 0.384, 0.0),
            (0.0, 0.0, 0.0),
            (0.088, 0.0, 0.0),
            (0.0, 0.0, 0.107),
        ),
        rolls=(0.0, -pi / 2, pi / 2, pi / 2, -pi / 2, pi / 2, pi / 2, 0.0),
        q_min=(-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508),
        q_max=(2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508),
        dq_max=(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
        offset=(0.652, 0.25, 0.2005, 0.3542, 0.5738, 0.4885, 0.4592),
        deceleration=(6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0),
        tau_max=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
        masses=(2.9274653, 2.935537, 2.2449014, 2.6155956, 2.3271208, 1.8170377, 0.62714329),
        centres=(
            (0.0, -0.0181251, -0.0386036),
            (0.0031829, -0.0743222, 0.0088146),
            (0.0407016, -0.0048201, -0.0289731),
            (-0.0459101, 0.0630493, -0.0085188),
            (-0.001604, 0.0292536, -0.0972966),
            (0.0597131, -0.0410295, -0.0101693),
            (0.0045226, 0.0086262, -0.0161633),
        ),
        home=(0.0, -pi / 4, 0.0, -3 * pi / 4, 0.0, pi / 2, pi / 4),
    )
}
"""Name -> model. The Panda (FER) speaks versions 3 to 5 of the protocol, which the client of PyPI does not."""


def find(name: str) -> FrankaModel:
    """Return a model by name.

    Raises:
        ValueError: it is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"Franka model '{name}' is unknown; known: {', '.join(sorted(MODELS))}")
    return MODELS[name]
