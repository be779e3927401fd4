"""The arm of an MJCF as a chain of the bridge: joints, covering capsules, pairs that must not touch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import Arm, load_arm
from hardware.chain import Body, Chain, ChainJoint

from ..errors import RequestError

TOOL = "tcp"
"""Name of the tool centre point; each joint's origin is a point as well, under the joint's name."""

SAME = 1e-6
"""Lengths and poses that differ by less are the same [m, rad]."""

ORIGIN = (0.0, 0.0, 0.0)

Matrix = NDArray[np.float64]


@cache
def chain_of(name: str) -> Chain:
    """Chain of an arm of `envs.arms`, in the frame of its MJCF.

    Geoms that collide become capsules: cylinders, boxes and other shapes the one that covers them. Pairs are those
    that MuJoCo tests for contact.

    Raises:
        RequestError: the arm is no serial chain of hinges.
    """
    arm = load_arm(name)
    model = arm.load_model()
    frames, fixed = _frames(arm, model)
    joints = []
    for i, joint in enumerate(arm.joint_names):
        pos, quat = fixed[int(model.joint(joint).bodyid[0])]
        joints.append(ChainJoint(joint, _numbers(pos), _quaternion(quat), _numbers(model.jnt_axis[i])))
    bodies, geoms = [], {}
    for i in range(model.ngeom):
        if model.geom_bodyid[i] not in frames or not (model.geom_contype[i] or model.geom_conaffinity[i]):
            continue
        frame, pos, quat = frames[int(model.geom_bodyid[i])]
        covering = _capsule(model, i)
        if covering is not None:
            start, end, radius = covering
            at, turn = _compose(pos, quat, model.geom_pos[i], model.geom_quat[i])
            a, b = (_numbers(at + _matrix(turn) @ tip) for tip in (start, end))
            bodies.append(Body(model.geom(i).name or f"geom{i}", frame, a, b, radius))
            geoms[i] = bodies[-1].name
    frame, pos, quat = frames[int(model.site(arm.ee_site).bodyid[0])]
    tool = _numbers(_compose(pos, quat, model.site(arm.ee_site).pos, model.site(arm.ee_site).quat)[0])
    points = [Body(TOOL, frame, tool, tool)]
    points += [Body(joint, i + 1, ORIGIN, ORIGIN) for i, joint in enumerate(arm.joint_names)]
    return Chain(tuple(joints), (*bodies, *points), _pairs(model, geoms))


def compare_chain(chain: Chain, theirs: Chain) -> list[str]:
    """What is wrong with a chain given in a file: its frames must be those of the MJCF, and no body may be missing.

    Args:
        chain: as given.
        theirs: of the MJCF.
    """
    if chain.names != theirs.names:
        return [f"arm.chain has joints {list(chain.names)}, the MJCF has {list(theirs.names)}, in this order"]
    poses = np.random.default_rng(0).uniform(-np.pi, np.pi, (16, chain.n))
    apart = [np.abs(a - b).max() for a, b in zip(chain.frames(poses), theirs.frames(poses), strict=True)]
    if max(apart) > SAME:
        first = int(np.argmax(np.array(apart) > SAME))
        return [f"arm.chain has the frame of '{chain.names[first]}' elsewhere than the MJCF"]
    problems = []
    ours = {body.name: body for body in chain.bodies}
    for body in theirs.bodies:
        mine = ours.get(body.name)
        if mine is None:
            problems.append(f"arm.chain lacks the body '{body.name}' of the MJCF")
        elif replace(mine, start=body.start, end=body.end, radius=body.radius) != body or not _covers(mine, body):
            problems.append(f"arm.chain's body '{body.name}' does not cover that of the MJCF")
    missing = {frozenset(pair) for pair in theirs.pairs} - {frozenset(pair) for pair in chain.pairs}
    return problems + [f"arm.chain lacks the pair {' and '.join(sorted(pair))} of the MJCF" for pair in missing]


def _covers(mine: Body, theirs: Body) -> bool:
    gap = max(float(np.abs(np.subtract(getattr(mine, k), getattr(theirs, k))).max()) for k in ("start", "end"))
    return gap <= SAME and mine.radius >= theirs.radius - SAME


def _frames(
    arm: Arm, model: mujoco.MjModel
) -> tuple[dict[int, tuple[int, Matrix, Matrix]], dict[int, tuple[Matrix, Matrix]]]:
    """For each body of the arm its frame and its pose there; for each jointed body its pose in the frame before."""
    frames: dict[int, tuple[int, Matrix, Matrix]] = {0: (0, np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))}
    fixed: dict[int, tuple[Matrix, Matrix]] = {}
    for body in range(1, model.nbody):
        parent, pos, quat = frames[int(model.body_parentid[body])]
        pos, quat = _compose(pos, quat, model.body_pos[body], model.body_quat[body])
        if model.body_jntnum[body] == 0:
            frames[body] = (parent, pos, quat)
            continue
        joint = int(model.body_jntadr[body])
        plain = model.body_jntnum[body] == 1 and int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_HINGE)
        serial = parent == joint and model.joint(joint).name == arm.joint_names[joint]
        if not (plain and serial) or model.jnt_pos[joint].any():
            raise RequestError(
                f"arm '{arm.name}': body '{model.body(body).name}' is not the next link of a serial chain of hinges "
                "through their bodies' origins; its scene cannot be checked, leave arm.scene empty"
            )
        fixed[body] = (pos, quat)
        frames[body] = (joint + 1, np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
    return frames, fixed


def _capsule(model: mujoco.MjModel, geom: int) -> tuple[Matrix, Matrix, float] | None:
    """Ends and radius of the capsule around a geom, in its own frame; None for a plane."""
    kind, size = int(model.geom_type[geom]), np.array(model.geom_size[geom])
    shapes = mujoco.mjtGeom
    if kind in (int(shapes.mjGEOM_PLANE), int(shapes.mjGEOM_HFIELD)):
        return None
    axis, length, radius = np.eye(3)[2], 0.0, float(model.geom_rbound[geom])
    if kind in (int(shapes.mjGEOM_CAPSULE), int(shapes.mjGEOM_CYLINDER)):
        length, radius = float(size[1]), float(size[0])
        if kind == int(shapes.mjGEOM_CYLINDER):
            return axis * length, -axis * length, radius  # the round ends reach beyond the flat ones
    elif kind == int(shapes.mjGEOM_BOX):
        longest = int(np.argmax(size))
        axis, length = np.eye(3)[longest], float(size[longest])
        radius = float(np.hypot(*np.delete(size, longest)))
    return axis * length, -axis * length, radius


def _pairs(model: mujoco.MjModel, geoms: dict[int, str]) -> tuple[tuple[str, str], ...]:
    excluded = {(int(s) >> 16, int(s) & 0xFFFF) for s in model.exclude_signature}
    found = []
    for a, name_a in geoms.items():
        for b, name_b in geoms.items():
            body_a, body_b = sorted((int(model.geom_bodyid[a]), int(model.geom_bodyid[b])))
            types = (model.geom_contype[a] & model.geom_conaffinity[b]) | (
                model.geom_contype[b] & model.geom_conaffinity[a]
            )
            related = body_a != 0 and int(model.body_parentid[body_b]) == body_a
            if a < b and body_a != body_b and types and not related and (body_a, body_b) not in excluded:
                found.append((name_a, name_b))
    return tuple(found)


def _compose(pos: Matrix, quat: Matrix, then: Matrix, turn: Matrix) -> tuple[Matrix, Matrix]:
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, quat, turn)
    return pos + _matrix(quat) @ then, product


def _matrix(quat: Matrix) -> Matrix:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quat, dtype=np.float64) / np.linalg.norm(quat))
    return matrix.reshape(3, 3)


def _numbers(values: Matrix) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _quaternion(values: Matrix) -> tuple[float, float, float, float]:
    w, x, y, z = (float(v) for v in values)
    return w, x, y, z
