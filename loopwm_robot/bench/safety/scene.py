"""The place of the benchmark: the arm between a table, a crate and a rod, for the filter and for MuJoCo."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import Arm
from hardware import SceneConfig
from hardware.scene import Box, Capsule, Plane, Workspace

Float64 = NDArray[np.float64]


def make_scene(margin_m: float, speed_max: float) -> SceneConfig:
    """Obstacles, workspace and speed; the table is that of the MJCF."""
    return SceneConfig(
        margin_m=margin_m,
        self_collision=True,
        planes=(Plane("table", (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),),
        boxes=(Box("crate", (0.45, 0.45, 0.2), (0.15, 0.1, 0.2), (0.924, 0.0, 0.0, 0.383)),),
        capsules=(Capsule("rod", (0.45, -0.4, 0.0), (0.45, -0.4, 0.8), 0.03),),
        workspaces=(Workspace((-0.75, -0.75, 0.02), (0.75, 0.75, 1.1)),),
        speed_max=speed_max,
    )


class Witness:
    """MuJoCo's own view of a pose, with the obstacles in its model: it shares nothing with the filter."""

    def __init__(self, arm: Arm, scene: SceneConfig) -> None:
        def add(spec: mujoco.MjSpec) -> None:
            for box in scene.boxes:
                spec.worldbody.add_geom(
                    name=box.name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=box.pos, size=box.half_size, quat=box.quat,
                    contype=3, conaffinity=3,
                )  # fmt: skip
            for rod in scene.capsules:
                spec.worldbody.add_geom(
                    name=rod.name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(*rod.start, *rod.end),
                    size=(rod.radius, 0.0, 0.0), contype=3, conaffinity=3,
                )  # fmt: skip

        self.model = arm.load_model(edit=add)
        self._data, self._n = mujoco.MjData(self.model), arm.n
        self._site = self.model.site(arm.ee_site).id

    def write(self, path: Path) -> Path:
        """Save the model for the simulated arm, compiled (MJB)."""
        mujoco.mj_saveModel(self.model, str(path), None)
        return path

    def look(self, q: Float64) -> tuple[NDArray[np.bool_], Float64]:
        """Whether the arm touches anything, itself included, and where its tool is.

        Args:
            q: poses (k, n) [rad].

        Returns:
            touching (k,), tool centre points (k, 3) [m].
        """
        touching, tool = np.zeros(len(q), dtype=bool), np.empty((len(q), 3))
        for i, pose in enumerate(q):
            self._data.qpos[: self._n] = pose
            mujoco.mj_kinematics(self.model, self._data)
            mujoco.mj_collision(self.model, self._data)
            touching[i], tool[i] = self._data.ncon > 0, self._data.site_xpos[self._site]
        return touching, tool
