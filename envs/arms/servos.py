"""Position servos for arms whose model has none."""

from __future__ import annotations

from math import sqrt

import mujoco
import numpy as np
from numpy.typing import NDArray

from .description import Description

LAG = 0.032
"""Time by which a joint follows a moving reference, kv / kp [s]; that of the Panda."""
SATURATION = 0.1
"""Share of its stroke at which the servo of a finger gives its full force, so that a grasp holds with all of it."""
STEP = 0.002
"""Physics step [s]: a finger's servo must not be faster than a quarter of it, or saturation makes it chatter."""


def add_servos(spec: mujoco.MjSpec, about: Description, fingers: dict[str, tuple[float, float]]) -> None:
    """Add the servos that are missing, in the order of the joints.

    With the inertia M of a joint in the home pose, kp = 4 M / LAG^2 and kv = LAG kp: damped critically there, and for
    other inertias by the square root of their ratio. Fingers: see `SATURATION` and `STEP`.

    Args:
        spec: arm and gripper, with no actuators or with position servos for the joints of the arm; changed.
        about: the arm.
        fingers: joints of the gripper with their positions when closed and open.

    Raises:
        ValueError: a joint is not a hinge, the names are not in the model's order, or torque limits are missing.
    """
    model = spec.copy().compile()  # fusing would move things in the original
    names = [model.joint(i).name for i in range(model.njnt)]
    if names != [*about.joints, *fingers]:
        raise ValueError(f"arm {about.name!r}: joints are {list(about.joints)}, the model has the order {names}")
    hinge = int(mujoco.mjtJoint.mjJNT_HINGE)
    for name in about.joints:
        if int(model.joint(name).type[0]) != hinge:
            raise ValueError(f"arm {about.name!r}: joint {name!r} does not turn, allowed only hinges; leave it out")
    inertia = _inertia(model, about)
    limits = np.broadcast_to(_torques(model, about), (len(about.joints),))
    if not spec.actuators:
        for name, mass, limit in zip(about.joints, inertia, limits, strict=False):
            _add(spec, model, name, 4.0 * float(mass) / LAG**2, LAG, float(limit))
    if about.gripper is None:
        return
    for name, mass in zip(fingers, inertia[len(about.joints) :], strict=True):
        closed, opened = fingers[name]
        force = about.gripper.force
        kp = min(force / (SATURATION * abs(opened - closed)), float(mass) / (2.0 * STEP) ** 2)
        _add(spec, model, name, kp, 2.0 * sqrt(float(mass) / kp), force, closed, opened)


def _add(
    spec: mujoco.MjSpec,
    model: mujoco.MjModel,
    name: str,
    kp: float,
    lag: float,
    limit: float,
    *ends: float,
) -> None:
    joint = model.joint(name)
    bounds = sorted(ends) if ends else joint.range if model.jnt_limited[joint.id] else (-2 * np.pi, 2 * np.pi)
    servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.gaintype, servo.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
    servo.gainprm[0], servo.biasprm[1], servo.biasprm[2] = kp, -kp, -lag * kp
    servo.ctrlrange, servo.ctrllimited = bounds, True
    servo.forcerange, servo.forcelimited = (-limit, limit), True


def _torques(model: mujoco.MjModel, about: Description) -> NDArray[np.float64]:
    """Torque limits: of the description, else of the actuators, else of the joints."""
    if about.tau_max is not None:
        return np.array(about.tau_max)
    ids = [int(model.joint(name).id) for name in about.joints]
    if model.nu and model.actuator_forcelimited[: len(ids)].all():
        return model.actuator_forcerange[: len(ids), 1].copy()
    if model.jnt_actfrclimited[ids].all():
        return model.jnt_actfrcrange[ids, 1].copy()
    raise ValueError(f"arm {about.name!r}: {about.model.name} has no torque limits; give tau_max [N m] for each joint")


def _inertia(model: mujoco.MjModel, about: Description) -> NDArray[np.float64]:
    """Diagonal of the mass matrix at home, (nv,) [kg m^2 or kg]."""
    data = mujoco.MjData(model)
    data.qpos[: len(about.home)] = about.home
    mujoco.mj_forward(model, data)
    full = np.empty((model.nv, model.nv))
    for unit, column in zip(np.eye(model.nv), full, strict=True):
        mujoco.mj_mulM(model, data, column, unit)
    return full.diagonal()
