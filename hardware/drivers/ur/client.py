"""The driver's side of the vendor's client."""

from __future__ import annotations

import importlib.util

from ...errors import Disconnected, DriverUnavailable
from ..client_process import ClientProcess
from .messages import ORDER, REPORT, Op, Report


def require_package() -> None:
    """Check for the vendor's package without importing it.

    Raises:
        DriverUnavailable: it is not installed.
    """
    if importlib.util.find_spec("rtde_control") is None or importlib.util.find_spec("rtde_receive") is None:
        raise DriverUnavailable("the driver 'ur' needs the package ur_rtde: pip install 'loopwm-robot[ur]'")


class Client(ClientProcess[Report]):
    """A running client process; when it ends, the controller's watchdog ends the program.

    Args:
        host: the controller.
        frequency: of the RTDE connections [Hz].
        timeout: until the first state [s].

    Raises:
        Disconnected: no state came.
    """

    def __init__(self, host: str, frequency: float, timeout: float = 5.0) -> None:
        super().__init__(f"UR {host}", f"{__package__}.worker", [host, repr(frequency)], REPORT.size, Report.unpack)
        if not self.wait_for_state(timeout):
            raise Disconnected(f"{self.who}: no state over RTDE within {timeout:g} s ({self.lost})")

    def send(self, op: Op, six: list[float] | None = None, three: tuple[float, float, float] = (0.0,) * 3) -> None:
        """Give an order; see ``ClientProcess.post``."""
        self.post(ORDER.pack(op, *(six or [0.0] * 6), *three))

    def ask(self, op: Op, timeout: float, three: tuple[float, float, float] = (0.0,) * 3) -> None:
        """Give an order and wait until it is carried out; see ``ClientProcess.carry_out``."""
        self.carry_out(ORDER.pack(op, *[0.0] * 6, *three), op.name.lower(), timeout)
