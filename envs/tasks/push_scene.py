"""The object of the pushing task, and the peg in the hand that pushes it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..arms.arm import Arm

OBJECT_BODY = "object"
HALF_SIZE = (0.035, 0.035, 0.025)
"""Half edges of the box [m]: low enough to slide rather than tip."""
MASS = 0.5
"""[kg]"""
FRICTION = 0.4
"""Sliding friction with the table and the peg."""
PEG = "peg"
PEG_RADIUS = 0.02
"""[m]; as wide as the opening of the fingers that hold it."""
PEG_LENGTH = 0.04
"""From the tool centre point to the tip [m]: keeps the palm above the object, also where the hand tilts."""
OBJECT_RGBA = (0.93, 0.50, 0.13, 1.0)
PEG_RGBA = (0.30, 0.33, 0.38, 1.0)
CONTACT_BIT = 4
"""Only the table and the peg touch the object. The arm's own classes of geoms use bits 1 and 2."""


@dataclass(frozen=True)
class PushSetup:
    """What pushing needs to know about an arm.

    Attributes:
        posture: pose with the hand pointing down, the tool centre point low over the middle of the workspace [rad].
        hand: body that holds the peg along its z axis.
        grip: where the peg begins, on the z axis of the hand [m].
        tool: where the tool centre point is, on the z axis of the hand [m].
    """

    posture: tuple[float, ...]
    hand: str
    grip: float
    tool: float


SETUPS: dict[str, PushSetup] = {
    "panda": PushSetup(
        posture=(0.0, 0.4266, 0.0, -2.3131, 0.0, 2.7397, 0.7854),  # at (0.52, 0, 0.055) m
        hand="hand",
        grip=0.085,
        tool=0.1034,
    )
}


def find_setup(arm: str) -> PushSetup:
    """Setup of an arm.

    Raises:
        ValueError: there is none.
    """
    if arm not in SETUPS:
        raise ValueError(f"arm {arm!r} has no setup for pushing, known arms: {', '.join(SETUPS)}; add one to SETUPS")
    return SETUPS[arm]


def add_object(spec: mujoco.MjSpec, arm: Arm) -> None:
    """Put the box on the table and the peg into the hand.

    Args:
        spec: the arm's, from `Arm.load_model(edit=...)`.
        arm: the arm.
    """
    body = spec.worldbody.add_body(name=OBJECT_BODY, pos=(0.5, 0.0, HALF_SIZE[2]))
    body.add_freejoint(name=OBJECT_BODY)
    body.add_geom(
        name=OBJECT_BODY,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=HALF_SIZE,
        mass=MASS,
        friction=(FRICTION, 0.005, 0.0001),
        priority=1,  # its friction counts, not the larger one of the pair
        contype=CONTACT_BIT,
        conaffinity=0,
        rgba=OBJECT_RGBA,
    )
    setup = find_setup(arm.name)
    hand = next(body for body in spec.bodies if body.name == setup.hand)
    hand.add_geom(
        name=PEG,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        size=(PEG_RADIUS, 0.0, 0.0),
        fromto=(0.0, 0.0, setup.grip + PEG_RADIUS, 0.0, 0.0, setup.tool + PEG_LENGTH - PEG_RADIUS),
        contype=2,  # as the other geoms of the hand: table, base and upper arm
        conaffinity=1 | CONTACT_BIT,
        rgba=PEG_RGBA,
    )
    table = next(geom for geom in spec.geoms if geom.name == "table")
    table.conaffinity = int(table.conaffinity) | CONTACT_BIT


class ContactProbe:
    """Tells what touches what, as of the last collision detection."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Look up the geoms. Args: model: with the object of `add_object`."""
        # Sums of a pair: robot with table 1, robot with robot 2, object with table 4, object with robot 5.
        self._kind: NDArray[np.int64] = np.where(model.geom_bodyid == 0, 0, 1)
        self._kind[int(model.geom(OBJECT_BODY).id)] = 4

    def pushing(self, data: mujoco.MjData) -> bool:
        """Whether the robot touches the object."""
        return bool((self._pairs(data) == 5).any()) if data.ncon else False

    def robot_free(self, data: mujoco.MjData) -> bool:
        """Whether the robot touches nothing, itself included."""
        return bool((self._pairs(data) == 4).all()) if data.ncon else True

    def _pairs(self, data: mujoco.MjData) -> NDArray[np.int64]:
        sums: NDArray[np.int64] = self._kind[data.contact.geom].sum(axis=1)
        return sums
