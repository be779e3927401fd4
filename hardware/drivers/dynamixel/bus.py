"""Transactions on the servo bus through the vendor's client, with our deadlines and our errors.

Nothing of the vendor leaves this file: no exception, no result code. An answer counts only when its ID and its length
are those asked for: the client itself takes a late answer to another question for this one. Byte stuffing is undone
here, for the client (dynamixel-sdk 4.1) makes mistakes in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import BridgeError, CommandRejected, Disconnected, HardwareFault, TransportError, TransportTimeout
from .port import PastDeadline, open_port, sdk
from .registers import Register, status_error_text

ALERT = 0x80
PATIENCE_S = 0.1
"""Time for one transaction outside of the control loop [s]."""
TRIES = 3

_HEADER = b"\xff\xff\xfd"


class Answer(NamedTuple):
    """Data of a servo; whether it reports a hardware error; its error number."""

    data: bytes
    alert: bool
    error: int


class DynamixelBus:
    """A port with servos behind it.

    Args:
        port: name of the serial port.
        baudrate: bit/s.
    """

    def __init__(self, port: str, baudrate: int) -> None:
        self.name, self.baudrate = port, baudrate
        self._sdk = sdk()
        self._handler: Any = self._sdk.PacketHandler(2.0)
        self._port: Any = open_port(port, baudrate)
        self._gone = f"port '{port}' is not open; open() first"

    def close(self) -> None:
        """Close the port. Idempotent."""
        port, self._port = self._port, None
        if port is not None:
            try:
                port.closePort()
            except Exception:  # a pulled cable: there is nothing left to close
                port.is_open = False

    # In the control loop
    # ------------------------------------------------------------------------------------------------------------

    def sync_read(self, ids: Sequence[int], address: int, length: int, deadline: float) -> dict[int, Answer]:
        """Read the same registers of several servos with one instruction.

        Args:
            ids: the servos.
            address: first register.
            length: number of bytes.
            deadline: when to give up [s, time.monotonic()].

        Raises:
            TransportTimeout: a servo did not answer in time, or its answer was damaged.
            Disconnected: the port is gone.
        """

        def ask() -> int:
            return int(self._handler.syncReadTx(self._port, address, length, list(ids), len(ids), False))

        return self._transact(ask, dict.fromkeys(ids, length), deadline)

    def read(self, id: int, address: int, length: int, deadline: float) -> Answer:
        """Read registers of one servo; errors as in ``sync_read``."""
        return self._transact(
            lambda: int(self._handler.readTx(self._port, id, address, length)), {id: length}, deadline
        )[id]

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Write a register of several servos with one instruction; no servo answers.

        Raises:
            TransportTimeout: the port did not take all bytes.
            Disconnected: the port is gone.
        """
        params: list[int] = []
        for id, value in values.items():
            params += [id, *_encode(value, register.size)]
        _require_plain(params)

        def send() -> int:
            result = self._handler.syncWriteTxOnly(
                self._port, register.address, register.size, params, len(params)
            )
            return int(result)

        self._transact(send, {}, time.monotonic() + PATIENCE_S)

    # Outside of it
    # ------------------------------------------------------------------------------------------------------------

    def ping(self, id: int) -> tuple[int, int]:
        """Return model number and firmware version of a servo."""
        answer = self._patiently(
            lambda: self._transact(
                lambda: self._send(id, self._sdk.INST_PING), {id: 3}, time.monotonic() + PATIENCE_S
            )[id]
        )
        self._require_success(answer, id, "answer a ping")
        return int.from_bytes(answer.data[:2], "little"), answer.data[2]

    def get(self, id: int, register: Register, signed: bool = False) -> int:
        """Read one register."""
        answer = self._patiently(
            lambda: self.read(id, register.address, register.size, time.monotonic() + PATIENCE_S)
        )
        self._require_success(answer, id, f"read {register.name} ({register.address})")
        return int.from_bytes(answer.data, "little", signed=signed)

    def set(self, id: int, register: Register, value: int) -> None:
        """Write one register and wait for the confirmation.

        Raises:
            HardwareFault: the servo refuses.
            TransportError: it does not answer.
        """
        data = _encode(value, register.size)
        _require_plain(data)
        answer = self._patiently(
            lambda: self._transact(
                lambda: self._write_tx(id, register.address, data), {id: 0}, time.monotonic() + PATIENCE_S
            )[id]
        )
        self._require_success(answer, id, f"write {value} to {register.name} ({register.address})")

    def set_unconfirmed(self, id: int, register: Register, value: int) -> None:
        """Write one register of a servo that does not confirm writes."""
        data = _encode(value, register.size)
        self._transact(lambda: self._write_tx(id, register.address, data), {}, time.monotonic() + PATIENCE_S)

    def reboot(self, id: int) -> None:
        """Restart a servo; its torque goes off."""
        self._transact(lambda: self._send(id, self._sdk.INST_REBOOT), {}, time.monotonic() + PATIENCE_S)

    # Inside
    # ------------------------------------------------------------------------------------------------------------

    def _send(self, id: int, instruction: int) -> int:
        packet = [0] * 10
        packet[4], packet[5], packet[7] = id, 3, instruction
        return int(self._handler.txPacket(self._port, packet))

    def _write_tx(self, id: int, address: int, data: Sequence[int]) -> int:
        return int(self._handler.writeTxOnly(self._port, id, address, len(data), list(data)))

    def _patiently(self, transaction: Callable[[], Answer]) -> Answer:
        for _ in range(TRIES - 1):
            try:
                return transaction()
            except TransportTimeout:
                continue
        return transaction()

    def _transact(self, send: Callable[[], int], wanted: Mapping[int, int], deadline: float) -> dict[int, Answer]:
        port = self._port
        if port is None:
            raise Disconnected(self._gone)
        port.deadline, port.is_using = deadline, False
        try:
            result = send()
            if result != self._sdk.COMM_SUCCESS:
                raise TransportTimeout(f"port '{self.name}': {self._describe(result)}")
            port.setPacketTimeout(0)
            return {id: self._receive(id, length) for id, length in wanted.items()}
        except BridgeError:
            raise
        except PastDeadline:
            raise TransportTimeout(
                f"port '{self.name}': bytes still come in at the deadline: a late answer, or noise"
            ) from None
        except Exception as error:  # SerialException, OSError, termios.error: the cable is pulled
            self.close()
            self._gone = f"port '{self.name}' is gone: {error}"
            raise Disconnected(self._gone) from error
        finally:
            port.is_using = False

    def _receive(self, id: int, length: int) -> Answer:
        while True:
            # True, "fast", only keeps the client from undoing the byte stuffing, which it gets wrong where two
            # patterns follow one another: a velocity of -1 beside a position that ends in FD is enough.
            packet, result = self._handler.rxPacket(self._port, True)
            if result != self._sdk.COMM_SUCCESS:
                raise TransportTimeout(f"servo {id} on '{self.name}': {self._describe(result)}")
            end = 7 + (packet[5] | packet[6] << 8) - 2
            body = bytes(packet[8:end]).replace(_HEADER + b"\xfd", _HEADER)
            if packet[4] == id and body:
                error, data = body[0], body[1:]
                if len(data) == length or error & ~ALERT:
                    return Answer(data, bool(error & ALERT), error & ~ALERT)
            # A late answer to an earlier question: go on listening until the deadline.

    def _require_success(self, answer: Answer, id: int, action: str) -> None:
        if answer.error:
            why = status_error_text(answer.error)
            raise HardwareFault(f"servo {id} on '{self.name}' refuses to {action}: {why}")

    def _describe(self, result: int) -> str:
        text = str(self._handler.getTxRxResult(result)).partition("] ")[2]
        return text.rstrip("!") or f"result {result}"


def _encode(value: int, size: int) -> list[int]:
    return list((value & ((1 << (8 * size)) - 1)).to_bytes(size, "little"))


def _require_plain(params: Sequence[int]) -> None:
    # dynamixel-sdk 4.1 forgets the byte stuffing when it sends: such a packet would reach no servo.
    if _HEADER in bytes(params):
        raise CommandRejected(
            f"the bytes {bytes(params).hex(' ')} hold a packet header, which the vendor's client cannot send; this "
            "concerns positions of 32 turns and more"
        )


def scan(bus: DynamixelBus, ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Ping addresses; return model number and firmware of those that answer."""
    found = {}
    for id in ids:
        try:
            found[id] = bus.ping(id)
        except TransportError as error:
            if isinstance(error, Disconnected):
                raise
    return found
