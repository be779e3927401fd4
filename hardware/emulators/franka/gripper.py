"""The emulated Franka Hand: two fingers that open and close at a speed, homing, grasping."""

from __future__ import annotations

import struct

from ...wire import WireError
from ...wire.franka import GRIPPER_VERSION, GripperCommand, GripperStatus, unpack

MAX_WIDTH_M = 0.08
"""Opening of the Franka Hand [m]: Franka Hand product manual."""
_MAX_SPEED, _HOMING_SPEED = 0.1, 0.05  # m/s
_STATE = struct.Struct("<Idd?H")
_STATUS = struct.Struct("<H")
_TEMPERATURE_C = 25


class Gripper:
    """A gripper with or without something between its fingers.

    Attributes:
        width: opening [m].
        held: width of the object between the fingers, 0 for none [m].
        replies: (command, number, status) of commands that have ended.
    """

    def __init__(self) -> None:
        self.width, self.held = 0.5 * MAX_WIDTH_M, 0.0
        self.replies: list[tuple[int, int, int]] = []
        self._number = 0
        self.grasped = False
        self._job: tuple[int, int, float, float, tuple[float, float] | None] | None = None

    def state(self) -> bytes:
        """The state as it goes over the wire."""
        self._number += 1
        return _STATE.pack(self._number & 0xFFFFFFFF, self.width, MAX_WIDTH_M, self.grasped, _TEMPERATURE_C)

    def handle(self, command: int, number: int, payload: bytes) -> bytes | None:
        """Begin a command; its reply comes when it has ended.

        Raises:
            WireError: the command does not follow the protocol.
        """
        if command == GripperCommand.CONNECT:
            version = int(unpack("HH", payload, "gripper Connect")[0])
            return struct.pack("<HH", int(version != GRIPPER_VERSION), GRIPPER_VERSION)
        if command == GripperCommand.STOP:
            self._abort()
            return _STATUS.pack(GripperStatus.SUCCESS)
        if command == GripperCommand.HOMING:
            width, speed, band = MAX_WIDTH_M, _HOMING_SPEED, None
        elif command == GripperCommand.MOVE:
            width, speed = unpack("dd", payload, "gripper Move")
            band = None
        elif command == GripperCommand.GRASP:
            width, inner, outer, speed, _ = unpack("5d", payload, "gripper Grasp")
            band = (width - inner, width + outer)
        else:
            raise WireError(f"Franka gripper command {command} is unknown, allowed [0, {max(GripperCommand)}]")
        if not (0.0 <= width <= MAX_WIDTH_M and speed > 0.0):
            return _STATUS.pack(GripperStatus.FAIL)
        self._abort()
        self.grasped = False
        self._job = (command, number, 0.0 if band else width, min(speed, _MAX_SPEED), band)
        return None

    def step(self, dt: float) -> None:
        """Pass some time [s]."""
        if self._job is None:
            return
        command, number, goal, speed, band = self._job
        goal = max(goal, self.held if self.width >= self.held else 0.0)
        way = goal - self.width
        self.width += max(-speed * dt, min(speed * dt, way))
        if abs(goal - self.width) > 1e-9:
            return
        self._job = None
        status = GripperStatus.SUCCESS
        if band is not None:
            self.grasped = bool(self.held) and band[0] <= self.width <= band[1]
            status = GripperStatus.SUCCESS if self.grasped else GripperStatus.UNSUCCESSFUL
        self.replies.append((command, number, status))

    def _abort(self) -> None:
        if self._job is not None:
            self.replies.append((self._job[0], self._job[1], GripperStatus.ABORTED))
            self._job = None
