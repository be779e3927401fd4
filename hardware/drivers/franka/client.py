"""The driver's side of the vendor's client."""

from __future__ import annotations

import importlib.util
import json
import time

from ...errors import Disconnected, DriverUnavailable, LimitsMismatch
from ..client_process import ClientProcess
from .messages import ORDER, REPORT, Op, Report, Settings

_GOODBYE_S = 0.5  # it brakes first


CLIENTS = {
    "franky": "the package franky-control: pip install 'loopwm-robot[franka]'",
    "pylibfranka": "the package pylibfranka: pip install 'loopwm-robot[pylibfranka]' (wheels up to Python 3.12)",
}
"""Client -> what it needs."""


def require_package(client: str = "franky") -> None:
    """Check for the package of a client without importing it.

    Raises:
        DriverUnavailable: it is not installed.
    """
    if importlib.util.find_spec(client) is None:
        raise DriverUnavailable(f"the driver 'franka' with client '{client}' needs {CLIENTS[client]}")


class Client(ClientProcess[Report]):
    """A running client process.

    Args:
        settings: of the client.
        timeout: until the first state [s].

    Raises:
        Disconnected: no state came.
        LimitsMismatch: the arm is another model than ours.
        DriverUnavailable: real time is asked for and this machine has none.
    """

    def __init__(self, settings: Settings, timeout: float = 10.0) -> None:
        module, arguments = f"{__package__}.worker", [json.dumps(settings.to_mapping())]
        super().__init__(f"Franka {settings.host}", module, arguments, REPORT.size, Report.unpack, _GOODBYE_S)
        found = self.wait_for_state(timeout)
        if self.info is not None and not self.info.ok:
            self.close()
            raise LimitsMismatch(f"{self.who}: {self.info.text}; set driver_kwargs.model")
        if not found and "realtime" in self.lost:
            raise DriverUnavailable(
                f"{self.who}: {self.lost} A real arm needs a PREEMPT_RT kernel and real-time priority; to rehearse "
                "on the emulator set driver_kwargs.realtime: false"
            )
        if not found:
            raise Disconnected(f"{self.who}: {self.lost}; same network, brakes open, FCI activated in Desk?")

    def send(self, op: Op, seven: list[float] | None = None) -> None:
        """Give an order; see ``ClientProcess.post``."""
        self.post(ORDER.pack(op, time.monotonic(), *(seven or [0.0] * 7)))

    def ask(self, op: Op, timeout: float) -> None:
        """Give an order and wait until it is carried out; see ``ClientProcess.carry_out``."""
        self.carry_out(ORDER.pack(op, time.monotonic(), *[0.0] * 7), op.name.lower(), timeout)
