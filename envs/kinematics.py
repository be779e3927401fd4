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
        self._jac = np.zeros((3, self._model.nv))

    def ee_pos(self, q: ArrayLike) -> FloatArray:
        """Position of the tool centre point in the base frame.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            Position (..., 3) [m].
        """
        q = self._checked(q)
        if q.ndim > 1:
            flat = [self.ee_pos(row) for row in q.reshape(-1, self.arm.n)]
            return np.array(flat).reshape(*q.shape[:-1], 3)
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
            flat = [self.jacobian(row) for row in q.reshape(-1, self.arm.n)]
            return np.array(flat).reshape(*q.shape[:-1], 3, self.arm.n)
        self._qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jac, None, self._site)
        return self._jac.copy()

    def collision_free(self, q: ArrayLike) -> bool:
        """Whether the arm in pose q (n,) [rad] touches neither itself nor the floor."""
        self._qpos[:] = self._checked(q)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        return int(self._data.ncon) == 0

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

    def _checked(self, q: ArrayLike) -> FloatArray:
        array = np.asarray(q, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] != self.arm.n:
            raise ValueError(f"q has shape {array.shape}, need (..., {self.arm.n}) for arm {self.arm.name!r}")
        return array
