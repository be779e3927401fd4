"""The bus: instructions in, status packets out, for all servos on it."""

from __future__ import annotations

from .arm import ServoArm
from .packets import (
    ACCESS,
    ACTION,
    BAD_CRC,
    BAD_INSTRUCTION,
    BROADCAST,
    BULK_READ,
    BULK_WRITE,
    CLEAR,
    DATA_LENGTH,
    FACTORY_RESET,
    FAST_BULK_READ,
    FAST_SYNC_READ,
    PING,
    READ,
    REBOOT,
    REG_WRITE,
    RESULT_FAIL,
    STATUS,
    SYNC_READ,
    SYNC_WRITE,
    WRITE,
    Packet,
    fast_status,
    status,
)
from .servo import Servo

_CLEAR_TURNS = b"\x01\x44\x58\x4c\x22"
_FACTORY = {0xFF: False, 0x01: True, 0x02: True}
"""Option of a factory reset -> whether the ID stays."""


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


class Bus:
    """Carries out packets on the servos of an arm. Never raises, whatever comes in."""

    def __init__(self, arm: ServoArm) -> None:
        self.arm = arm

    def handle(self, packet: Packet, now: float) -> list[bytes]:
        """Carry out one packet.

        Returns:
            the status packets in the order in which the servos answer.
        """
        awake = [servo for servo in self.arm.servos if now >= servo.off_until]
        if not packet.intact:
            return [status(s.id, s.error | BAD_CRC) for s in awake if s.id == packet.id]
        if packet.instruction == STATUS:
            return []
        for servo in awake:
            servo.heard(now)
        if packet.instruction in (SYNC_READ, FAST_SYNC_READ, BULK_READ, FAST_BULK_READ):
            return self._group_read(packet, awake, now)
        if packet.instruction in (SYNC_WRITE, BULK_WRITE):
            self._group_write(packet, awake, now)
            return []
        answers = []
        for servo in awake:
            if packet.id in (servo.id, BROADCAST):
                alone = packet.id != BROADCAST
                id, level = servo.id, servo.get("status_return_level")
                error, data = self._single(servo, packet, alone, now)
                due = packet.instruction == PING or (alone and level >= (1 if packet.instruction == READ else 2))
                if due:
                    answers.append(status(id, servo.error | error, data))
        return answers

    def _single(self, servo: Servo, packet: Packet, alone: bool, now: float) -> tuple[int, bytes]:
        params = packet.params
        if packet.instruction == PING:
            number = servo.get("model_number").to_bytes(2, "little")
            return 0, number + bytes([servo.get("firmware_version")])
        if packet.instruction == READ:
            return servo.read(_word(params, 0), _word(params, 2), now) if len(params) == 4 else (DATA_LENGTH, b"")
        if packet.instruction in (WRITE, REG_WRITE):
            if len(params) < 3:
                return DATA_LENGTH, b""
            if packet.instruction == WRITE:
                return servo.write(_word(params, 0), params[2:], now), b""
            servo.register_write(_word(params, 0), params[2:])
            return 0, b""
        if packet.instruction == ACTION:
            return servo.action(now), b""
        if packet.instruction == REBOOT:
            servo.boot(now)
            return 0, b""
        if packet.instruction == CLEAR:
            if params != _CLEAR_TURNS or servo.get("moving"):
                return RESULT_FAIL, b""
            return 0, b""  # the shaft never makes more than a turn here
        if packet.instruction == FACTORY_RESET:
            if len(params) != 1 or params[0] not in _FACTORY or servo.torque:
                return (ACCESS if servo.torque else RESULT_FAIL), b""
            if not alone and params[0] == 0xFF:  # as firmware 42 and later
                return RESULT_FAIL, b""
            servo.factory_reset(now, _FACTORY[params[0]])
            return 0, b""
        return BAD_INSTRUCTION, b""

    def _group_read(self, packet: Packet, awake: list[Servo], now: float) -> list[bytes]:
        if packet.id != BROADCAST:
            return []
        by_id, parts = {servo.id: servo for servo in awake}, []
        for id, address, length in self._wanted(packet):
            servo = by_id.get(id)
            if servo is None or servo.get("status_return_level") < 1:
                continue
            error, data = servo.read(address, length, now)
            parts.append((id, servo.error | error, data))
        if packet.instruction in (SYNC_READ, BULK_READ):
            return [status(*part) for part in parts]
        # Each servo appends to the common packet: where one is silent, the rest never comes.
        complete = len(parts) == len(self._wanted(packet)) and all(part[2] for part in parts)
        return [fast_status(parts)] if parts and complete else []

    @staticmethod
    def _wanted(packet: Packet) -> list[tuple[int, int, int]]:
        params = packet.params
        if packet.instruction in (SYNC_READ, FAST_SYNC_READ):
            return [(id, _word(params, 0), _word(params, 2)) for id in params[4:]]
        return [(params[i], _word(params, i + 1), _word(params, i + 3)) for i in range(0, len(params) - 4, 5)]

    @staticmethod
    def _group_write(packet: Packet, awake: list[Servo], now: float) -> None:
        if packet.id != BROADCAST:
            return
        params, by_id = packet.params, {servo.id: servo for servo in awake}
        if packet.instruction == SYNC_WRITE:
            address, length = _word(params, 0), _word(params, 2)
            if length < 1:
                return
            for i in range(4, len(params) - length, length + 1):
                if params[i] in by_id:
                    by_id[params[i]].write(address, params[i + 1 : i + 1 + length], now)
            return
        i = 0
        while i + 5 <= len(params):
            address, length = _word(params, i + 1), _word(params, i + 3)
            data = params[i + 5 : i + 5 + length]
            if params[i] in by_id and len(data) == length:
                by_id[params[i]].write(address, data, now)
            i += 5 + length
