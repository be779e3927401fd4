"""The driver's side of the vendor's client: start it, talk to it, never wait for it longer than told."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time

import numpy as np

from ...errors import Disconnected, DriverUnavailable, HardwareFault, LimitsMismatch, TransportTimeout
from .messages import ORDER, REPORT, Kind, Op, Report, Settings

_GOODBYE_S = 0.5


def require_package() -> None:
    """Check for the vendor's package without importing it.

    Raises:
        DriverUnavailable: it is not installed.
    """
    if importlib.util.find_spec("franky") is None:
        raise DriverUnavailable(
            "the driver 'franka' needs the package franky-control: pip install 'loopwm-robot[franka]'"
        )


class Client:
    """A running client process.

    Args:
        settings: of the client.
        timeout: until the first state [s].

    Attributes:
        info: what the arm says about itself.
        state: the newest state.
        lost: why the link is gone, empty while it is not.

    Raises:
        Disconnected: no state came.
        LimitsMismatch: the arm is another model than ours.
    """

    def __init__(self, settings: Settings, timeout: float = 6.0) -> None:
        self._host = settings.host
        self._sock, theirs = socket.socketpair()
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
        quiet = None if os.environ.get("LOOPWM_DEBUG") else subprocess.DEVNULL
        package = __name__.rpartition(".")[0]
        description = json.dumps(settings.to_mapping())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{package}.worker", str(theirs.fileno()), description],
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=quiet,
            stderr=quiet,
        )
        theirs.close()
        self._sock.setblocking(False)
        self._buffer = b""
        self.info: Report | None = None
        self.state: Report | None = None
        self.lost = ""
        until = time.monotonic() + timeout
        while self.state is None and not self.lost and self._wait(until):
            self.poll()
        if self.info is not None and not self.info.ok:
            self.close()
            raise LimitsMismatch(f"Franka {self._host}: {self.info.text}; set driver_kwargs.model")
        if self.state is None:
            reason = self.lost or f"no state within {timeout:g} s"
            self.close()
            raise Disconnected(f"Franka {self._host}: {reason}; same network, brakes open, FCI activated in Desk?")

    @property
    def age(self) -> float:
        """Time since the last state was received, not since it was looked at [s]."""
        return np.inf if self.state is None else time.monotonic() - self.state.t_host

    def poll(self) -> Report | None:
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
            if not data:
                self.lost = "the client process ended"
                break
            self._buffer += data
            reply = self._take() or reply
        return reply

    def _take(self) -> Report | None:
        reply = None
        while len(self._buffer) >= REPORT.size:
            record, self._buffer = self._buffer[: REPORT.size], self._buffer[REPORT.size :]
            report = Report.unpack(record)
            if report.kind is Kind.INFO:
                self.info = report
            elif report.kind is Kind.STATE:
                self.state = report
            elif report.kind is Kind.REPLY:
                reply = report
            else:
                self.lost = report.text or "the link is gone"
        return reply

    def send(self, op: Op, seven: list[float] | None = None) -> None:
        """Give an order.

        Raises:
            Disconnected: the process is gone.
            TransportTimeout: it does not take orders any more.
        """
        try:
            sent = self._sock.send(ORDER.pack(op, time.monotonic(), *(seven or [0.0] * 7)))
        except BlockingIOError:
            raise TransportTimeout(f"Franka {self._host}: the client takes no commands") from None
        except OSError as error:
            self.lost = self.lost or str(error)
            raise Disconnected(f"Franka {self._host}: the client is gone ({self.lost})") from error
        if sent != ORDER.size:  # half an order can not be taken back
            self.close()
            raise Disconnected(f"Franka {self._host}: the client is stuck; it was ended")

    def ask(self, op: Op, timeout: float) -> None:
        """Give an order and wait until it is carried out. A client that does not answer is ended.

        Raises:
            HardwareFault: the arm refused.
            TransportTimeout: no answer in time.
            Disconnected: the link is gone.
        """
        self.poll()
        self.send(op)
        until = time.monotonic() + timeout
        while self._wait(until):
            reply = self.poll()
            if reply is not None and not reply.ok:
                raise HardwareFault(f"Franka {self._host}: {reply.text}")
            if reply is not None:
                return
            if self.lost:
                raise Disconnected(f"Franka {self._host}: {self.lost}")
        self.close()
        raise TransportTimeout(f"Franka {self._host}: {op.name.lower()} not confirmed within {timeout:g} s")

    def close(self) -> None:
        """End the process; it brakes a motion first, and the arm stops by itself when it cannot. Idempotent."""
        self.lost = self.lost or "closed"
        self._sock.close()
        try:
            self._process.wait(_GOODBYE_S)  # it ends when the link to us does
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, until: float) -> bool:
        left = until - time.monotonic()
        if left <= 0.0:
            return False
        select.select([self._sock], [], [], min(left, 0.05))
        return True
