"""Franka Control Interface, protocol version 10: its numbers, and commands over TCP, little-endian.

The client connects to TCP 1337, names its UDP port and version, and then gets a state each millisecond; while a motion
runs it answers each with a set-point (``franka_udp``). A TCP message is a header (command, number, whole size)
and a payload; a Move is answered twice, when it starts and when it ends. The gripper does the same on port 1338 with
shorter numbers.

Sources: libfranka-common 2022 (`research_interface/robot/service_types.h`, `rbk_types.h`, `error.h`,
`gripper/types.h`) for names and order; what changed until version 10 (numbers of commands and statuses, single
precision, accelerometers) as franky-sim 1.0.4 speaks it and franky 2.0.0 (libfranka 0.21.2) takes it; the Move as in
libfranka-common d96c221, which is version 10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from . import WireError

ROBOT_PORT, GRIPPER_PORT = 1337, 1338
ROBOT_VERSION, GRIPPER_VERSION = 10, 3
ROBOT_HEADER, GRIPPER_HEADER = struct.Struct("<III"), struct.Struct("<HII")
MAX_SIZE = 1 << 20
"""Largest message that is believed [bytes]; the arm's description has a few thousand."""


class Command(IntEnum):
    """Commands to the arm."""

    CONNECT = 0
    MOVE = 1
    STOP_MOVE = 2
    SET_COLLISION_BEHAVIOR = 3
    SET_JOINT_IMPEDANCE = 4
    SET_CARTESIAN_IMPEDANCE = 5
    SET_GUIDING_MODE = 6
    SET_EE_TO_K = 7
    SET_NE_TO_EE = 8
    SET_LOAD = 9
    AUTOMATIC_ERROR_RECOVERY = 10
    GET_ROBOT_MODEL = 11


class GripperCommand(IntEnum):
    """Commands to the gripper."""

    CONNECT = 0
    HOMING = 1
    GRASP = 2
    MOVE = 3
    STOP = 4


class MoveStatus(IntEnum):
    """Replies to a Move."""

    SUCCESS = 0
    STARTED = 1
    PREEMPTED = 2
    SAFETY_PREEMPTED = 3
    SAFETY_REJECTED = 4
    NOT_POSSIBLE = 5
    SINGULAR_START = 6
    INVALID_ARGUMENT = 7
    REFLEX_ABORTED = 8
    EMERGENCY_ABORTED = 9
    INPUT_ERROR_ABORTED = 10
    ABORTED = 11


class Status(IntEnum):
    """Replies to the other commands."""

    SUCCESS = 0
    NOT_POSSIBLE = 1


class Recovery(IntEnum):
    """Replies to an AutomaticErrorRecovery."""

    SUCCESS = 0
    NOT_POSSIBLE = 1
    SAFETY_REJECTED = 2
    BY_HAND = 3


class GripperStatus(IntEnum):
    """Replies of the gripper."""

    SUCCESS = 0
    FAIL = 1
    UNSUCCESSFUL = 2
    ABORTED = 3


class Generator(IntEnum):
    """What a client streams, as states name it; a Move request names it one lower."""

    IDLE = 0
    JOINT_POSITION = 1
    JOINT_VELOCITY = 2
    CARTESIAN_POSITION = 3
    CARTESIAN_VELOCITY = 4
    NONE = 5


class Control(IntEnum):
    """What follows the set-points."""

    JOINT_IMPEDANCE = 0
    CARTESIAN_IMPEDANCE = 1
    EXTERNAL = 2
    OTHER = 3


class RobotMode(IntEnum):
    """Mode of the arm."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


class Fault(IntEnum):
    """The errors of 41 that the emulator raises: their place in the list."""

    JOINT_REFLEX = 6
    POSITION_LIMITS = 12
    VELOCITY_LIMITS = 13
    VELOCITY_DISCONTINUITY = 14
    ACCELERATION_DISCONTINUITY = 15
    COMMUNICATION = 25


NUM_ERRORS = 41


class Stream:
    """Cuts a TCP stream into messages.

    Args:
        header: ROBOT_HEADER or GRIPPER_HEADER.
    """

    def __init__(self, header: struct.Struct = ROBOT_HEADER) -> None:
        self._header, self._buffer = header, bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Take bytes as they come; yield (command, number, payload) of each complete message.

        Raises:
            WireError: the stream has lost its frame; nothing that follows can be trusted, so close it.
        """
        self._buffer += data
        while len(self._buffer) >= self._header.size:
            command, number, size = self._header.unpack_from(self._buffer)
            if not self._header.size <= size <= MAX_SIZE:
                raise WireError(f"Franka message of {size} bytes, allowed [{self._header.size}, {MAX_SIZE}] bytes")
            if len(self._buffer) < size:
                return
            payload = bytes(self._buffer[self._header.size : size])
            del self._buffer[:size]
            yield command, number, payload


def pack_message(command: int, number: int, payload: bytes, header: struct.Struct = ROBOT_HEADER) -> bytes:
    """Return one TCP message."""
    return header.pack(command, number, header.size + len(payload)) + payload


def unpack(layout: str, payload: bytes, what: str) -> tuple[float, ...]:
    """Read the beginning of a payload; what follows is left alone.

    Args:
        layout: of ``struct``, without the byte order.
        payload: what came.
        what: how errors call it.

    Raises:
        WireError: it is too short, or a number in it is not finite.
    """
    parts = struct.Struct("<" + layout)
    if len(payload) < parts.size:
        raise WireError(f"Franka {what} of {len(payload)} bytes, allowed at least {parts.size}")
    values = parts.unpack_from(payload)
    if not np.isfinite(values).all():
        raise WireError(f"Franka {what} with numbers that are not finite")
    return values


_MODES = "II"
_DEVIATIONS = "6d"
_ASYNC = "?7d"


@dataclass(frozen=True)
class Move:
    """A request to move.

    Attributes:
        generator: what will be streamed.
        control: what follows it.
        speeds: largest joint speeds (7,) [rad/s] of the arm's own motion generator, which leads to targets that come at
            any rate; None when the client streams a set-point each millisecond.
    """

    generator: Generator
    control: Control
    speeds: tuple[float, ...] | None = None


def parse_move(payload: bytes) -> Move:
    """Read a Move; the largest deviations from path and goal are left out.

    Raises:
        WireError: it is too short, or names a mode that there is not.
    """
    control, generator, *rest = unpack(_MODES + _DEVIATIONS + _ASYNC, payload, "Move")
    speeds = tuple(rest[7:]) if rest[6] else None
    try:
        return Move(Generator(int(generator) + 1), Control(int(control)), speeds)
    except ValueError as error:
        raise WireError(f"Franka Move with unknown modes {generator}, {control}") from error


def pack_move(move: Move) -> bytes:
    """Return the payload of a Move as libfranka sends it."""
    values = (move.control, move.generator - 1, *_DEFAULT_DEVIATIONS, move.speeds is not None)
    return struct.pack(f"<{_MODES}{_DEVIATIONS}{_ASYNC}", *values, *(move.speeds or (0.0,) * 7))


_DEFAULT_DEVIATIONS = (10.0, 3.12, 2.0 * np.pi) * 2
