"""The emulated controller: modes, errors, motions and settings. No sockets."""

from __future__ import annotations

import numpy as np

from ...interface import Array
from ...wire import WireError
from ...wire.franka import (
    ROBOT_VERSION,
    Command,
    Control,
    Fault,
    Generator,
    MoveStatus,
    Recovery,
    RobotMode,
    Status,
    parse_move,
    unpack,
)
from ...wire.franka_models import FrankaModel, parse_urdf
from ...wire.franka_udp import SetPoint, pack_state
from .arm import STEP_S, FrankaArm
from .motion import DT, Motion

_SETTINGS = {
    Command.SET_COLLISION_BEHAVIOR: "52d",
    Command.SET_JOINT_IMPEDANCE: "7d",
    Command.SET_CARTESIAN_IMPEDANCE: "6d",
    Command.SET_GUIDING_MODE: "7?",
    Command.SET_EE_TO_K: "16d",
    Command.SET_NE_TO_EE: "16d",
    Command.SET_LOAD: "13d",
}
"""Settings and the layout of their payloads; taken, remembered, without effect."""

_STREAMED = (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY)
_EVERY = round(STEP_S / DT)
_POSE_EVERY = 20  # cycles; the pose of the flange is there to be looked at


class Controller:
    """One controller with its arm.

    Args:
        arm: the arm.
        model: what it is.
        lost_packets: so many set-points in a row may be missing; 20 on the device.
    """

    def __init__(self, arm: FrankaArm, model: FrankaModel, lost_packets: int = 20) -> None:
        self.arm, self.model, self._allowed = arm, model, lost_packets
        self.urdf = model.urdf()
        self.motion = Motion(arm.q, parse_urdf(self.urdf))
        self.mode = RobotMode.IDLE
        self.replies: list[tuple[Command, int, int]] = []
        self.notes: list[str] = []
        self.moves = 0
        self._reset()

    def _reset(self) -> None:
        self.time_ms = 0
        self.generator, self.control = Generator.IDLE, Control.OTHER
        self.errors: frozenset[int] = frozenset()
        self.last_errors: frozenset[int] = frozenset()
        self.settings: dict[Command, tuple[float, ...]] = {}
        self._move: int | None = None
        self._missing, self._answered, self._begun = 0, 0, False
        self._success = 1.0
        self._pose: Array | None = None
        self._speeds: Array | None = None
        self._target: Array = self.motion.q

    @property
    def moving(self) -> bool:
        """Whether a client has a motion running."""
        return self._move is not None

    @property
    def streamed(self) -> bool:
        """Whether a client has begun to send set-points of a motion for which it must send one each cycle."""
        return self.moving and self._begun

    def state(self) -> bytes:
        """The state of this cycle as it goes over the wire."""
        arm, motion = self.arm, self.motion
        if self.time_ms % _POSE_EVERY == 0 or self._pose is None:
            self._pose = self.model.forward(arm.q).T.ravel()
        fields: dict[str, Array] = {
            "q": arm.q,
            "theta": arm.q,
            "dq": arm.dq,
            "dtheta": arm.dq,
            "tau_J": arm.tau,
            "q_d": motion.q,
            "dq_d": motion.dq,
            "ddq_d": motion.ddq,
            "O_T_EE": self._pose,
        }
        modes = (self.generator, self.control, self.mode)
        success = self._success if self.moving else 0.0
        return pack_state(self.time_ms, fields, modes, (self.errors, self.last_errors), success)

    # One cycle
    # ---------------------------------------------------------------------------------------------------

    def tick(self, setpoint: SetPoint | None = None) -> None:
        """Pass one control cycle with the newest set-point, None when none came."""
        self.time_ms += 1
        if self.moving:
            self._stream(setpoint)
        elif self.mode is not RobotMode.OTHER:
            self.motion.brake()
        if self.time_ms % _EVERY == 0:
            self.arm.step(self.motion.q)

    def _stream(self, setpoint: SetPoint | None) -> None:
        fresh = setpoint is not None and setpoint.time_ms > self._answered
        self._success += 0.01 * (float(fresh) - self._success)
        if self._speeds is not None:
            self._lead(setpoint if fresh else None, self._speeds)
            return
        if not fresh or setpoint is None:
            # Until the first set-point the arm waits for its client.
            self._missing += int(self._begun)
            self.motion.coast()
            if self._missing > self._allowed:
                self.reflex(Fault.COMMUNICATION, f"{self._missing} set-points in a row were missing")
            return
        self._missing, self._answered, self._begun = 0, setpoint.time_ms, True
        if setpoint.finished:
            self._end(MoveStatus.SUCCESS)
            return
        fault = self.motion.follow(self.generator, setpoint)
        if fault is not None:
            self.reflex(fault, f"set-point refused: {fault.name.lower()}")

    def _lead(self, setpoint: SetPoint | None, speeds: Array) -> None:
        # The arm's own motion generator: without a new target it goes on to the last one.
        if setpoint is not None:
            self._answered = setpoint.time_ms
            if setpoint.finished:
                self._end(MoveStatus.SUCCESS)
                return
            self._target = np.array(setpoint.q)
        fault = self.motion.approach(self._target, speeds)
        if fault is not None:
            self.reflex(fault, f"target refused: {fault.name.lower()}")

    def _end(self, status: MoveStatus, mode: RobotMode = RobotMode.IDLE) -> None:
        if self._move is not None:
            self.replies.append((Command.MOVE, self._move, status))
        self._move, self.mode = None, mode
        self.generator, self.control = Generator.IDLE, Control.OTHER

    # What comes in
    # -------------------------------------------------------------------------------------------------

    def handle(self, command: Command, number: int, payload: bytes) -> bytes | None:
        """Carry out a command and return the payload of its reply; None when ``replies`` has it.

        Raises:
            WireError: the command does not follow the protocol.
        """
        if command is Command.CONNECT:
            version = int(unpack("HH", payload, "Connect")[0])
            return bytes((int(version != ROBOT_VERSION),)) + ROBOT_VERSION.to_bytes(2, "little")
        if command is Command.GET_ROBOT_MODEL:
            return bytes((Status.SUCCESS,)) + self.urdf.encode()
        if command is Command.MOVE:
            self.replies.append((command, number, self._start(number, payload)))
            return None
        if command is Command.STOP_MOVE:
            self._end(MoveStatus.PREEMPTED, RobotMode.IDLE if self.moving else self.mode)
            return bytes((Status.SUCCESS,))
        if command is Command.AUTOMATIC_ERROR_RECOVERY:
            return bytes((self._recover(),))
        values = unpack(_SETTINGS[command], payload, command.name)
        if self.moving:
            return bytes((Status.NOT_POSSIBLE,))
        self.settings[command] = values
        return bytes((Status.SUCCESS,))

    def _start(self, number: int, payload: bytes) -> MoveStatus:
        move = parse_move(payload)
        generator, control = move.generator, move.control
        if self.mode is not RobotMode.IDLE:
            self.notes.append(f"Move refused in mode {self.mode.name}")
            return MoveStatus.NOT_POSSIBLE
        if generator not in _STREAMED or control is not Control.JOINT_IMPEDANCE:
            self.notes.append(f"Move refused: {generator.name} with {control.name} is not emulated")
            return MoveStatus.INVALID_ARGUMENT
        speeds = None if move.speeds is None else np.array(move.speeds)
        if speeds is not None:
            rated = speeds.min() > 0.0 and bool((speeds <= self.model.dq_max).all())
            if generator is not Generator.JOINT_POSITION or not rated:
                self.notes.append(f"Move refused: {generator.name} by the arm itself with speeds {speeds.tolist()}")
                return MoveStatus.INVALID_ARGUMENT
        self._speeds, self._target = speeds, self.motion.q
        self._move, self.mode = number, RobotMode.MOVE
        self.generator, self.control = generator, control
        # What answers an earlier state belongs to an earlier motion.
        self._missing, self._answered, self._begun = 0, self.time_ms, False
        self._success = 1.0
        self.moves += 1
        return MoveStatus.STARTED

    def _recover(self) -> Recovery:
        if self.mode is RobotMode.USER_STOPPED:
            return Recovery.SAFETY_REJECTED
        if self.mode in (RobotMode.OTHER, RobotMode.GUIDING):
            return Recovery.BY_HAND
        if self.mode is RobotMode.REFLEX:
            self.mode = RobotMode.IDLE
        self.errors = frozenset()
        return Recovery.SUCCESS

    def hang_up(self) -> None:
        """The client is gone: a motion ends in a stop."""
        if self.moving:
            self.notes.append("motion ended: the client is gone")
            self.reflex(Fault.COMMUNICATION, "the client is gone")
        self.replies.clear()

    # Safety and power
    # ----------------------------------------------------------------------------------------------

    def reflex(self, fault: Fault, why: str = "asked for") -> None:
        """Stop with an error that needs a recovery."""
        self.notes.append(f"reflex: {why}")
        self.errors = self.last_errors = frozenset((int(fault),))
        if self.mode in (RobotMode.IDLE, RobotMode.MOVE):
            self._end(MoveStatus.REFLEX_ABORTED, RobotMode.REFLEX)

    def user_stop(self) -> None:
        """The user stop is pressed."""
        self._end(MoveStatus.EMERGENCY_ABORTED, RobotMode.USER_STOPPED)

    def guide(self) -> None:
        """The guiding button is held."""
        self._end(MoveStatus.SAFETY_PREEMPTED, RobotMode.GUIDING)

    def release(self) -> None:
        """The stop and the button are let go."""
        if self.mode in (RobotMode.USER_STOPPED, RobotMode.GUIDING):
            self.motion.settle(self.motion.q)
            self.mode = RobotMode.IDLE

    def power(self, on: bool) -> None:
        """Brakes open or closed, as Desk does it."""
        if not on:
            self._end(MoveStatus.ABORTED, RobotMode.OTHER)
            self.motion.settle(self.arm.q)
        elif self.mode is RobotMode.OTHER:
            self.mode = RobotMode.IDLE

    def restart(self) -> None:
        """Boot again: clock, settings and motions are gone, the brakes are closed."""
        self.power(False)
        self.replies.clear()
        self._reset()
        self.notes.append("restarted")


def known(command: int) -> Command:
    """Return a command by number.

    Raises:
        WireError: there is no such command.
    """
    try:
        return Command(command)
    except ValueError as error:
        raise WireError(f"Franka command {command} is unknown, allowed [0, {max(Command)}]") from error
