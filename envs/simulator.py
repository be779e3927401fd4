"""The true model as a predictor: many action sequences from one state, through MuJoCo's own threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .action import JointReference, interpolate
from .arms.arm import Arm
from .control_modes import ActionMode, JointTorque
from .fingers import Fingers
from .observation import arm_observation
from .stepping import NUM_HOLDS, PHYSICS_STATE, hold_fractions, substeps_per_hold

FloatArray = NDArray[np.float64]

Surroundings = Callable[[FloatArray, FloatArray, FloatArray], NDArray[np.float32]]
"""Observation of what surrounds the robot; see `ArmEnv.surroundings`."""


class BatchSimulator:
    """Rolls candidates out in the physics of the environment. Not for use from several threads at once."""

    def __init__(
        self,
        arm: Arm,
        nthread: int = 1,
        ctrl_dt: float = 0.05,
        model: mujoco.MjModel | None = None,
        *,
        gripper: bool = False,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Load the model and start the threads.

        Args:
            arm: the arm.
            nthread: threads of physics; 1 runs on the calling thread.
            ctrl_dt: control step [s].
            model: of the arm and what surrounds it; not copied: each call uses the values it has then. None
                takes the arm alone.
            gripper: the model's fingers move, and actions have one more entry for them.
            surroundings: observes what is not the robot; None observes nothing of it.

        Raises:
            ValueError: a number is out of range.
        """
        if nthread < 1:
            raise ValueError(f"nthread is {nthread}, must be at least 1")
        self.arm = arm
        self.ctrl_dt = float(ctrl_dt)
        self.fingers = Fingers(arm, gripper)
        self._surroundings = surroundings
        self._model = arm.load_model() if model is None else model
        self._data = [mujoco.MjData(self._model) for _ in range(nthread)]
        self._hold_substeps = substeps_per_hold(self._model, self.ctrl_dt)
        self._fractions = hold_fractions()
        self._state_size = int(mujoco.mj_stateSize(self._model, PHYSICS_STATE))
        self._pool: Any = mujoco.rollout.Rollout(nthread=nthread if nthread > 1 else 0)
        self._buffers: tuple[FloatArray, FloatArray, FloatArray] | None = None

    def physics_state(self, q: ArrayLike, dq: ArrayLike | None = None) -> FloatArray:
        """State vector of an arm about which only the joints are known.

        Args:
            q: joint positions (n,) [rad].
            dq: joint velocities (n,) [rad/s]; at rest by default.

        Returns:
            Full physics state, as `EnvState.physics`.
        """
        data = self._data[0]
        mujoco.mj_resetData(self._model, data)
        data.qpos[: self.arm.n] = q
        if dq is not None:
            data.qvel[: self.arm.n] = dq
        state = np.empty(self._state_size)
        mujoco.mj_getState(self._model, data, state, PHYSICS_STATE)
        return state

    def rollout(
        self,
        state: ArrayLike,
        ref: JointReference,
        actions: ArrayLike,
        action_mode: ActionMode,
        warmstart: ArrayLike | None = None,
        pending: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Predict observations.

        Args:
            state: full physics state at the start, `EnvState.physics` or from `physics_state`.
            ref: reference at the start, (n,).
            actions: candidates (N, H, nu) in [-1, 1]; nu is one more than that of the mode with a gripper.
            action_mode: what an action means; its control step must be that of the simulator.
            warmstart: of the contact solver (nv,), `EnvState.warmstart`; only matters in contact.
            pending: actions executed before the first candidate's (delay, nu), `EnvState.pending`; the last
                `delay` actions of a candidate then have no effect within the horizon.

        Returns:
            Observations at the ends of the H control steps (N, H, n_obs), new array.

        Raises:
            ValueError: an argument has another shape, or the control steps differ.
        """
        state = np.asarray(state, dtype=np.float64)
        if state.shape != (self._state_size,):
            raise ValueError(f"physics state has shape {state.shape}, need ({self._state_size},)")
        actions = np.asarray(actions, dtype=np.float64)
        nu = action_mode.nu + (self.fingers.n > 0)
        if actions.ndim != 3 or actions.shape[-1] != nu:
            raise ValueError(f"actions have shape {actions.shape}, need (N, H, {nu})")
        if action_mode.ctrl_dt != self.ctrl_dt:
            raise ValueError(f"action mode has ctrl_dt {action_mode.ctrl_dt} s, the simulator {self.ctrl_dt} s")
        num, horizon, _ = actions.shape
        if pending is not None and len(queue := np.asarray(pending, dtype=np.float64)):
            delayed = np.broadcast_to(queue, (num, *queue.shape))
            actions = np.concatenate([delayed, actions], axis=1)[:, :horizon]
        n, moving = self.arm.n, self.arm.n + self.fingers.n

        per_step = NUM_HOLDS * self._hold_substeps
        ctrl, states, sensors = self._allocate(num, horizon * per_step + 1)
        refs = None
        if isinstance(action_mode, JointTorque):
            targets = action_mode.torque(actions[:, :, None, : action_mode.nu])  # (N, H, 1, n)
            last = targets[:, -1, -1]
        else:
            refs = action_mode.rollout(ref, actions[..., : action_mode.nu])  # (N, H, n)
            start = JointReference(_shifted(ref.q, refs.q), _shifted(ref.dq, refs.dq))
            # (N, H, 1, n) by (holds, 1) -> (N, H, holds, n)
            targets, last = interpolate(_expanded(start), _expanded(refs), self._fractions, self.ctrl_dt), refs.q[:, -1]
        holds = ctrl[:, :-1].reshape(num, horizon, NUM_HOLDS, self._hold_substeps, moving)
        holds[..., :n] = targets[:, :, :, None]  # repeated over the substeps of each hold
        # One more substep: sensors describe the state before a substep, so the first reading of the next
        # control step is the one that belongs to the end of this step.
        ctrl[:, -1, :n] = last
        if moving > n:
            fingers = self.fingers.targets(actions[..., -1])  # (N, H, fingers)
            holds[..., n:] = fingers[:, :, None, None]
            ctrl[:, -1, n:] = fingers[:, -1]
        warm = None if warmstart is None else np.tile(np.asarray(warmstart, np.float64), (num, 1))
        self._pool.rollout(
            self._model,
            self._data,
            np.broadcast_to(state, (num, self._state_size)),
            ctrl,
            initial_warmstart=warm,
            state=states,
            sensordata=sensors,
        )
        ends = states[:, per_step - 1 : -1 : per_step]  # (N, H, state), [time, qpos, qvel, act]
        nq, nv = int(self._model.nq), int(self._model.nv)
        qpos, qvel = ends[..., 1 : 1 + nq], ends[..., 1 + nq : 1 + nq + nv]
        points = sensors[:, per_step::per_step]  # the tool centre point, then what a task has added
        if refs is None:
            refs = JointReference(qpos[..., :n], qvel[..., :n])
        obs = arm_observation(qpos[..., :n], qvel[..., :n], refs, points[..., :3])
        parts = [obs]
        if moving > n:
            parts.append(self.fingers.observe(qpos[..., n:moving], qvel[..., n:moving]))
        if points.shape[-1] > 3:
            parts.append(points[..., 3:].astype(np.float32))
        if self._surroundings is not None:
            parts.append(self._surroundings(ends[..., 0], qpos[..., moving:], qvel[..., moving:]))
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else obs

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()

    def _allocate(self, num: int, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Controls, states, sensor readings; kept, because a planner asks for the same sizes again."""
        if self._buffers is None or self._buffers[0].shape[:2] != (num, steps):
            sizes = (self.arm.n + self.fingers.n, self._state_size, int(self._model.nsensordata))
            control, states, sensors = (np.empty((num, steps, size)) for size in sizes)
            self._buffers = control, states, sensors
        return self._buffers


def _shifted(first: FloatArray, following: FloatArray) -> FloatArray:
    """Values at the starts of the steps (N, H, n), from those at the ends."""
    initial = np.broadcast_to(first, (len(following), 1, first.shape[-1]))
    return np.concatenate([initial, following[:, :-1]], axis=1)


def _expanded(ref: JointReference) -> JointReference:
    return JointReference(ref.q[..., None, :], ref.dq[..., None, :])
