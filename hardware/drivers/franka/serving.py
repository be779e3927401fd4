"""What the process of either vendor's client does with its driver: it takes orders, answers them and reports states."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ...interface import Array
from .messages import ORDER, Kind, Op, Report

PERIOD_S = 0.002
END_S = 1.0
"""How long an order to end a motion may take [s]."""

KEPT: list[Any] = []
"""Never destroyed: the clients' destructors wait for what may never come."""

_GOODBYE_S = 0.25
_TRIES = 10


class Lost(Exception):
    """The link is gone."""


class Serving(ABC):
    """Serves a driver.

    Args:
        link: to the driver.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link, self._buffer = link, b""

    def run(self) -> None:
        """Serve until the driver is gone, then brake.

        Raises:
            Lost: the link to the arm is gone.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while self._take_orders():
                self._go_on()
                self._report()
        self._end(_GOODBYE_S)

    def _take_orders(self) -> bool:
        readable, _, _ = select.select([self._link], [], [], PERIOD_S)
        if not readable:
            return True
        data = self._link.recv(65536)
        self._buffer += data
        whole = len(self._buffer) // ORDER.size * ORDER.size
        orders = list(ORDER.iter_unpack(self._buffer[:whole]))
        self._buffer = self._buffer[whole:]
        for k, (op, t, *seven) in enumerate(orders):
            newest = k + 1 == len(orders) or orders[k + 1][0] != Op.FOLLOW
            if op != Op.FOLLOW or newest:  # of targets that queued up the last counts
                self._carry_out(Op(op), t, np.array(seven))
        return bool(data)

    def _carry_out(self, op: Op, t: float, seven: Array) -> None:
        if op is Op.FOLLOW:
            self._take(t, seven)
            return
        if op is Op.GRIP:
            self._grip(float(seven[0]))
            return
        problem = {Op.ENABLE: self._enable, Op.STOP: self._stop, Op.END: self._end, Op.RECOVER: self._recover}[op]()
        for _ in range(_TRIES):  # the state in which the order was carried out comes before the reply
            if self._report():
                break
            time.sleep(PERIOD_S)
        self._send(Report(Kind.REPLY, not problem, text=problem))

    def _send(self, report: Report) -> None:
        self._link.sendall(report.pack())

    # What a client does
    # ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _go_on(self) -> None:
        """Do what is due between two orders."""

    @abstractmethod
    def _report(self) -> bool:
        """Send the newest state; return whether there was one."""

    @abstractmethod
    def _take(self, t: float, target: Array) -> None:
        """Follow a target (7,) [rad] that was given at a time [s]."""

    def _grip(self, opening: float) -> None:
        """Send the hand to an opening, 0 to 1; without one nothing happens."""
        del opening

    @abstractmethod
    def _enable(self) -> str:
        """Start a motion that holds the pose; return why that failed, empty when it did not. So do the others."""

    @abstractmethod
    def _stop(self) -> str:
        """Brake and hold."""

    @abstractmethod
    def _end(self, patience: float = END_S) -> str:
        """Brake and end the motion, within a time [s]."""

    @abstractmethod
    def _recover(self) -> str:
        """End the motion and recover from errors."""


def words(error: Exception | str) -> str:
    """First line of an error of the vendor's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:1]).removeprefix("libfranka: ") or type(error).__name__
