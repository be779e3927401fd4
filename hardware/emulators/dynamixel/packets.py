"""Frames of Dynamixel Protocol 2.0: CRC, byte stuffing, and a parser that survives any input.

    FF FF FD 00 | ID | length, 2 bytes | instruction | parameters .. | CRC, 2 bytes

The length counts from the instruction to the CRC, after stuffing. All numbers are little-endian.
Source: https://emanual.robotis.com/docs/en/dxl/protocol2/ and https://emanual.robotis.com/docs/en/dxl/crc/
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER = b"\xff\xff\xfd"
BROADCAST = 0xFE
MAX_ID = 0xFC

PING, READ, WRITE, REG_WRITE, ACTION = 0x01, 0x02, 0x03, 0x04, 0x05
FACTORY_RESET, REBOOT, CLEAR = 0x06, 0x08, 0x10
STATUS = 0x55
SYNC_READ, SYNC_WRITE, FAST_SYNC_READ = 0x82, 0x83, 0x8A
BULK_READ, BULK_WRITE, FAST_BULK_READ = 0x92, 0x93, 0x9A

RESULT_FAIL, BAD_INSTRUCTION, BAD_CRC, DATA_RANGE, DATA_LENGTH, DATA_LIMIT, ACCESS = range(1, 8)
"""Error numbers of a status packet."""
ALERT = 0x80
"""Bit of the error byte: Hardware Error Status (70) is not 0."""

MAX_LENGTH = 1024
"""Longest length field that is believed [bytes]; the vendor's client sends no longer packet."""
GAP_S = 0.05
"""A packet whose bytes stop coming for this long is given up [s]. Own choice; the manual names none."""


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = ((value << 1) ^ 0x8005) & 0xFFFF if value & 0x8000 else (value << 1) & 0xFFFF
        rows.append(value)
    return tuple(rows)


_TABLE = _table()


def crc16(data: bytes, start: int = 0) -> int:
    """CRC-16 with polynomial 0x8005, most significant bit first, start value 0."""
    value = start
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _TABLE[(value >> 8) ^ byte]
    return value


def stuff(body: bytes) -> bytes:
    """Put FD after each FF FF FD, so that no header shows up inside a packet."""
    return body.replace(HEADER, HEADER + b"\xfd")


def unstuff(body: bytes) -> bytes:
    """Undo `stuff`."""
    return body.replace(HEADER + b"\xfd", HEADER)


@dataclass(frozen=True)
class Packet:
    """One packet: who it is for or from, its instruction, its parameters without stuffing; whether the CRC holds."""

    id: int
    instruction: int
    params: bytes
    intact: bool = True


def frame(id: int, instruction: int, params: bytes = b"") -> bytes:
    """Build a packet for the wire."""
    body = stuff(bytes([instruction]) + params)
    head = HEADER + bytes([0, id]) + (len(body) + 2).to_bytes(2, "little") + body
    return head + crc16(head).to_bytes(2, "little")


def status(id: int, error: int, params: bytes = b"") -> bytes:
    """Build the answer of a servo."""
    return frame(id, STATUS, bytes([error]) + params)


def fast_status(parts: list[tuple[int, int, bytes]]) -> bytes:
    """Build the one common answer to a fast read, without stuffing: for each servo error, ID, data and CRC so far.

    Args:
        parts: ID, error byte and data of each servo, in the order asked for.
    """
    length = 1 + sum(len(data) + 4 for _, _, data in parts)
    out = HEADER + bytes([0, BROADCAST]) + length.to_bytes(2, "little") + bytes([STATUS])
    for id, error, data in parts:
        out += bytes([error, id]) + data
        out += crc16(out).to_bytes(2, "little")
    return out


class Parser:
    """Finds packets in a stream of bytes, in pieces of any size, with anything in between."""

    def __init__(self) -> None:
        self._buffer = b""
        self._last = 0.0

    @property
    def pending(self) -> int:
        """Bytes kept for a packet that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes, now: float) -> list[Packet]:
        """Take bytes that arrived.

        Args:
            data: the bytes.
            now: time of arrival [s]; never goes back.

        Returns:
            the packets that are complete now. One with a wrong CRC is reported as not intact, and the search goes
            on behind its header.
        """
        if self._buffer and now - self._last > GAP_S:
            self._buffer = b""
        self._last = now
        buffer, packets = self._buffer + data, []
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                buffer = buffer[-2:] if buffer.endswith((b"\xff\xff", b"\xff")) else b""
                break
            buffer = buffer[start:]
            if len(buffer) < 7:
                break
            length = int.from_bytes(buffer[5:7], "little")
            if buffer[3] != 0 or not 3 <= length <= MAX_LENGTH or not (buffer[4] <= MAX_ID or buffer[4] == BROADCAST):
                buffer = buffer[3:]
                continue
            end = 7 + length
            if len(buffer) < end:
                break
            intact = crc16(buffer[: end - 2]) == int.from_bytes(buffer[end - 2 : end], "little")
            body = unstuff(buffer[7 : end - 2])
            packets.append(Packet(buffer[4], body[0], body[1:], intact))
            buffer = buffer[end:] if intact else buffer[3:]
        self._buffer = buffer
        return packets
