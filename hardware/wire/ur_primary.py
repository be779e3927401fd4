"""Universal Robots' primary interface, TCP ports 30001 and 30011 (read only): the controller's own limits.

A message is a big-endian size (int32, including itself), a type (uint8) and a payload. Type 16 is the robot state, made
of sub-packages of the same form; sub-package 6 is the configuration: joint limits, Denavit-Hartenberg parameters, robot
type. It arrives with the first message after connecting.

Source: Universal Robots, "Remote Control Via TCP/IP", client interface descriptions; layout cross-checked against the
parser of Universal_Robots_Client_Library (configuration_data).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import WireError

PORT, READ_ONLY_PORT = 30001, 30011
HEADER = struct.Struct(">iB")
ROBOT_STATE = 16
CONFIGURATION = 6
MAX_SIZE = 1 << 20
"""A message longer than this is taken for a lost frame [bytes]; real ones have about 1.5 kB."""

_CONFIGURATION = struct.Struct(">12d 12d 5d 6d 6d 6d 6d 4i")
ROBOT_TYPES = {1: "UR5", 2: "UR10", 3: "UR3", 4: "UR16", 7: "UR20", 8: "UR30", 9: "UR15"}
"""Robot type -> family; a UR5 and a UR5e share one and differ in their Denavit-Hartenberg parameters."""

Six = tuple[float, ...]


@dataclass(frozen=True)
class Configuration:
    """What the controller says about its arm.

    Attributes:
        q_min: lower joint limits [rad].
        q_max: upper joint limits [rad].
        dq_max: joint speed limits [rad/s].
        ddq_max: joint acceleration limits [rad/s^2].
        dh_a: Denavit-Hartenberg a [m].
        dh_d: Denavit-Hartenberg d [m].
        dh_alpha: Denavit-Hartenberg alpha [rad].
        robot_type: number of the family, see ``ROBOT_TYPES``.
        robot_sub_type: number of the variant.
    """

    q_min: Six
    q_max: Six
    dq_max: Six
    ddq_max: Six
    dh_a: Six
    dh_d: Six
    dh_alpha: Six
    robot_type: int
    robot_sub_type: int

    @property
    def family(self) -> str:
        """Name of the family."""
        return ROBOT_TYPES.get(self.robot_type, f"robot type {self.robot_type}")


class Stream:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes as they come; yield (type, payload) of each complete message.

        Raises:
            WireError: the stream has lost its frame.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            size, kind = HEADER.unpack_from(self._buffer)
            if not HEADER.size <= size <= MAX_SIZE:
                raise WireError(f"primary message of {size} bytes, allowed {HEADER.size} to {MAX_SIZE}")
            if len(self._buffer) < size:
                return
            payload = bytes(self._buffer[HEADER.size : size])
            del self._buffer[:size]
            yield kind, payload


def find_configuration(payload: bytes) -> Configuration | None:
    """Look through the sub-packages of a robot state.

    Raises:
        WireError: a sub-package is cut short.
    """
    at = 0
    while at < len(payload):
        if len(payload) - at < HEADER.size:
            raise WireError(f"primary robot state ends with {len(payload) - at} loose bytes")
        size, kind = HEADER.unpack_from(payload, at)
        if not HEADER.size <= size <= len(payload) - at:
            raise WireError(f"primary sub-package {kind} of {size} bytes, {len(payload) - at} are there")
        if kind == CONFIGURATION:
            return parse_configuration(payload[at + HEADER.size : at + size])
        at += size
    return None


def parse_configuration(body: bytes) -> Configuration:
    """Read a configuration; newer controllers append fields, which are left alone.

    Raises:
        WireError: too short, or numbers that are not finite.
    """
    if len(body) < _CONFIGURATION.size:
        raise WireError(f"primary configuration of {len(body)} bytes, needs {_CONFIGURATION.size}")
    flat = _CONFIGURATION.unpack_from(body)
    if not all(abs(x) < float("inf") for x in flat):
        raise WireError("primary configuration has numbers that are not finite")
    return Configuration(
        q_min=flat[0:12:2],
        q_max=flat[1:12:2],
        dq_max=flat[12:24:2],
        ddq_max=flat[13:24:2],
        dh_a=flat[29:35],
        dh_d=flat[35:41],
        dh_alpha=flat[41:47],
        robot_type=flat[55],
        robot_sub_type=flat[56],
    )


def pack_configuration(c: Configuration) -> bytes:
    """Return a whole robot state message that holds the configuration, as the emulator sends it."""
    pairs = [x for pair in zip(c.q_min, c.q_max, strict=True) for x in pair]
    pairs += [x for pair in zip(c.dq_max, c.ddq_max, strict=True) for x in pair]
    defaults = [1.05, 1.4, 0.25, 1.2, 0.25]  # v and a of movej, v and a of movel, equivalent radius
    tail = [0, 0, c.robot_type, c.robot_sub_type]
    body = _CONFIGURATION.pack(*pairs, *defaults, *c.dh_a, *c.dh_d, *c.dh_alpha, *[0.0] * 6, *tail)
    sub = HEADER.pack(HEADER.size + len(body), CONFIGURATION) + body
    return HEADER.pack(HEADER.size + len(sub), ROBOT_STATE) + sub
