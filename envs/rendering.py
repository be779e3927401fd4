"""Off-screen pictures of an arm with paths and markers drawn in.

In software, shadow maps and multisampling cost 10 to 100 times the rest of a frame: both are off by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arms.arm import Arm
from .gl import open_context

Rgba = Sequence[float] | NDArray[np.floating[Any]]


COLLISION_GROUP = 3
"""Group of the collision geoms in the MJCF files; MuJoCo does not draw it by default."""
SHADOW_SHADE = 0.62
SHADOW_HEIGHT = 0.002
"""Brightness, as a share of the table's, and thickness [m] of the drawn shadows."""
GLOW = 0.3
"""Emission of paths and markers, so that their colour reads the same from all sides."""
ORIGIN = (0.0, 0.0, 0.0)
UPRIGHT = np.eye(3)

CLASSES = ("background", "robot", "table", "object")
"""What `SceneRenderer.segmentation` tells apart; its numbers count from 0. Further objects have further numbers."""


class Polyline(NamedTuple):
    """A path to draw: points (K, 3) [m], colour, radius [m]."""

    points: ArrayLike
    rgba: Rgba = (0.05, 0.45, 0.95, 1.0)
    radius: float = 0.006


class Marker(NamedTuple):
    """A sphere to draw: centre (3,) [m], colour, radius [m]."""

    center: ArrayLike
    rgba: Rgba = (0.10, 0.80, 0.35, 0.85)
    radius: float = 0.025


