"""The 3D part of the view: arm, ghost, goal, plan and candidates as viser draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import ArmEnv, GeomMesh, geom_meshes

from ..report.candidates import Candidates, ball
from ..report.video import PLANNED, TRAVELLED
from .frame import Frame

GHOST = (120, 150, 205)
GHOST_OPACITY = 0.30
GOAL = (26, 204, 90)
THIN, THICK, WAY, PLAN, DOT = 0.0012, 0.0024, 0.004, 0.006, 0.014
"""Thickness for a large arm: candidates, elites, the way so far, the plan and its steps [m]."""
BACK = 0.2
"""How much farther away than the arm's own camera the view begins, for a large arm: it is often narrower [m]."""
Points = NDArray[np.float64]
Colour = tuple[int, int, int]
NO_POINTS: Points = np.zeros((0, 3))
NO_LINES: Points = np.zeros((0, 2, 3))


def segments(paths: Points) -> Points:
    """Paths (N, K, 3) cut into lines (N (K - 1), 2, 3)."""
    return np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3)


def merged(meshes: Iterable[GeomMesh], *, colours: bool) -> list[GeomMesh]:
    """One mesh for each body, or for each body and colour: a browser draws few large ones faster."""
    groups: dict[Any, list[GeomMesh]] = {}
    for mesh in meshes:
        groups.setdefault((mesh.body, mesh.rgba if colours else None), []).append(mesh)
    whole = []
    for parts in groups.values():
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        vertices = np.concatenate([part.vertices for part in parts])
        faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)])
        whole.append(GeomMesh(parts[0].name, parts[0].body, vertices, faces, parts[0].rgba))
    return whole


class Scene:
    """Draws frames.

    Args:
        api: `scene` of a viser server.
        env: whose arm and task are shown.
        on_goal: told where people drag the goal to (3,) [m].
        obstacles: spheres that the planner avoids, as polylines of `report.candidates.ball`.

    Attributes:
        count: candidates that are drawn at most.
        ghost: whether the foreseen end of the plan is.
    """

    def __init__(
        self, api: Any, env: ArmEnv, on_goal: Callable[[Any], None], obstacles: Iterable[Any] = (), count: int = 60
    ) -> None:
        self.api, self.count, self.ghost = api, count, True
        self.scale = env.workspace.scale
        self.model = env.arm.load_model(visuals=True, edit=env.edit_scene, gripper=env.gripper)
        self.data = mujoco.MjData(self.model)
        api.configure_environment_map(None)  # those of viser come from the network
        api.add_light_hemisphere("/light", sky_color=(255, 255, 255), ground_color=(150, 150, 160), intensity=1.2)
        meshes = geom_meshes(self.model)
        self._bodies = self._add("/arm", merged(meshes, colours=True))
        moving = [mesh for mesh in meshes if self.model.body_weldid[mesh.body]]
        self._ghosts = self._add("/foreseen", merged(moving, colours=False), GHOST, GHOST_OPACITY)
        for i, sphere in enumerate(map(ball, obstacles)):
            rgb, centre = tuple(int(255 * part) for part in sphere.rgba[:3]), np.asarray(sphere.points)[0]
            api.add_icosphere(f"/obstacle{i}", sphere.radius, rgb, opacity=sphere.rgba[3], position=centre)
        planar = len(getattr(env, "goal_low", (0, 0, 0))) == 2 and not env.gripper
        axes = (True, True, not planar)
        self._goal = api.add_transform_controls(
            "/goal", scale=0.14 * self.scale, disable_rotations=True, active_axes=axes, depth_test=False
        )
        api.add_icosphere("/goal/ball", 0.025 * self.scale, GOAL, opacity=0.8, cast_shadow=False)
        self._dragged = False

        @self._goal.on_update
        async def _(event: Any) -> None:
            self._dragged = event.phase != "end"
            on_goal(np.array(event.target.position))

        rgb = tuple(int(255 * part) for part in PLANNED[:3])
        self._lines = {name: self._line(name, thick) for name, thick in (("candidates", THIN), ("elites", THICK))}
        self._way = self._line("way", WAY, tuple(int(255 * part) for part in TRAVELLED[:3]))
        self._plan = self._line("plan", PLAN, rgb)
        self._dots = api.add_point_cloud(
            "/plan/steps", NO_POINTS, rgb, point_size=DOT * self.scale, point_shape="circle", point_shading="flat"
        )

    def camera(self) -> tuple[Points, Points, float]:
        """Where to look from and at what [m], and the vertical field of view [rad]."""
        mujoco.mj_forward(self.model, self.data)
        camera = self.model.camera("main").id
        position, forward = self.data.cam_xpos[camera].copy(), -self.data.cam_xmat[camera].reshape(3, 3)[:, 2]
        back = position - BACK * self.scale * forward
        return back, position + forward * self.scale, float(np.deg2rad(self.model.cam_fovy[camera]))

    def show(self, frame: Frame) -> None:
        """Draw an instant."""
        self._pose(self._bodies, frame.qpos)
        visible = self.ghost and frame.ghost is not None
        if frame.ghost is not None:
            self._pose(self._ghosts, frame.ghost)
        for handle in self._ghosts.values():
            handle.visible = visible
        self._goal.visible = len(frame.goal) == 3
        if len(frame.goal) == 3 and not self._dragged:
            self._goal.position = tuple(map(float, frame.goal))
        self._consider(frame.candidates)
        self._way.points = segments(frame.trail[None]) if len(frame.trail) > 1 else NO_LINES
        self._plan.points = segments(frame.path[None]) if len(frame.path) > 1 else NO_LINES
        self._dots.points = frame.path[1:]

    def _consider(self, candidates: Candidates | None) -> None:
        """Draw candidates coloured by score, the elites thicker."""
        for name, lines in self._lines.items():
            paths, colours = NO_LINES, NO_POINTS
            if candidates is not None and self.count:
                chosen = candidates.shown(self.count)
                chosen = chosen[candidates.elite[chosen] == (name == "elites")]
                paths, colours = candidates.paths[chosen], candidates.colours()[chosen]
            points = segments(paths)
            each = np.repeat(colours, max(1, paths.shape[1] - 1), axis=0)[: len(points)]
            lines.points, lines.colors = points, np.repeat(each[:, None], 2, axis=1)

    def _line(self, name: str, thickness: float, colour: Any = None) -> Any:
        colours = np.zeros((0, 2, 3), np.uint8) if colour is None else colour
        return self.api.add_line_segments(f"/plan/{name}", NO_LINES, colours, thickness=thickness * self.scale)

    def _add(
        self, root: str, meshes: list[GeomMesh], colour: Colour | None = None, opacity: float | None = None
    ) -> dict[int, Any]:
        """Meshes under a frame for each body, by its id."""
        frames: dict[int, Any] = {}
        for mesh in meshes:
            where = f"{root}/{mesh.body}"
            if mesh.body not in frames:
                frames[mesh.body] = self.api.add_frame(where, show_axes=False)
            alpha = mesh.rgba[3] if opacity is None else opacity
            self.api.add_mesh_simple(
                f"{where}/{mesh.name}",
                mesh.vertices,
                mesh.faces,
                color=colour or tuple(int(255 * part) for part in mesh.rgba[:3]),
                opacity=None if alpha == 1 else alpha,
                cast_shadow=opacity is None,
            )
        return frames

    def _pose(self, frames: dict[int, Any], qpos: Points) -> None:
        """Move bodies to where qpos (nq,) puts them."""
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        for body, handle in frames.items():
            handle.position = tuple(map(float, self.data.xpos[body]))
            handle.wxyz = tuple(map(float, self.data.xquat[body]))
