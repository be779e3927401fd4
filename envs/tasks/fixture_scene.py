"""Shapes and joints of things that stand on the table: what buttons, drawers, doors and blocks are made of."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from .push_scene import OBJECT_BODY, OBJECT_RGBA

PART = "part"
"""Body and joint of what moves."""
HEAVY, DAMPED = 1e6, 1e8
"""Mass [kg, kg m^2] and damping [N s/m, N m s] of the joints that place a fixture: 1 kN moves it by 10 um a second."""
END_STOP = (0.005, 1.0)
"""Four times as fast as MuJoCo's own: an arm that leans on a part moves it by less than 5 mm beyond its way."""
SLOT = (0.032, 0.045)
"""Half width and half length of the slot of a handle, for a large arm as all lengths here [m]. The peg has 12 mm of
play, because the tool of an arm tilts by up to 20 degrees across its table."""
BAR, HANDLE_HEIGHT = 0.012, 0.03
"""Thickness and height of the handle [m]."""
PANEL = SLOT[0] + BAR / 2.0
"""Distance of the middle of the panel that carries a handle from the middle of the slot [m]."""
BASE_RGBA = (0.36, 0.40, 0.46, 1.0)


def add_fixture(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """Add a body that stands wherever the state says.

    Its joints (x, y, z, yaw) are too heavy and too damped to move. So its place is part of the physics state, and
    whatever saves, restores or predicts states knows it.

    Args:
        spec: arm on its table.

    Returns:
        The body; parts added to it should not touch the table, which it goes through.
    """
    body = spec.worldbody.add_body(name=OBJECT_BODY, gravcomp=1.0)
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    joints = {"x": (slide, (1, 0, 0)), "y": (slide, (0, 1, 0)), "z": (slide, (0, 0, 1)), "yaw": (hinge, (0, 0, 1))}
    for name, (kind, axis) in joints.items():
        joint = body.add_joint(name=f"{OBJECT_BODY}_{name}", type=kind, axis=axis, armature=HEAVY, damping=DAMPED)
        joint.limited = mujoco.mjtLimited.mjLIMITED_FALSE  # whatever the defaults of the arm's file say
    spec.add_exclude(bodyname1="world", bodyname2=OBJECT_BODY)
    return body


def add_part(spec: mujoco.MjSpec, body: mujoco.MjsBody, height: float, **joint: Any) -> mujoco.MjsBody:
    """Add what moves, over the origin. Args: body: the fixture; height: [m]; **joint: of `add_joint`."""
    part = body.add_body(name=PART, pos=(0.0, 0.0, height), gravcomp=1.0)
    part.add_joint(name=PART, solref_limit=END_STOP, **joint)
    spec.add_exclude(bodyname1="world", bodyname2=PART)
    return part


def add_shape(
    body: mujoco.MjsBody,
    pos: tuple[float, float, float],
    size: tuple[float, ...],
    scale: float,
    rgba: tuple[float, ...] = OBJECT_RGBA,
) -> None:
    """Add a box or an upright cylinder that all of the robot can touch.

    Args:
        body: fixture or part.
        pos: centre, for a large arm (3,) [m].
        size: half edges (3,), or radius and half height (2,) of a cylinder, for a large arm [m].
        scale: size of the arm.
        rgba: colour, by default of what moves.
    """
    both = 1 | 2  # near and far geoms of the arm
    kind = mujoco.mjtGeom.mjGEOM_BOX if len(size) == 3 else mujoco.mjtGeom.mjGEOM_CYLINDER
    body.add_geom(
        type=kind,
        pos=np.array(pos) * scale,
        size=np.array([*size, 0.0][:3]) * scale,
        contype=both,
        conaffinity=both,
        priority=1,
        friction=(0.4, 0.005, 0.0001),
        rgba=rgba,
    )


def add_handle(part: mujoco.MjsBody, scale: float) -> None:
    """Add a bow handle that is open above and below: a slot for a peg around the z axis of the part, its top at z = 0.

    Args:
        part: its panel stands behind the slot, at x = -`PANEL`.
        scale: size of the arm.
    """
    (gap, width), thick, half = SLOT, BAR / 2.0, HANDLE_HEIGHT / 2.0
    add_shape(part, (gap + thick, 0.0, -half), (thick, width + BAR, half), scale)
    for side in (-1.0, 1.0):
        add_shape(part, (0.0, side * (width + thick), -half), (gap, thick, half), scale)
