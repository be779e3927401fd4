"""Arm and gripper as one model, by MuJoCo's own model editing; neither knows the other."""

from __future__ import annotations

from math import cos, sin
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from .description import Description, GripperDescription
from .servos import add_servos

FloatArray = NDArray[np.float64]

EE = "ee"
"""Site at the tool centre point of every robot, its z axis pointing out of the hand."""
GRIPPER_PREFIX = "gripper_"
OBJECT_BIT = 4
"""Collision bit of the objects of tasks; arms use bits 1 and 2. What touches objects has it in its conaffinity."""
CONTACT = 0.004
"""Time constant of contacts [s]: two physics steps, the least that is stable. MuJoCo makes contacts as soft as suits
the lighter of the two, so that at its default of 20 ms an arm presses small things centimetres into the table."""
_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)


def robot_spec(about: Description, *, gripper: bool = False) -> mujoco.MjSpec:
    """Arm with gripper, without a scene.

    Args:
        about: the arm.
        gripper: let the fingers move; otherwise they are fixed.

    Returns:
        Model with the joints of the arm and then those of the gripper, one position servo for each in this order, and
        the site `ee`. Every other joint of the file is frozen, and its scenery is gone: other bodies, planes, lights,
        cameras, sensors, keyframes.

    Raises:
        ValueError: the file cannot be read, or lacks something that the description names.
    """
    spec = _load(about)
    hand = about.gripper
    if gripper and hand is None:
        raise ValueError(f"arm {about.name!r} has no gripper, which the task needs; describe one in its file")
    _strip(spec, about)
    moving: dict[str, tuple[float, float]] = {}
    if hand is not None:
        names = _attach(spec, about, hand, gripper)
        if gripper or hand.fixed is None:
            for name in names:
                _joint(spec, about, name)
        order = [joint.name for joint in spec.joints]
        moving = {name: names[name] for name in sorted(names, key=order.index)} if gripper else {}
        if not gripper and hand.fixed is None:
            for name, (closed, opened) in names.items():
                _freeze(spec, _joint(spec, about, name), closed + hand.hold * (opened - closed))
    _keep_only(spec, about, tuple(moving))
    for joint in about.joints:
        _joint(spec, about, joint)
    _mark_tip(spec, about)
    for body in spec.bodies:
        if body is not spec.worldbody:
            body.gravcomp = 1.0
    if moving:
        _let_touch(spec, tuple(moving))
    add_servos(spec, about, moving)
    return spec


def open_spec(path: Path) -> mujoco.MjSpec:
    """Model of an MJCF or URDF file, to which others can be attached; bodies and sites are turned by quaternions."""
    spec = mujoco.MjSpec.from_file(str(path))
    spec.copy_during_attach = True  # without it MuJoCo 3.11 frees what is attached twice
    plain = mujoco.mjtOrientation.mjORIENTATION_QUAT
    for element in (*spec.bodies, *spec.sites):
        if int(element.alt.type) != int(plain):
            element.quat = _quaternion(spec, element)
            element.alt.type = plain
    return spec


def _quaternion(spec: mujoco.MjSpec, element: mujoco.MjsBody | mujoco.MjsSite) -> FloatArray:
    """How an element is turned that says so by angles or axes, whose meaning depends on its model's settings."""
    other = mujoco.MjSpec()
    other.compiler.degree, other.compiler.eulerseq = spec.compiler.degree, spec.compiler.eulerseq
    site = other.worldbody.add_site()
    for name in ("type", "axisangle", "xyaxes", "zaxis", "euler"):
        setattr(site.alt, name, getattr(element.alt, name))
    return np.array(other.compile().site_quat[0])


def adopt_options(parent: mujoco.MjSpec, child: mujoco.MjSpec) -> None:
    """Give a model the physics settings of the one it is about to be attached to; MuJoCo warns where they differ."""
    for name in dir(parent.option):
        value = getattr(parent.option, name)
        if not name.startswith("_") and not callable(value):
            setattr(child.option, name, value)


def _load(about: Description) -> mujoco.MjSpec:
    try:
        return open_spec(about.model)
    except ValueError as error:
        raise ValueError(f"model {about.model} of arm {about.name!r} cannot be read: {error}") from error


def _strip(spec: mujoco.MjSpec, about: Description) -> None:
    """Remove what belongs to a scene: all but the body that carries the joints, and for URDF the geoms of its base."""
    for element in (*spec.keys, *spec.sensors, *spec.lights, *spec.cameras):
        spec.delete(element)
    carriers = {_joint(spec, about, name).parent.name for name in about.joints}
    for body in list(spec.worldbody.bodies):
        if not carriers & {body.name, *(below.name for below in body.find_all("body"))}:
            spec.delete(body)
    urdf = about.model.suffix == ".urdf"  # there the base is fused with the world
    for geom in list(spec.worldbody.geoms):
        if not urdf or int(geom.type) == int(mujoco.mjtGeom.mjGEOM_PLANE):
            spec.delete(geom)


