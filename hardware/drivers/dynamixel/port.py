"""The serial port under the vendor's client, made fit for a control loop.

The client (dynamixel-sdk 4.1) waits 34 ms for a missing answer, spins while it waits, measures time with a clock that
can be set, never ends on a line full of noise, blocks once a frozen adapter no longer takes bytes, and stays "busy" for
ever after the cable was pulled. Here every wait ends at a deadline, sleeps, and a pulled cable is told.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import time
from pathlib import Path
from typing import Any

from ...errors import Disconnected, DriverUnavailable

_LOG = logging.getLogger(__name__)

MAX_LATENCY_MS = 2
"""Latency timer of an FTDI adapter above which a warning is given [ms]; the default of 16 ms ruins the rate."""


class PastDeadline(Exception):
    """The line goes on talking after the deadline."""


def sdk() -> Any:
    """Import the vendor's package.

    Raises:
        DriverUnavailable: it is not installed.
    """
    try:
        import dynamixel_sdk
    except ImportError as error:
        raise DriverUnavailable(
            "the driver 'dynamixel' needs the vendor's package: pip install 'loopwm-robot[dynamixel]'"
        ) from error
    return dynamixel_sdk


def open_port(name: str, baudrate: int) -> Any:
    """Open a serial port for this process alone; a ``PortHandler`` of the vendor with a ``deadline``.

    Raises:
        Disconnected: it is missing, not permitted, or used by another program.
        DriverUnavailable: the vendor's package is missing.
        ValueError: the client does not know the baud rate.
    """
    handler = _port_class()(name)
    try:
        known = handler.setBaudRate(baudrate)
    except Exception as error:  # SerialException, OSError, termios.error
        raise Disconnected(f"port '{name}' cannot be opened: {error}; plugged in, and are you allowed to?") from error
    if not known:
        raise ValueError(f"baudrate {baudrate} is not one of the vendor's client, such as 57600, 1000000 or 4000000")
    try:
        fcntl.flock(handler.ser.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handler.closePort()
        raise Disconnected(f"port '{name}' is used by another program ({error}); two masters garble a bus") from error
    _warn_about_latency(name)
    return handler


def _port_class() -> Any:
    base: Any = sdk().PortHandler

    class DeadlinePort(base):
        """``deadline``: time.monotonic() at which every wait ends [s]."""

        deadline = 0.0

        def getCurrentTime(self) -> float:
            return time.monotonic() * 1e3

        def setPacketTimeout(self, packet_length: int) -> None:
            self.setPacketTimeoutMillis(max(self.deadline - time.monotonic(), 0.0) * 1e3)

        def readPort(self, length: int) -> bytes:
            left = self.deadline - time.monotonic()
            if left <= 0.0 and self.ser.in_waiting:
                raise PastDeadline
            select.select([self.ser.fileno()], [], [], max(left, 0.0))
            return bytes(self.ser.read(length))

        def writePort(self, packet: list[int]) -> int:
            try:
                return os.write(self.ser.fileno(), bytes(packet))
            except BlockingIOError:  # the other side has stopped reading; pyserial would wait for ever
                return 0

    return DeadlinePort


def _warn_about_latency(name: str) -> None:
    file = Path("/sys/class/tty") / Path(name).resolve().name / "device" / "latency_timer"
    try:
        latency = int(file.read_text())
    except (OSError, ValueError):
        return
    if latency > MAX_LATENCY_MS:
        _LOG.warning("%s: latency timer %d ms slows the bus down; as root: echo 1 > %s", name, latency, file)
