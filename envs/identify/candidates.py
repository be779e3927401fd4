"""Many arms at once: each candidate for the dynamics as a model of its own, all in one call of `mujoco.rollout`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray

from ..arm_env import ArmEnv
from ..control_modes import servos_off
from ..dynamics import ModelDynamics, add_payload
from ..randomize import Dynamics
from ..stepping import NUM_HOLDS, PHYSICS_STATE, substeps_per_hold
from .recordings import Segments

FloatArray = NDArray[np.float64]

CHUNK = 16
"""Models that are rolled out in one call; more need memory and gain nothing."""


class Candidates:
    """Predicts recorded pieces with different dynamics. The arm is alone: what it touched is not in the model."""

    def __init__(self, env: ArmEnv, nthread: int = 1) -> None:
        """Compile the arm and start the threads.

        Args:
            env: of the arm and its control mode.
            nthread: threads of physics, at least 1.
        """
        arm = env.arm

        def edit(spec: mujoco.MjSpec) -> None:
            add_payload(spec, arm)
            if env.control_mode == "joint_torque":
                servos_off(spec, arm)

        model = arm.load_model(edit=edit)
        self.model, self.n, self.runs = model, arm.n, 0
        self._models = [copy.copy(model) for _ in range(CHUNK)]
        self._dynamics = [ModelDynamics(each, arm) for each in self._models]
        self._data = [mujoco.MjData(model) for _ in range(nthread)]
        self._pool: Any = mujoco.rollout.Rollout(nthread=nthread if nthread > 1 else 0)
        self._substeps = substeps_per_hold(model, env.ctrl_dt)
        self._size = int(mujoco.mj_stateSize(model, PHYSICS_STATE))

    def predict(self, segments: Segments, candidates: Sequence[tuple[Dynamics, int]]) -> FloatArray:
        """How the arm would have moved.

        Args:
            segments: recorded pieces, S of K control steps.
            candidates: C dynamics, each with the delay of the drives in control steps; that of the dynamics themselves
                is not used.

        Returns:
            Joint positions [rad] and velocities [rad/s] after each control step (C, S, K, 2 n).
        """
        parts = [self._roll(segments, candidates[i : i + CHUNK]) for i in range(0, len(candidates), CHUNK)]
        self.runs += len(candidates)
        return np.concatenate(parts)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()

    def _roll(self, segments: Segments, candidates: Sequence[tuple[Dynamics, int]]) -> FloatArray:
        for (dynamics, _), writer in zip(candidates, self._dynamics, strict=False):
            writer.apply(dynamics)
        count, pieces, steps, n = len(candidates), len(segments), segments.q.shape[1] - 1, self.n
        start = np.zeros((pieces, self._size))  # [time, qpos, qvel]
        start[:, 1 : 1 + n], start[:, 1 + n : 1 + 2 * n] = segments.q[:, 0], segments.dq[:, 0]
        told = segments.targets[[delay for _, delay in candidates]]  # (C, S, K, NUM_HOLDS, n)
        ctrl = np.repeat(told.reshape(count * pieces, steps * NUM_HOLDS, n), self._substeps, axis=1)
        models = [model for model in self._models[:count] for _ in range(pieces)]
        states, _ = self._pool.rollout(models, self._data, np.tile(start, (count, 1)), ctrl)
        per_step = NUM_HOLDS * self._substeps
        ends = states[:, per_step - 1 :: per_step, 1 : 1 + 2 * n]
        result: FloatArray = ends.reshape(count, pieces, steps, 2 * n)
        return result