def _attach(
    spec: mujoco.MjSpec, about: Description, hand: GripperDescription, moving: bool
) -> dict[str, tuple[float, float]]:
    """Attach the gripper's model, if it has one; returns its joints by the names they have then."""
    if hand.model is None:
        return dict(hand.joints)
    file = hand.model if moving or hand.fixed is None else hand.fixed
    site = spec.site(about.flange)
    if site is None:
        raise ValueError(f"model {about.model} has no site {about.flange!r} for the gripper; name one in 'flange'")
    gripper = open_spec(file)
    adopt_options(spec, gripper)
    spec.attach(gripper, prefix=GRIPPER_PREFIX, site=site)
    return {GRIPPER_PREFIX + name: ends for name, ends in hand.joints.items()}


def _joint(spec: mujoco.MjSpec, about: Description, name: str) -> mujoco.MjsJoint:
    joint = spec.joint(name)
    if joint is None:
        known = ", ".join(j.name for j in spec.joints if j.name)
        raise ValueError(f"arm {about.name!r}: joint {name!r} is not in {about.model.name}, which has: {known}")
    return joint


def _keep_only(spec: mujoco.MjSpec, about: Description, moving: tuple[str, ...]) -> None:
    """Freeze the other joints, and remove what acts on them."""
    kept = {*about.joints, *moving}
    drop = [joint for joint in spec.joints if joint.name not in kept]
    names = {joint.name for joint in drop}
    for equality in list(spec.equalities):
        if int(equality.objtype) != int(mujoco.mjtObj.mjOBJ_JOINT) or {equality.name1, equality.name2} & names:
            spec.delete(equality)
    servos = [a for a in spec.actuators if a.target in about.joints and _is_servo(a)]
    keep = [a.target for a in servos] == list(about.joints)
    for actuator in list(spec.actuators):
        if not keep or actuator not in servos:
            spec.delete(actuator)
    for tendon in list(spec.tendons):
        spec.delete(tendon)
    for joint in drop:
        spec.delete(joint)


def _is_servo(actuator: mujoco.MjsActuator) -> bool:
    on_joint = int(actuator.trntype) == int(mujoco.mjtTrn.mjTRN_JOINT)
    affine = int(actuator.biastype) == int(mujoco.mjtBias.mjBIAS_AFFINE)
    return on_joint and affine and actuator.gainprm[0] > 0 and actuator.biasprm[1] == -actuator.gainprm[0]


def _freeze(spec: mujoco.MjSpec, joint: mujoco.MjsJoint, value: float) -> None:
    """Move the joint's body to where the joint would put it; the joint itself goes later.

    Args:
        spec: owner of the joint.
        joint: hinge or slide.
        value: position [rad or m].
    """
    body = joint.parent
    quat, axis, anchor = (np.array(v, dtype=np.float64) for v in (body.quat, joint.axis, joint.pos))
    axis /= np.linalg.norm(axis)
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat / np.linalg.norm(quat))
    rotation = matrix.reshape(3, 3)
    if int(joint.type) == _SLIDE:
        body.pos = np.array(body.pos) + rotation @ axis * value
        return
    turned, spun = np.zeros(4), np.zeros(3)
    turn = np.array([cos(value / 2), *(sin(value / 2) * axis)])
    mujoco.mju_mulQuat(turned, quat, turn)
    mujoco.mju_rotVecQuat(spun, anchor, turn)
    body.pos = np.array(body.pos) + rotation @ (anchor - spun)
    body.quat = turned


def _mark_tip(spec: mujoco.MjSpec, about: Description) -> None:
    """Give the tool centre point its name."""
    prefixed = GRIPPER_PREFIX + EE
    attached = about.gripper is not None and about.gripper.model is not None and about.ee_pos is None
    name = prefixed if attached and spec.site(prefixed) is not None and about.ee == EE else about.ee
    if about.ee_pos is not None:
        body = spec.body(about.ee)
        if body is None:
            known = ", ".join(b.name for b in spec.bodies if b.name)
            raise ValueError(f"arm {about.name!r}: ee names the body {about.ee!r}, {about.model.name} has: {known}")
        body.add_site(name=EE, pos=about.ee_pos, quat=_turn_z(np.array(about.ee_zaxis)), size=[0.008] * 3, group=4)
        return
    site = spec.site(name)
    if site is None:
        known = ", ".join(s.name for s in spec.sites if s.name) or "none"
        raise ValueError(
            f"arm {about.name!r}: site {name!r} for the tool centre point is not in {about.model.name}, sites there: "
            f"{known}; name one in 'ee', or a body in 'ee' with the point in 'ee_pos'"
        )
    if site.name != EE:
        site.name = EE


def _turn_z(direction: FloatArray) -> FloatArray:
    """Quaternion that turns z into a direction (3,)."""
    quat = np.zeros(4)
    mujoco.mju_quatZ2Vec(quat, direction / np.linalg.norm(direction))
    return quat


def _let_touch(spec: mujoco.MjSpec, joints: tuple[str, ...]) -> None:
    """What hangs on the finger joints touches objects, and so does the body that carries them."""
    for name in joints:
        body = spec.joint(name).parent
        for geom in (*body.find_all("geom"), *body.parent.geoms):
            if int(geom.contype) or int(geom.conaffinity):
                geom.conaffinity = int(geom.conaffinity) | OBJECT_BIT
        for geom in body.find_all("geom"):
            geom.priority = 1
