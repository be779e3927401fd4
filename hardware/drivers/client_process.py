"""A vendor's client in a process of its own, seen from the driver: start it, talk to it, never wait longer than told.

Driver and client exchange records of fixed sizes over a stream socket: orders one way, reports the other.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from ..errors import Disconnected, HardwareFault, TransportTimeout

_GOODBYE_S = 0.3


class Kind(IntEnum):
    """Reports from a client; INFO, if there is one, comes before the first STATE."""

    INFO = 0
    STATE = 1
    REPLY = 2
    LOST = 3


class Report(Protocol):
    """What all reports have."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def ok(self) -> bool:
        """REPLY: whether the order was carried out."""

    @property
    def t_host(self) -> float:
        """Time of reception, CLOCK_MONOTONIC [s]."""

    @property
    def text(self) -> str:
        """Why an order failed or the link was lost."""


R = TypeVar("R", bound=Report)


class ClientProcess(Generic[R]):
    """A running client process.

    Args:
        who: how errors call the device, such as "UR 10.0.0.2".
        module: of the client; it gets the number of its socket, then the arguments.
        arguments: further arguments.
        size: of a report [bytes].
        unpack: reads a report.
        goodbye_s: how long the client has to end by itself [s].

    Attributes:
        who: as given.
        info: what the client told first.
        state: the newest state.
        lost: why the link is gone, empty while it is not.
    """

    def __init__(
        self,
        who: str,
        module: str,
        arguments: Sequence[str],
        size: int,
        unpack: Callable[[bytes], R],
        goodbye_s: float = _GOODBYE_S,
    ) -> None:
        self.who, self._size, self._unpack, self._goodbye = who, size, unpack, goodbye_s
        self._sock, theirs = socket.socketpair()
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
        quiet = None if os.environ.get("LOOPWM_DEBUG") else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno()), *arguments],
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=quiet,
            stderr=quiet,
        )
        theirs.close()
        self._sock.setblocking(False)
        self._buffer = b""
        self.info: R | None = None
        self.state: R | None = None
        self.lost = ""

    def wait_for_state(self, timeout: float) -> bool:
        """Wait for the first state; a client that sends none within the time [s] is ended."""
        until = time.monotonic() + timeout
        while self.state is None and not self.lost and self._wait(until):
            self.poll()
        if self.state is None:
            self.lost = self.lost or f"no state within {timeout:g} s"
            self.close()
        return self.state is not None

    @property
    def age(self) -> float:
        """Time since the last state was received, not since it was looked at [s]."""
        return float("inf") if self.state is None else time.monotonic() - self.state.t_host

    def poll(self) -> R | None:
        """Take what has come, without waiting; return a reply if there is one."""
        reply = None
        while not self.lost:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                self.lost = str(error)
                break
            self._buffer += data
            reply = self._take() or reply
            if not data:
                self.lost = self.lost or "the client process ended"
        return reply

    def _take(self) -> R | None:
        reply = None
        while len(self._buffer) >= self._size:
            record, self._buffer = self._buffer[: self._size], self._buffer[self._size :]
            report = self._unpack(record)
            if report.kind is Kind.INFO:
                self.info = report
            elif report.kind is Kind.STATE:
                self.state = report
            elif report.kind is Kind.REPLY:
                reply = report
            else:
                self.lost = report.text or "the link is gone"
        return reply

    def post(self, order: bytes) -> None:
        """Give an order.

        Raises:
            Disconnected: the process is gone.
            TransportTimeout: it does not take orders any more.
        """
        try:
            sent = self._sock.send(order)
        except BlockingIOError:
            raise TransportTimeout(f"{self.who}: the client takes no commands") from None
        except OSError as error:
            self.lost = self.lost or str(error)
            raise Disconnected(f"{self.who}: the client is gone ({self.lost})") from error
        if sent != len(order):  # half an order can not be taken back
            self.close()
            raise Disconnected(f"{self.who}: the client is stuck; it was ended")

    def carry_out(self, order: bytes, what: str, timeout: float) -> None:
        """Give an order and wait until it is carried out. A client that does not answer is ended.

        Args:
            order: the record.
            what: how errors call it.
            timeout: how long to wait [s].

        Raises:
            HardwareFault: the device refused.
            TransportTimeout: no answer in time.
            Disconnected: the link is gone.
        """
        self.poll()
        self.post(order)
        until = time.monotonic() + timeout
        while self._wait(until):
            reply = self.poll()
            if reply is not None and not reply.ok:
                raise HardwareFault(f"{self.who}: {reply.text}")
            if reply is not None:
                return
            if self.lost:
                raise Disconnected(f"{self.who}: {self.lost}")
        self.close()
        raise TransportTimeout(f"{self.who}: {what} not confirmed within {timeout:g} s")

    def close(self) -> None:
        """End the process; it notices that its link to us is gone. Idempotent."""
        self.lost = self.lost or "closed"
        self._sock.close()
        try:
            self._process.wait(self._goodbye)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, until: float) -> bool:
        left = until - time.monotonic()
        if left <= 0.0:
            return False
        select.select([self._sock], [], [], min(left, 0.05))
        return True
