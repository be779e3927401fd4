"""What an action means: pure functions shared by the simulated and the real arm.

A command generator holds a reference (q, dq) and moves it once per control step of length T. The velocity of
the reference is linear in time within the step, so velocity and acceleration are bounded by construction, and
a cubic Hermite spline through the knots (q, dq) reproduces the motion exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kinematics import ArmKinematics

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JointReference:
    """Set-point of the joints.

    Attributes:
        q: position (..., n) [rad].
        dq: velocity (..., n) [rad/s].
    """

    q: FloatArray
    dq: FloatArray


class JointDelta:
    """Joint displacements per control step, smoothed to respect velocity, acceleration and position limits.

    An action a in [-1, 1]^n asks for the velocity a dq_max with dq_max = action_scale / T. It obeys

        dq' = clip(a dq_max, dq - A, dq + A) with A = ddq_max T,   q' = q + (dq + dq') T / 2,

    where dq' is bounded further so that the reference can still stop inside [q_min, q_max] at ddq_max.
    """

    def __init__(
        self,
        q_min: ArrayLike,
        q_max: ArrayLike,
        action_scale: float = 0.075,
        ddq_max: ArrayLike = 7.5,
        ctrl_dt: float = 0.05,
    ) -> None:
        """Store the limits.

        Args:
            q_min: lower position limits (n,) [rad].
            q_max: upper position limits (n,) [rad].
            action_scale: displacement per control step at full action [rad].
            ddq_max: acceleration limit, one number or (n,) [rad/s^2].
            ctrl_dt: control step T [s].

        Raises:
            ValueError: a limit is not finite, not positive or empty.
        """
        self.q_min = np.array(q_min, dtype=np.float64)
        self.q_max = np.array(q_max, dtype=np.float64)
        if self.q_min.ndim != 1 or self.q_min.shape != self.q_max.shape:
            raise ValueError(
                f"q_min and q_max have shapes {self.q_min.shape} and {self.q_max.shape}, need (n,) each"
            )
        if not (
            np.isfinite(self.q_min).all()
            and np.isfinite(self.q_max).all()
            and (self.q_min < self.q_max).all()
        ):
            raise ValueError(f"q_min {self.q_min} must be finite and below q_max {self.q_max} [rad]")
        self.ddq_max = np.broadcast_to(np.asarray(ddq_max, dtype=np.float64), self.q_min.shape).copy()
        for name, value in (("action_scale", action_scale), ("ctrl_dt", ctrl_dt), ("ddq_max", self.ddq_max)):
            if not (np.isfinite(value).all() and np.all(np.asarray(value) > 0)):
                raise ValueError(f"{name} is {value}, must be finite and positive")
        self.action_scale = float(action_scale)
        self.ctrl_dt = float(ctrl_dt)
        self.dq_max = np.full_like(self.q_min, self.action_scale / self.ctrl_dt)
        self._dv = self.ddq_max * self.ctrl_dt  # largest change of velocity per step, A
        self._td = self._dv * self.ctrl_dt

    @property
    def nu(self) -> int:
        """Size of an action."""
        return len(self.q_min)

    def advance(self, ref: JointReference, action: ArrayLike) -> JointReference:
        """Move the reference by one control step.

        Args:
            ref: reference at the start of the step, (..., n).
            action: (..., n) in [-1, 1]; values outside are clipped. Leading axes broadcast against `ref`.

        Returns:
            The reference at the end of the step, new arrays (..., n).
        """
        v = np.minimum(np.maximum(np.asarray(action, dtype=np.float64), -1.0), 1.0) * self.dq_max
        half = ref.dq * (0.5 * self.ctrl_dt)
        room = np.empty((2, *half.shape))  # both ways at once: numpy's calls cost more than their work
        room[0], room[1] = self.q_max - ref.q - half, ref.q - self.q_min + half
        up, down = self.stop_speed(room)
        v = np.minimum(np.maximum(v, -down), up)
        # The acceleration limit comes last: a reference that cannot stop in time brakes as hard as allowed.
        v = np.minimum(np.maximum(v, ref.dq - self._dv), ref.dq + self._dv)
        return JointReference(ref.q + (ref.dq + v) * (0.5 * self.ctrl_dt), v)

    def rollout(self, ref: JointReference, actions: ArrayLike) -> JointReference:
        """Advance through a sequence of actions.

        Args:
            ref: reference at the start, (..., n); leading axes broadcast against those of `actions`.
            actions: (..., H, n) in [-1, 1].

        Returns:
            References at the ends of the H steps, (..., H, n).
        """
        actions = np.asarray(actions, dtype=np.float64)
        shape = np.broadcast_shapes((*ref.q.shape[:-1], 1, self.nu), actions.shape)
        q, dq = np.empty(shape), np.empty(shape)
        for k in range(shape[-2]):
            ref = self.advance(ref, actions[..., k, :])
            q[..., k, :], dq[..., k, :] = ref.q, ref.dq
        return JointReference(q, dq)

    def stop_speed(self, room: FloatArray) -> FloatArray:
        """Largest velocity at the end of this step from which the reference stops within `room`.

        Braking by A per step from v covers G(v) = T ((m + 1) v - A m (m + 1) / 2), m = floor(v / A), counting
        the half step that leads to v; G is continuous and increasing: its inverse at S = room is the bound.

        Args:
            room: distance to the limit less the half step already decided, S (..., n) [rad].

        Returns:
            Velocity towards the limit (..., n) [rad/s]; negative when it must already move away.
        """
        m = np.floor(0.5 * (np.sqrt(1.0 + np.maximum(room, 0.0) * (8.0 / self._td)) - 1.0))
        result: FloatArray = (room / self.ctrl_dt + self._dv * m * (m + 1.0) * 0.5) / (m + 1.0)
        return result


class Steered(ABC):
    """A mode whose actions are turned into those of `JointDelta`, whose limits it shares."""

    joints: JointDelta

    @property
    @abstractmethod
    def nu(self) -> int:
        """Size of an action."""

    @abstractmethod
    def joint_action(self, ref: JointReference, action: ArrayLike) -> FloatArray:
        """Turn an action (..., nu) at a reference (..., n) into a joint action (..., n)."""

    @property
    def ctrl_dt(self) -> float:
        """Control step [s]."""
        return self.joints.ctrl_dt

    @property
    def dq_max(self) -> FloatArray:
        """Speed limits of the reference (n,) [rad/s]."""
        return self.joints.dq_max

    def advance(self, ref: JointReference, action: ArrayLike) -> JointReference:
        """Move the reference by one control step; see `JointDelta.advance`. Args: action: (..., nu)."""
        return self.joints.advance(ref, self.joint_action(ref, action))

    def rollout(self, ref: JointReference, actions: ArrayLike) -> JointReference:
        """Advance through a sequence of actions (..., H, nu); see `JointDelta.rollout`."""
        actions = np.asarray(actions, dtype=np.float64)
        lead = np.broadcast_shapes(ref.q.shape[:-1], actions.shape[:-2])
        shape = (*lead, actions.shape[-2], self.joints.nu)
        ref = JointReference(
            np.broadcast_to(ref.q, (*lead, shape[-1])), np.broadcast_to(ref.dq, (*lead, shape[-1]))
        )
        q, dq = np.empty(shape), np.empty(shape)
        for k in range(shape[-2]):
            ref = self.advance(ref, actions[..., k, :])
            q[..., k, :], dq[..., k, :] = ref.q, ref.dq
        return JointReference(q, dq)


class CartesianDelta(Steered):
    """Displacements of the tool centre point, turned into joint motion by damped least squares.

        step = J^+ dx + (I - J^+ J) posture_gain (posture - q),   J^+ = J^T (J J^T + damping^2 I)^-1

    taken at the reference pose, so that the meaning of an action does not depend on the tracking error. The
    step is scaled as a whole into the box of `JointDelta`, which keeps its direction.
    """

    def __init__(
        self,
        joints: JointDelta,
        kinematics: ArmKinematics,
        posture: ArrayLike,
        action_scale: float = 0.02,
        damping: float = 0.05,
        posture_gain: float = 0.05,
    ) -> None:
        """Store the parts.

        Args:
            joints: limits and smoothing.
            kinematics: position and Jacobian of the tool centre point.
            posture: joint pose to stay close to in the null space (n,) [rad].
            action_scale: displacement per control step at full action [m].
            damping: of the least squares [m/rad]; bounds the joint motion near singular poses.
            posture_gain: share of the distance to `posture` corrected per control step.
        """
        self.joints = joints
        self.kinematics = kinematics
        self.posture = np.array(posture, dtype=np.float64)
        self.action_scale = float(action_scale)
        self.damping = float(damping)
        self.posture_gain = float(posture_gain)
        self._eye = np.eye(3)

    @property
    def nu(self) -> int:
        """Size of an action."""
        return 3

    def joint_action(self, ref: JointReference, action: ArrayLike) -> FloatArray:
        """Turn a displacement of the tip into a joint action.

        Args:
            ref: reference (..., n).
            action: (..., 3) in [-1, 1], along x, y, z of the base; values outside are clipped.

        Returns:
            Joint action (..., n) in [-1, 1].
        """
        dx = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) * self.action_scale  # (..., 3)
        jac = self.kinematics.jacobian(ref.q)  # (..., 3, n)
        jac_t = np.swapaxes(jac, -1, -2)
        gram = jac @ jac_t + self.damping**2 * self._eye
        bias = self.posture_gain * (self.posture - ref.q)
        # One solve serves both terms: step = J^+ (dx - J bias) + bias.
        residual = dx - (jac @ bias[..., None])[..., 0]
        step = (jac_t @ np.linalg.solve(gram, residual[..., None]))[..., 0] + bias
        wanted = step / self.joints.action_scale
        result: FloatArray = wanted / np.maximum(np.abs(wanted).max(axis=-1, keepdims=True), 1.0)
        return result


def interpolate(
    ref0: JointReference, ref1: JointReference, fraction: ArrayLike, ctrl_dt: float
) -> FloatArray:
    """Position of the reference within a control step: q0 + T f (dq0 + f (dq1 - dq0) / 2).

    Args:
        ref0: reference at the start, (..., n).
        ref1: reference at the end, (..., n), from `advance`.
        fraction: f in [0, 1], broadcastable against (..., n); (K, 1) gives (K, n) for single references.
        ctrl_dt: control step T [s].

    Returns:
        Position [rad], shape of the broadcast.
    """
    f = np.asarray(fraction, dtype=np.float64)
    result: FloatArray = ref0.q + (ctrl_dt * f) * (ref0.dq + (0.5 * f) * (ref1.dq - ref0.dq))
    return result
