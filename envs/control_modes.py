"""Control modes beside the displacements of `action`: absolute targets, velocities and torques."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from .action import CartesianDelta, FloatArray, JointDelta, JointReference, Steered, interpolate
from .arms.arm import Arm
from .kinematics import ArmKinematics
from .stepping import NUM_HOLDS
from .workspace import LOW_HEIGHT, Workspace

CONTROL_MODES = (
    "joint_delta",
    "cartesian_delta",
    "joint_position",
    "joint_velocity",
    "joint_torque",
    "cartesian_position",
)
APPROACH = 0.5
"""Share of the way to a target of `CartesianPosition` that a control step goes, where its speed allows it."""
NO_LOAD = 3.0
"""Speed, in rated ones, at which the drives of torque mode have no torque left: their voltage is used up."""
OVERSPEED = 20.0
"""Bound of observed speeds in torque mode, in rated ones."""


class JointVelocity(JointDelta):
    """Velocities of the joints: like `JointDelta`, with the arm's rated speeds at full action."""

    def __init__(
        self,
        q_min: ArrayLike,
        q_max: ArrayLike,
        dq_max: ArrayLike,
        ddq_max: ArrayLike = 7.5,
        ctrl_dt: float = 0.05,
    ) -> None:
        """Store the limits.

        Args:
            q_min: lower position limits (n,) [rad].
            q_max: upper position limits (n,) [rad].
            dq_max: speeds at full action, one number or (n,) [rad/s].
            ddq_max: acceleration limit, one number or (n,) [rad/s^2].
            ctrl_dt: control step T [s].

        Raises:
            ValueError: a limit is not finite, not positive or empty.
        """
        speed = np.asarray(dq_max, dtype=np.float64)
        if not (np.isfinite(speed).all() and (speed > 0).all()):
            raise ValueError(f"dq_max is {speed} rad/s, must be finite and positive")
        super().__init__(q_min, q_max, float(speed.max()) * ctrl_dt, ddq_max, ctrl_dt)
        self.dq_max = np.broadcast_to(speed, self.q_min.shape).copy()


class JointPosition(Steered):
    """Joint positions: -1 and 1 are the ends of each joint's range.

    The reference moves there at the speed of `joints` at most, as fast as lets it stop at the target.
    """

    def __init__(self, joints: JointDelta) -> None:
        """Store the limits. Args: joints: limits and smoothing."""
        self.joints = joints
        self._middle, self._half = (joints.q_min + joints.q_max) / 2.0, (joints.q_max - joints.q_min) / 2.0

    @property
    def nu(self) -> int:
        """Size of an action."""
        return self.joints.nu

    def target(self, action: ArrayLike) -> FloatArray:
        """Position [rad] that an action (..., n) stands for; values outside [-1, 1] are clipped."""
        result: FloatArray = self._middle + np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) * self._half
        return result

    def joint_action(self, ref: JointReference, action: ArrayLike) -> FloatArray:
        """Joint action (..., n) towards the target of an action (..., n), from a reference (..., n)."""
        room = self.target(action) - ref.q - ref.dq * (0.5 * self.ctrl_dt)
        result: FloatArray = np.sign(room) * self.joints.stop_speed(np.abs(room)) / self.joints.dq_max
        return result


class CartesianPosition(Steered):
    """Positions of the tool centre point: -1 and 1 are the ends of a box. It goes there as `CartesianDelta` does."""

    def __init__(self, delta: CartesianDelta, low: ArrayLike, high: ArrayLike) -> None:
        """Store the parts.

        Args:
            delta: turns displacements into joint motion; its scale is the greatest one per control step.
            low: lower corner of the box (3,) [m].
            high: upper corner (3,) [m].

        Raises:
            ValueError: the corners are no finite box.
        """
        self.delta, self.joints = delta, delta.joints
        self.low, self.high = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
        if self.low.shape != (3,) or self.high.shape != (3,) or not np.all(self.low < self.high):
            raise ValueError(f"box of targets is {self.low} to {self.high} m, need finite low (3,) below high (3,)")

    @property
    def nu(self) -> int:
        """Size of an action."""
        return 3

    def target(self, action: ArrayLike) -> FloatArray:
        """Position [m] that an action (..., 3) stands for; values outside [-1, 1] are clipped."""
        share = (np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) + 1.0) / 2.0
        result: FloatArray = self.low + share * (self.high - self.low)
        return result

    def joint_action(self, ref: JointReference, action: ArrayLike) -> FloatArray:
        """Joint action (..., n) towards the target of an action (..., 3), from a reference (..., n)."""
        way = self.target(action) - self.delta.kinematics.ee_pos(ref.q)
        wanted = way * (APPROACH / self.delta.action_scale)
        # Scaled as a whole, so that it goes there in a straight line.
        return self.delta.joint_action(ref, wanted / np.maximum(np.abs(wanted).max(axis=-1, keepdims=True), 1.0))


