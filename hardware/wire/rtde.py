"""Universal Robots' Real-Time Data Exchange (RTDE), protocol version 2, TCP port 30004.

A package is a big-endian header (size uint16 including the header, type uint8) and a payload. The client names the
variables of a recipe, the controller answers with their types, and data packages then carry the values in that order.

Source: Universal Robots, "Real-Time Data Exchange (RTDE) Guide"; the trailing comma in lists of names and the
order of the handshake are what ur_rtde 1.6.5 sends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from . import WireError

PORT = 30004
PROTOCOL_VERSION = 2
HEADER = struct.Struct(">HB")
MAX_SIZE = 0xFFFF

REQUEST_PROTOCOL_VERSION = ord("V")
GET_URCONTROL_VERSION = ord("v")
TEXT_MESSAGE = ord("M")
DATA_PACKAGE = ord("U")
SETUP_OUTPUTS = ord("O")
SETUP_INPUTS = ord("I")
START = ord("S")
PAUSE = ord("P")
TYPES = frozenset(
    (
        REQUEST_PROTOCOL_VERSION,
        GET_URCONTROL_VERSION,
        TEXT_MESSAGE,
        DATA_PACKAGE,
        SETUP_OUTPUTS,
        SETUP_INPUTS,
        START,
        PAUSE,
    )
)

FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT32": "I",
    "UINT64": "Q",
    "INT32": "i",
    "DOUBLE": "d",
    "VECTOR3D": "3d",
    "VECTOR6D": "6d",
    "VECTOR6INT32": "6i",
    "VECTOR6UINT32": "6I",
}
"""RTDE type -> struct format (big-endian)."""

NOT_FOUND, IN_USE = "NOT_FOUND", "IN_USE"

Value = bool | int | float | tuple[int, ...] | tuple[float, ...]


def pack(kind: int, payload: bytes = b"") -> bytes:
    """Return one package.

    Raises:
        WireError: the payload does not fit into the 16-bit size.
    """
    size = HEADER.size + len(payload)
    if size > MAX_SIZE:
        raise WireError(f"RTDE package of {size} bytes, allowed up to {MAX_SIZE}: split the recipe")
    return HEADER.pack(size, kind) + payload


class Stream:
    """Cuts a byte stream into packages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes as they come; yield (type, payload) of each complete package.

        Raises:
            WireError: the stream has lost its frame; nothing that follows can be trusted, so close it.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            size, kind = HEADER.unpack_from(self._buffer)
            if size < HEADER.size or kind not in TYPES:
                raise WireError(f"RTDE header with size {size} and type {kind}: the stream is out of step")
            if len(self._buffer) < size:
                return
            payload = bytes(self._buffer[HEADER.size : size])
            del self._buffer[:size]
            yield kind, payload


def parse_names(payload: bytes) -> list[str]:
    """Read a comma-separated list of ASCII names; a trailing comma is allowed.

    Raises:
        WireError: not ASCII.
    """
    try:
        text = payload.decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError(f"RTDE list of names is not ASCII ({error.reason})") from error
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_outputs(payload: bytes) -> tuple[float, list[str]]:
    """Read the client's output recipe: frequency [Hz] and names.

    Raises:
        WireError: too short, or a frequency outside (0, 500] Hz.
    """
    if len(payload) < 8:
        raise WireError(f"RTDE output recipe of {len(payload)} bytes, needs at least 8")
    (frequency,) = struct.unpack_from(">d", payload)
    if not 0.0 < frequency <= 500.0:
        raise WireError(f"RTDE output frequency {frequency} Hz, allowed (0, 500] Hz")
    return frequency, parse_names(payload[8:])


def unpack(fmt: str, payload: bytes, what: str) -> tuple[int, ...]:
    """Unpack a fixed big-endian payload; more bytes than needed are left alone.

    Raises:
        WireError: too few bytes.
    """
    try:
        return struct.unpack_from(">" + fmt, payload)
    except struct.error as error:
        raise WireError(f"RTDE {what}: {error}") from error


class Recipe:
    """Names and types of a data package.

    Args:
        names: variables in order.
        types: their RTDE types.

    Raises:
        WireError: a type is unknown, or the numbers of names and types differ.
    """

    def __init__(self, names: Sequence[str], types: Sequence[str]) -> None:
        if len(names) != len(types):
            raise WireError(f"RTDE recipe has {len(names)} names and {len(types)} types")
        unknown = [f"{n} ({t})" for n, t in zip(names, types, strict=True) if t not in FORMATS]
        if unknown:
            raise WireError(f"RTDE variables without a known type: {', '.join(unknown)}")
        self.names, self.types = tuple(names), tuple(types)
        self._lengths = [struct.calcsize(">" + FORMATS[t]) // struct.calcsize(">" + FORMATS[t][-1]) for t in types]
        self._struct = struct.Struct(">" + "".join(FORMATS[t] for t in types))

    @property
    def size(self) -> int:
        """Bytes of the values, without the recipe's number."""
        return self._struct.size

    def pack(self, values: Sequence[Value]) -> bytes:
        """Return the values as bytes, vectors as sequences of their numbers."""
        flat: list[float] = []
        for value in values:
            flat.extend(value) if isinstance(value, Sequence) else flat.append(value)
        return self._struct.pack(*flat)

    def unpack(self, payload: bytes) -> dict[str, Value]:
        """Return name -> value.

        Raises:
            WireError: the number of bytes differs.
        """
        if len(payload) != self.size:
            raise WireError(f"RTDE data of {len(payload)} bytes, the recipe has {self.size}")
        flat, values, at = self._struct.unpack(payload), {}, 0
        for name, length in zip(self.names, self._lengths, strict=True):
            values[name] = flat[at] if length == 1 else flat[at : at + length]
            at += length
        return values