class SceneRenderer:
    """Draws one arm; holds a GL context until `close`."""

    def __init__(
        self,
        arm: Arm,
        width: int = 480,
        height: int = 360,
        camera: str = "main",
        *,
        shadows: bool = False,
        samples: int = 0,
        max_geom: int = 4000,
        model: mujoco.MjModel | None = None,
    ) -> None:
        """Load the arm with its visual geoms and open a GL context.

        Args:
            arm: the arm.
            width: of the image [pixels].
            height: of the image [pixels].
            camera: of the scene: main, top, front, left, right or table.
            shadows: draw shadows (slow in software).
            samples: multisampling of edges, 0 or 4 (slow in software).
            max_geom: upper bound of everything drawn.
            model: of the arm and what surrounds it, with visual geoms; its settings for pictures are changed. None
                takes the arm alone.

        Raises:
            ValueError: the size or the camera is not usable.
            RuntimeError: no GL context can be opened on this machine.
        """
        if width < 1 or height < 1:
            raise ValueError(f"image size is {width} x {height} pixels, must be at least 1 x 1")
        self._model = arm.load_model(visuals=True) if model is None else model
        cameras = [self._model.camera(i).name for i in range(self._model.ncam)]
        self._model.vis.global_.offwidth = width
        self._model.vis.global_.offheight = height
        self._model.vis.quality.offsamples = samples
        self._data = mujoco.MjData(self._model)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = int(mujoco.mjtCamera.mjCAMERA_FIXED)
        self._cameras = cameras
        self.use(camera)
        self._drop_shadows = not shadows
        self._capsules = np.flatnonzero(self._model.geom_type == int(mujoco.mjtGeom.mjGEOM_CAPSULE))
        self._capsules = self._capsules[self._model.geom_group[self._capsules] == COLLISION_GROUP]
        self._table = int(self._model.geom("table").id)
        self._scene = mujoco.MjvScene(self._model, maxgeom=max_geom)
        self._scene.flags[int(mujoco.mjtRndFlag.mjRND_SHADOW)] = shadows
        self._scene.flags[int(mujoco.mjtRndFlag.mjRND_REFLECTION)] = False
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)
        self._gl: Any = open_context(width, height)
        self._context = mujoco.MjrContext(self._model, int(mujoco.mjtFontScale.mjFONTSCALE_100))
        mujoco.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), self._context)

    def render(self, q: ArrayLike, paths: Sequence[Polyline] = (), markers: Sequence[Marker] = ()) -> NDArray[np.uint8]:
        """Draw a pose.

        Args:
            q: joint positions (n,) [rad], followed by those of what surrounds the arm (nq,).
            paths: polylines drawn as chains of capsules.
            markers: spheres.

        Returns:
            New image (height, width, 3), uint8.

        Raises:
            RuntimeError: the renderer has been closed.
        """
        self._update(q)
        self._add_shadows(markers)
        for path in paths:
            self._add_path(Polyline(*path))
        for marker in markers:
            self._add_marker(Marker(*marker))
        self._gl.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1].copy()  # OpenGL counts rows from the bottom

    def use(self, camera: str) -> None:
        """Look through another camera from now on.

        Args:
            camera: its name.

        Raises:
            ValueError: it is unknown.
        """
        if camera not in self._cameras:
            known = ", ".join(self._cameras)
            raise ValueError(f"camera {camera!r} is unknown, known cameras: {known}")
        self._camera.fixedcamid = self._cameras.index(camera)

    @property
    def model(self) -> mujoco.MjModel:
        """What is drawn; changes to its cameras, lights and colours show in the next picture."""
        return self._model

    def depth(self, q: ArrayLike) -> NDArray[np.float32]:
        """Distances along the camera's axis.

        Args:
            q: as for `render`.

        Returns:
            New array (height, width) [m].
        """
        self._update(q)
        self._gl.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        buffer = np.empty(self._pixels.shape[:2], dtype=np.float32)
        mujoco.mjr_readPixels(None, buffer, self._rect, self._context)
        extent, clip = self._model.stat.extent, self._model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        # OpenGL keeps 1/z, linear between the planes; MuJoCo turns it into 0 far to 1 near where the machine can.
        return np.asarray(near / (1.0 - buffer[::-1] * (1.0 - near / far)), dtype=np.float32)

    def segmentation(self, q: ArrayLike) -> NDArray[np.uint8]:
        """What each pixel shows.

        Args:
            q: as for `render`.

        Returns:
            New array (height, width): the place in `CLASSES`; further objects count on.
        """
        self._update(q)
        segment, idcolor = int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)
        self._scene.flags[segment] = self._scene.flags[idcolor] = True
        try:
            self._gl.make_current()
            mujoco.mjr_render(self._rect, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        finally:
            self._scene.flags[segment] = self._scene.flags[idcolor] = False
        red, green, blue = np.moveaxis(self._pixels[::-1].astype(np.int64), -1, 0)
        number = red + 256 * green + 65536 * blue  # 0 is nothing, otherwise a geom's segid + 1
        table = np.zeros(self._scene.ngeom + 1, dtype=np.uint8)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == int(mujoco.mjtObj.mjOBJ_GEOM):
                table[geom.segid + 1] = self.kinds[geom.objid]
        return table[number]

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """Class of every geom of the model (ngeom,), its place in `CLASSES`."""
        model = self._model
        roots = model.body_rootid[model.geom_bodyid]
        robot = int(model.body_rootid[int(model.site_bodyid[int(model.site("ee").id)])])
        others = [root for root in dict.fromkeys(roots) if root not in (0, robot)]
        kinds = np.zeros(model.ngeom, dtype=np.uint8)
        kinds[roots == robot] = CLASSES.index("robot")
        scenery = {"table": "table", "edge": "table", "backdrop": "background", "wall": "object"}
        for geom in np.flatnonzero(roots == 0):  # with the base of the robot, which does not move
            kinds[geom] = CLASSES.index(scenery.get(model.geom(int(geom)).name, "robot"))
        for i, root in enumerate(others):
            kinds[roots == root] = CLASSES.index("object") + i
        return kinds

    def _update(self, q: ArrayLike) -> None:
        """Pose the scene."""
        if self._gl is None:
            raise RuntimeError("the renderer is closed; make a new one to draw again")
        self._data.qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        every = int(mujoco.mjtCatBit.mjCAT_ALL)
        mujoco.mjv_updateScene(self._model, self._data, self._option, None, self._camera, every, self._scene)

    def close(self) -> None:
        """Free the GL context. Closing twice is harmless."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def _add_shadows(self, markers: Sequence[Marker]) -> None:
        """Draw the shadows of the collision capsules and the markers as flat shapes on the table.

        They tell where in depth a thing is, at a small part of the cost of a shadow map.
        """
        if not self._drop_shadows:
            return
        radius, half = self._model.geom_size[self._capsules, :2].T
        center = self._data.geom_xpos[self._capsules]
        reach = half[:, None] * self._data.geom_xmat[self._capsules][:, [2, 5, 8]]
        spots = [Marker(*marker) for marker in markers]
        balls = np.array([marker.center for marker in spots], dtype=np.float64).reshape(-1, 3)
        radius = np.concatenate([radius, [marker.radius for marker in spots]])
        starts, ends = np.concatenate([center - reach, balls]), np.concatenate([center + reach, balls])
        direction = self._model.light_dir[0]
        table, size = self._model.geom_pos[self._table], self._model.geom_size[self._table, :2] - radius[:, None]
        a, b = (
            np.clip((points - direction * (points[:, 2:] / direction[2]))[:, :2] - table[:2], -size, size) + table[:2]
            for points in (starts, ends)
        )
        rgba = self._model.geom_rgba[self._table].copy()
        rgba[:3] *= SHADOW_SHADE
        for shape in zip(a, b, radius, np.linalg.norm(b - a, axis=1), strict=True):
            self._add_shadow(*shape, float(table[2]), rgba)

    def _add_shadow(
        self, a: NDArray[Any], b: NDArray[Any], radius: float, length: float, height: float, rgba: NDArray[Any]
    ) -> None:
        """A stadium between two points (2,) on the table."""
        flat = (radius, SHADOW_HEIGHT / 2, 0.0)  # a cylinder has radius and half length
        cylinder, box = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_BOX
        self._add_geom(cylinder, rgba, (*a, height), flat)
        if length > 1e-6:
            x, y = (b - a) / length
            self._add_geom(cylinder, rgba, (*b, height), flat)
            middle = (*(a + b) / 2, height)
            size = (length / 2, radius, SHADOW_HEIGHT / 2)
            self._add_geom(box, rgba, middle, size, ((x, -y, 0.0), (y, x, 0.0), (0.0, 0.0, 1.0)))

    def _add_path(self, path: Polyline) -> None:
        points = np.asarray(path.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"path has shape {points.shape}, need points (K, 3) in metres")
        for start, end in pairwise(points):
            geom = self._add_geom(mujoco.mjtGeom.mjGEOM_CAPSULE, path.rgba)
            if geom is not None:
                mujoco.mjv_connector(geom, int(mujoco.mjtGeom.mjGEOM_CAPSULE), path.radius, start, end)
                geom.emission = GLOW

    def _add_marker(self, marker: Marker) -> None:
        size = np.full(3, marker.radius)
        geom = self._add_geom(mujoco.mjtGeom.mjGEOM_SPHERE, marker.rgba, marker.center, size)
        if geom is not None:
            geom.emission = GLOW

    def _add_geom(
        self,
        kind: Any,
        rgba: ArrayLike,
        pos: ArrayLike = ORIGIN,
        size: ArrayLike = ORIGIN,
        mat: ArrayLike = UPRIGHT,
    ) -> mujoco.MjvGeom | None:
        """Claim a geom of the scene; None when it is full, for a picture without the rest is still useful."""
        if self._scene.ngeom >= self._scene.maxgeom:
            return None
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        mujoco.mjv_initGeom(
            geom,
            int(kind),
            np.asarray(size, dtype=np.float64),
            np.asarray(pos, dtype=np.float64),
            np.asarray(mat, dtype=np.float64).ravel(),
            np.asarray(rgba, dtype=np.float32),
        )
        return geom