class JointTorque:
    """Torques of the joints beyond those that carry the arm's own weight, at full action the greatest ones.

    The servos are off, see `servos_off`. Nothing limits position, speed and acceleration but the arm's own stops, its
    friction and its drives. There is no reference: what is measured stands in for it.
    """

    def __init__(self, tau_max: ArrayLike, dq_max: ArrayLike, ctrl_dt: float = 0.05) -> None:
        """Store the limits.

        Args:
            tau_max: torques at full action (n,) [N m].
            dq_max: speeds that are not exceeded in practice (n,) [rad/s], for the bounds of observations.
            ctrl_dt: control step T [s].
        """
        self.tau_max = np.array(tau_max, dtype=np.float64)
        self.dq_max = np.array(dq_max, dtype=np.float64)
        self.ctrl_dt = float(ctrl_dt)

    @property
    def nu(self) -> int:
        """Size of an action."""
        return len(self.tau_max)

    def torque(self, action: ArrayLike) -> FloatArray:
        """Torque [N m] of an action (..., n); values outside [-1, 1] are clipped."""
        result: FloatArray = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) * self.tau_max
        return result


ReferenceMode = JointDelta | Steered
ActionMode = ReferenceMode | JointTorque


def make_action_mode(
    name: str,
    arm: Arm,
    joints: JointDelta,
    kinematics: ArmKinematics,
    posture: FloatArray,
    workspace: Workspace,
    cartesian_scale: float,
) -> ActionMode:
    """What actions mean in a control mode.

    Args:
        name: one of `CONTROL_MODES`.
        arm: the arm.
        joints: limits and smoothing of the reference.
        kinematics: of the tool centre point.
        posture: joint pose that the Cartesian modes stay close to (n,) [rad].
        workspace: of the arm.
        cartesian_scale: greatest displacement of the tip per control step in the Cartesian modes [m].

    Raises:
        ValueError: the name is unknown.
    """
    if name == "joint_delta":
        return joints
    if name == "joint_position":
        return JointPosition(joints)
    if name == "joint_velocity":
        return JointVelocity(arm.q_min, arm.q_max, arm.dq_max, joints.ddq_max, joints.ctrl_dt)
    if name == "joint_torque":
        return JointTorque(arm.tau_max, OVERSPEED * arm.dq_max, joints.ctrl_dt)
    if name not in CONTROL_MODES:
        raise ValueError(f"control_mode {name!r} is unknown, known modes: {', '.join(CONTROL_MODES)}")
    delta = CartesianDelta(joints, kinematics, posture, action_scale=cartesian_scale)
    return delta if name == "cartesian_delta" else CartesianPosition(delta, *target_box(workspace))


def target_box(workspace: Workspace) -> tuple[FloatArray, FloatArray]:
    """Corners (3,) [m] of the box of `cartesian_position`: that of reaching, and the table as low as objects lie."""
    low = np.minimum(workspace.reach_low, [*workspace.table_low, 0.4 * LOW_HEIGHT * workspace.scale])
    return low, np.maximum(workspace.reach_high, [*workspace.table_high, -np.inf])


def action_names(name: str, arm: Arm) -> tuple[str, ...]:
    """Names of the entries of an action in a control mode, without the gripper's."""
    return arm.joint_names if name.startswith("joint") else ("x", "y", "z")


def set_points(
    mode: ActionMode, ref: JointReference, action: FloatArray, fractions: FloatArray
) -> tuple[FloatArray, JointReference | None]:
    """What is written to the actuators during a control step.

    Args:
        mode: what the action means.
        ref: reference at the start, (..., n).
        action: (..., mode.nu).
        fractions: instants of the set-points, `hold_fractions`.

    Returns:
        Positions [rad] or torques [N m], (..., NUM_HOLDS, n); the reference at the end, None in torque mode, where it
        is what will be measured then.
    """
    if isinstance(mode, JointTorque):
        torque = mode.torque(action)[..., None, :]
        return np.broadcast_to(torque, (*torque.shape[:-2], NUM_HOLDS, torque.shape[-1])), None
    end = mode.advance(ref, action)
    start = JointReference(ref.q[..., None, :], ref.dq[..., None, :])
    following = JointReference(end.q[..., None, :], end.dq[..., None, :])
    return interpolate(start, following, fractions, mode.ctrl_dt), end


def servos_off(spec: mujoco.MjSpec, arm: Arm) -> None:
    """Let the actuators of the arm give the torque that they are told; those of the fingers stay servos.

    As with any electric drive, what is left of it falls with the speed, here by all of the greatest torque at `NO_LOAD`
    times the rated one.

    Args:
        spec: arm on its table, from `Arm.load_model(edit=...)`.
        arm: the arm. Its bodies have gravity compensated by MuJoCo.
    """
    for motor, limit, speed in zip(list(spec.actuators)[: arm.n], arm.tau_max, arm.dq_max, strict=True):
        motor.gainprm[:], motor.biasprm[:] = 0.0, 0.0
        motor.gainprm[0], motor.biasprm[2] = 1.0, -limit / (NO_LOAD * speed)
        motor.ctrlrange = (-limit, limit)
