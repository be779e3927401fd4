"""Kinematics of the tool centre point, on MuJoCo's own model and separate from any running simulation."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arms.arm import Arm

FloatArray = NDArray[np.float64]


class ArmKinematics:
    """Position and Jacobian of the tool centre point. One instance serves one thread: it owns an `MjData`."""

    def __init__(self, arm: Arm) -> None:
        """Load the arm's model.

        Args:
            arm: the arm.
        """
        self.arm = arm
        self._model = arm.load_model()
        self._data = mujoco.MjData(self._model)
        self._site = int(self._model.site(arm.ee_site).id)
        self._qpos = self._data.qpos
        self._pos = self._data.site_xpos[self._site]
        self._mat = self._data.site_xmat[self._site]
        self._jac = np.zeros((3, self._model.nv))
        self._turn = np.zeros((3, self._model.nv))

    def ee_pos(self, q: ArrayLike) -> FloatArray:
        """Position of the tool centre point in the base frame.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            Position (..., 3) [m].
        """
        q = self._checked(q)
        if q.ndim > 1:
            positions = np.empty((*q.shape[:-1], 3))
            for row, position in zip(q.reshape(-1, self.arm.n), positions.reshape(-1, 3), strict=True):
                self._qpos[:] = row
                mujoco.mj_kinematics(self._model, self._data)
                position[:] = self._pos
            return positions
        self._qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        return self._pos.copy()

    def jacobian(self, q: ArrayLike) -> FloatArray:
        """Derivative of `ee_pos` by the joint positions.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            Jacobian (..., 3, n) [m/rad].
        """
        q = self._checked(q)
        if q.ndim > 1:
            jacobians = np.empty((*q.shape[:-1], 3, self.arm.n))
            self._jacobians(q.reshape(-1, self.arm.n), jacobians.reshape(-1, 3, self.arm.n))
            return jacobians
        self._jacobians(q[None], self._jac[None])
        return self._jac.copy()

    def collision_free(self, q: ArrayLike) -> bool:
        """Whether the arm in pose q (n,) [rad] touches neither itself nor the floor."""
        self._qpos[:] = self._checked(q)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        return int(self._data.ncon) == 0

    def touching(self, q: ArrayLike) -> str:
        """Names of a pair of geoms, or of their bodies, that touch in pose q (n,) [rad]; empty where none do."""
        if self.collision_free(q):
            return ""
        pair = self._data.contact[0].geom
        geoms = [self._model.geom(int(i)) for i in pair]
        return " and ".join(geom.name or self._model.body(int(geom.bodyid[0])).name for geom in geoms)

    def solve_position(
        self,
        target: ArrayLike,
        q0: ArrayLike | None = None,
        *,
        tolerance: float = 1e-3,
        iterations: int = 100,
    ) -> FloatArray | None:
        """Find joint positions that bring the tool centre point to a target, within the joint limits.

        Damped least squares with steps of at most 0.2 rad per joint, clipped into the limits.

        Args:
            target: position (3,) [m].
            q0: where to begin (n,) [rad]; the home pose by default.
            tolerance: accepted distance [m].
            iterations: how many steps to try.

        Returns:
            Joint positions (n,) [rad], or None when no solution was found.
        """
        target = np.asarray(target, dtype=np.float64)
        q = np.array(self.arm.home if q0 is None else q0, dtype=np.float64)
        for _ in range(iterations):
            error = target - self.ee_pos(q)
            if np.linalg.norm(error) < tolerance:
                return q
            jac = self.jacobian(q)
            step = jac.T @ np.linalg.solve(jac @ jac.T + 1e-3 * np.eye(3), error)
            step /= max(1.0, float(np.abs(step).max()) / 0.2)
            q = np.clip(q + step, self.arm.q_min, self.arm.q_max)
        return None

    def tool_axis(self, q: ArrayLike) -> FloatArray:
        """Direction in which the tool points (3,), the z axis of its site, in pose q (n,) [rad]."""
        self._qpos[:] = self._checked(q)
        mujoco.mj_kinematics(self._model, self._data)
        return self._mat.reshape(3, 3)[:, 2].copy()

    def solve_pointing(
        self,
        target: ArrayLike,
        direction: ArrayLike,
        q0: ArrayLike | None = None,
        *,
        tolerance: float = 1e-3,
        iterations: int = 200,
    ) -> FloatArray | None:
        """Like `solve_position`, with the tool pointing in a direction; it may turn about that direction.

        Args:
            target: position (3,) [m].
            direction: of the tool (3,).
            q0: where to begin (n,) [rad]; the home pose by default.
            tolerance: accepted distance [m], and ten times as many radians.
            iterations: how many steps to try.

        Returns:
            Joint positions (n,) [rad], or None when no solution was found.
        """
        target, wanted = np.asarray(target, dtype=np.float64), np.array(direction, dtype=np.float64)
        wanted /= np.linalg.norm(wanted)
        q = np.array(self.arm.home if q0 is None else q0, dtype=np.float64)
        for _ in range(iterations):
            jac = self.jacobian(q)
            mujoco.mj_jacSite(self._model, self._data, None, self._turn, self._site)
            axis = self._mat.reshape(3, 3)[:, 2]
            turn = np.cross(axis, wanted)
            if float(axis @ wanted) < 0.0:  # beyond a right angle the sine shrinks again
                turn /= max(float(np.linalg.norm(turn)), 1e-3)
            shift = target - self._pos
            if np.linalg.norm(shift) < tolerance and np.linalg.norm(turn) < 10 * tolerance:
                return q
            # Rotation counts a fifth of a metre per radian; that about the axis itself is free.
            both = np.concatenate([jac, 0.2 * (np.eye(3) - np.outer(axis, axis)) @ self._turn])
            error = np.concatenate([shift, 0.2 * turn])
            step = both.T @ np.linalg.solve(both @ both.T + 1e-4 * np.eye(6), error)
            step /= max(1.0, float(np.abs(step).max()) / 0.2)
            q = np.clip(q + step, self.arm.q_min, self.arm.q_max)
        return None

    def _jacobians(self, poses: FloatArray, jacobians: FloatArray) -> None:
        # For many environments at once this loop is the most of the Cartesian modes: nothing is looked up in it.
        model, data, site, qpos = self._model, self._data, self._site, self._qpos
        place, centres, differentiate = mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_jacSite
        for pose, jacobian in zip(poses, jacobians, strict=True):
            qpos[:] = pose
            place(model, data)
            centres(model, data)
            differentiate(model, data, jacobian, None, site)

    def _checked(self, q: ArrayLike) -> FloatArray:
        array = np.asarray(q, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] != self.arm.n:
            raise ValueError(f"q has shape {array.shape}, need (..., {self.arm.n}) for arm {self.arm.name!r}")
        return array
