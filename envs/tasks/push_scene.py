"""The object of the pushing task, and the peg in the hand that pushes it."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..arms.robot import EE, OBJECT_BIT

OBJECT_BODY = "object"
HALF_SIZE = (0.035, 0.035, 0.025)
"""Half edges of the box for a large arm [m]: low enough to slide rather than tip."""
MASS = 0.5
"""[kg]; it goes with the volume."""
CONTACT = 0.01
"""Time constant of the contacts of objects [s]: softer than the arm's, or they jump in a grasp and off the peg."""
IMPEDANCE = (0.95, 0.99, 0.001, 0.5, 2.0)
"""Of these contacts: they give way less to a load than at MuJoCo's default, an arm's too, and are not faster for it."""
FRICTION = 0.4
"""Sliding friction with the table and the peg."""
PEG = "peg"
TIP = "tip"
PEG_RADIUS = 0.02
"""[m]; as wide as the opening of the fingers that hold it."""
PEG_LENGTH = 0.04
"""From the tool centre point to the tip [m]: keeps the palm above the object, also where the hand tilts."""
PEG_GRIP = 0.0184
"""From the tool centre point back to where the peg begins [m]."""
OBJECT_RGBA = (0.93, 0.50, 0.13, 1.0)
PEG_RGBA = (0.30, 0.33, 0.38, 1.0)


def add_object(spec: mujoco.MjSpec, scale: float = 1.0) -> None:
    """Put the box on the table and the peg into the hand.

    Args:
        spec: arm on its table, from `Arm.load_model(edit=...)`.
        scale: size of the arm, see `envs.workspace.Workspace`.
    """
    add_box(spec, OBJECT_BODY, scale)
    add_peg(spec, scale)


def add_box(spec: mujoco.MjSpec, name: str, scale: float, friction: float = FRICTION) -> None:
    """Put a box that moves freely on the table.

    Args:
        spec: arm on its table.
        name: of body, joint and geom.
        scale: size of the arm.
        friction: sliding friction with everything.
    """
    body = spec.worldbody.add_body(name=name, pos=(0.5, 0.0, HALF_SIZE[2] * scale))
    body.add_freejoint(name=name)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=np.array(HALF_SIZE) * scale,
        mass=MASS * scale**3,
        friction=(friction, 0.005, 0.0001),
        solref=(CONTACT, 1.0),
        solimp=IMPEDANCE,
        priority=1,  # its friction counts, not the larger one of the pair
        contype=OBJECT_BIT,
        conaffinity=0,
        rgba=OBJECT_RGBA,
    )
    table = spec.geom("table")
    table.conaffinity = int(table.conaffinity) | OBJECT_BIT


def add_cylinder(
    spec: mujoco.MjSpec,
    radius: float,
    half_height: float,
    mass: float,
    friction: Sequence[float],
    condim: int = 3,
    contact: float = CONTACT,
) -> None:
    """Add a cylinder that stands on the table and moves freely.

    Args:
        spec: of the scene.
        radius, half_height: of the cylinder [m].
        mass: of it [kg].
        friction: coefficients of MuJoCo, sliding first; its own count in every contact.
        condim: dimensions of its contacts.
        contact: time constant of its contacts [s].
    """
    body = spec.worldbody.add_body(name=OBJECT_BODY, pos=(0.5, 0.0, half_height))
    body.add_freejoint(name=OBJECT_BODY)
    body.add_geom(
        name=OBJECT_BODY,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=(radius, half_height, 0.0),
        mass=mass,
        friction=friction,
        condim=condim,
        priority=1,
        solref=(contact, 1.0),
        solimp=IMPEDANCE,
        contype=OBJECT_BIT,
        conaffinity=0,
        rgba=OBJECT_RGBA,
    )
    table = spec.geom("table")
    table.conaffinity = int(table.conaffinity) | OBJECT_BIT


def add_peg(spec: mujoco.MjSpec, scale: float, radius: float = PEG_RADIUS, length: float = PEG_LENGTH) -> None:
    """Put a peg into the hand, along the axis of the tool; the site `tip` is at its end.

    Args:
        spec: arm on its table.
        scale: size of the arm.
        radius: for a large arm [m].
        length: from the tool centre point to the tip, for a large arm [m].
    """
    site, radius = spec.site(EE), radius * scale
    axis = np.zeros(3)
    mujoco.mju_rotVecQuat(axis, np.array([0.0, 0.0, 1.0]), np.array(site.quat))
    start, tip = np.array(site.pos) - PEG_GRIP * scale * axis, np.array(site.pos) + length * scale * axis
    site.parent.add_geom(
        name=PEG,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        size=(radius, 0.0, 0.0),
        fromto=(*(start + radius * axis), *(tip - radius * axis)),
        mass=0.0,
        contype=2,  # as the other geoms of the hand: table, base and upper arm
        conaffinity=1 | OBJECT_BIT,
        rgba=PEG_RGBA,
    )
    site.parent.add_site(name=TIP, pos=tip, size=[0.005] * 3, group=4)


class ContactProbe:
    """Tells what touches what, as of the last collision detection."""

    def __init__(self, model: mujoco.MjModel, objects: Sequence[str] = (OBJECT_BODY,)) -> None:
        """Look up the geoms.

        Args:
            model: of the scene.
            objects: names of the bodies on the table; what hangs on them belongs to them.
        """
        # Sums of a pair: robot with table 1, robot with robot 2, object with table 4, with robot 5, with object 8.
        self._kind: NDArray[np.int64] = np.where(model.geom_bodyid == 0, 0, 1)
        for name in objects:
            self._kind[model.body_rootid[model.geom_bodyid] == model.body(name).id] = 4
        self._kinds: list[int] = self._kind.tolist()

    def pushing(self, data: mujoco.MjData) -> bool:
        """Whether the robot touches an object."""
        # In Python's numbers: with few contacts numpy takes longer.
        kinds = self._kinds
        return data.ncon > 0 and any(kinds[a] + kinds[b] == 5 for a, b in data.contact.geom.tolist())

    def robot_free(self, data: mujoco.MjData) -> bool:
        """Whether the robot touches nothing, itself included."""
        return bool((self._pairs(data) % 4 == 0).all()) if data.ncon else True

    def _pairs(self, data: mujoco.MjData) -> NDArray[np.int64]:
        kinds = self._kind[data.contact.geom]
        sums: NDArray[np.int64] = kinds[:, 0] + kinds[:, 1]
        return sums
