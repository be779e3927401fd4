"""The rig of the Franka driver on franky-sim: an arm that was not written by those who wrote the driver."""

from __future__ import annotations

from importlib.util import find_spec

from ..drivers.franka.client import require_package
from ..emulators.process import EmulatorProcess
from ..errors import DriverUnavailable
from .franka_rig import HOME, FrankaRig, arm_limits
from .process_rig import loopback


class FrankySimRig(FrankaRig):
    """Driver `franka` on franky-sim, which knows no limits, collisions or failures but that it dies."""

    name = "franky_sim"
    pace_tolerance = 0.8  # a loop in Python that does not keep its 1 kHz where the machine has other work
    faults = frozenset(("kill",))

    def __init__(self) -> None:
        require_package(self.client)
        if find_spec("franky_sim") is None:
            raise DriverUnavailable("the conformance on franky-sim needs it: pip install franky-sim==1.0.4")
        self.limits = arm_limits()
        self.host = loopback()
        module = f"{__package__}.franky_sim_server"
        self.emulator = EmulatorProcess(self.name, self.host, *map(str, HOME), module=module)
