"""The geoms of a MuJoCo model as triangles, for viewers that are not MuJoCo's."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from .rendering import COLLISION_GROUP

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SEGMENTS = 24
"""Of a circle. A cylinder of as many loses 1.1 % of its volume."""
RINGS = 6
"""Between the pole and the equator of a sphere."""
PLANE_HALF = 2.0
"""Half edge that a plane without bounds is drawn with [m]."""


@dataclass(frozen=True, eq=False)
class GeomMesh:
    """A geom to draw.

    Attributes:
        name: unique in the model.
        body: id of the body that it moves with.
        vertices: in the body's frame (V, 3) [m].
        faces: indices of vertices (F, 3), counterclockwise seen from outside.
        rgba: colour, each in [0, 1].
    """

    name: str
    body: int
    vertices: FloatArray
    faces: IntArray
    rgba: tuple[float, float, float, float]


def geom_meshes(model: mujoco.MjModel) -> list[GeomMesh]:
    """What of a model is drawn: all geoms but those for collisions, height fields and signed distance fields.

    Args:
        model: best loaded with `visuals=True`, see `Arm.load_model`.
    """
    meshes = []
    for i in range(int(model.ngeom)):
        surface = None if int(model.geom_group[i]) == COLLISION_GROUP else _surface(model, i)
        if surface is None:
            continue
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[i])
        vertices = surface[0] @ turn.reshape(3, 3).T + model.geom_pos[i]
        material = int(model.geom_matid[i])
        colour = model.geom_rgba[i] if material < 0 else model.mat_rgba[material]
        red, green, blue, alpha = (float(part) for part in colour)
        name = model.geom(i).name or f"geom{i}"
        meshes.append(GeomMesh(name, int(model.geom_bodyid[i]), vertices, surface[1], (red, green, blue, alpha)))
    return meshes


def revolved(radii: FloatArray, heights: FloatArray) -> tuple[FloatArray, IntArray]:
    """Turn a profile around z.

    Args:
        radii: of the profile, from its lower end to its upper (K,) [m].
        heights: z of its points, not falling (K,) [m]; a point that stands twice makes a sharp edge.

    Returns:
        Vertices (V, 3) and faces (F, 3); without faces of no area.
    """
    angle = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    flat = radii[:, None, None] * circle  # (K, S, 2)
    z = np.broadcast_to(heights[:, None, None], (len(heights), SEGMENTS, 1))
    ring, point = np.meshgrid(np.arange(len(radii) - 1), np.arange(SEGMENTS), indexing="ij")
    a, b = ring * SEGMENTS + point, ring * SEGMENTS + (point + 1) % SEGMENTS
    c, d = a + SEGMENTS, b + SEGMENTS
    lower, upper = np.stack([a, b, d], axis=-1), np.stack([a, d, c], axis=-1)
    same = (np.diff(radii) == 0) & (np.diff(heights) == 0)
    faces = np.concatenate([lower[(radii[:-1] > 0) & ~same], upper[(radii[1:] > 0) & ~same]])
    return np.concatenate([flat, z], axis=-1).reshape(-1, 3), faces.reshape(-1, 3)


def _surface(model: mujoco.MjModel, i: int) -> tuple[FloatArray, IntArray] | None:
    """Vertices and faces of geom i in its own frame; None for kinds that are not drawn."""
    kind, size = int(model.geom_type[i]), model.geom_size[i]
    of = mujoco.mjtGeom
    if kind == int(of.mjGEOM_SPHERE):
        return _capsule(float(size[0]), 0.0)
    if kind == int(of.mjGEOM_CAPSULE):
        return _capsule(float(size[0]), float(size[1]))
    if kind == int(of.mjGEOM_CYLINDER):
        radius, half = float(size[0]), float(size[1])
        return revolved(np.array([0, radius, radius, radius, radius, 0]), np.array([-1, -1, -1, 1, 1, 1]) * half)
    if kind == int(of.mjGEOM_ELLIPSOID):
        vertices, faces = _capsule(1.0, 0.0)
        return vertices * size, faces
    if kind == int(of.mjGEOM_BOX):
        return _box(size)
    if kind == int(of.mjGEOM_PLANE):
        x, y = (float(half) or PLANE_HALF for half in size[:2])
        return np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0]]), np.array([[0, 1, 2], [0, 2, 3]])
    if kind == int(of.mjGEOM_MESH):
        mesh = int(model.geom_dataid[i])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        begin, number = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = np.array(model.mesh_vert[first : first + count], np.float64)
        return vertices, np.array(model.mesh_face[begin : begin + number], np.int64)
    return None


def _capsule(radius: float, half: float) -> tuple[FloatArray, IntArray]:
    """A capsule along z; a sphere where half, that of the cylinder between its ends [m], is 0."""
    angle = np.linspace(0, np.pi / 2, RINGS + 1)
    radii, heights = radius * np.sin(angle), radius * np.cos(angle)
    return revolved(np.concatenate([radii, radii[::-1]]), np.concatenate([-heights - half, heights[::-1] + half]))


def _box(half: FloatArray) -> tuple[FloatArray, IntArray]:
    """A box with its own vertices for each side, so that its edges stay sharp."""
    vertices: list[FloatArray] = []
    faces: list[list[int]] = []
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    for axis in range(3):
        for sign in (1.0, -1.0):
            corners = np.empty((4, 3))
            corners[:, axis] = sign
            corners[:, [(axis + 1) % 3, (axis + 2) % 3]] = square if sign > 0 else square[::-1]
            first = 4 * len(vertices)
            vertices.append(corners * half)
            faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
    return np.concatenate(vertices), np.array(faces)
