"""The rig of the Franka driver on franky-sim: an arm that was not written by those who wrote the driver."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..drivers.franka import FrankaDriver
from ..drivers.franka.client import require_package
from ..errors import DriverUnavailable
from ..interface import ArmDriver, Array
from .franka_rig import HOME, FrankaRig, arm_limits
from .process_rig import loopback
from .rig import Rig

_PATIENCE_S = 30.0


class FrankySimRig(Rig):
    """Driver `franka` on franky-sim, which knows no limits, collisions or failures but that it dies."""

    name = "franky_sim"
    resolution_rad = FrankaRig.resolution_rad
    settle_rad = FrankaRig.settle_rad
    speed_tolerance = FrankaRig.speed_tolerance
    step_s = FrankaRig.step_s
    stop_way_rad = FrankaRig.stop_way_rad
    pace_tolerance = 0.8  # a loop in Python that does not keep its 1 kHz where the machine has other work
    faults = frozenset(("kill",))
    config = FrankaRig.config

    def __init__(self) -> None:
        require_package("franky")
        if find_spec("franky_sim") is None:
            raise DriverUnavailable("the conformance on franky-sim needs it: pip install franky-sim==1.0.4")
        self.limits = arm_limits()
        self.host = loopback()
        command = [sys.executable, "-m", f"{__package__}.franky_sim_server", self.host, *map(str, HOME)]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def make_driver(self) -> ArmDriver:
        """Make a driver for the server's address."""
        return FrankaDriver(self.host, "fr3", watchdog_s=0.5, realtime=False, clock=self.clock)

    def truth(self) -> Array:
        """Joint positions of the model."""
        assert self._server.stdin is not None
        self._server.stdin.write("truth\n")
        self._server.stdin.flush()
        return np.array(json.loads(self._line()), dtype=np.float64)

    def inject(self, kind: str, **settings: Any) -> None:
        """Let it die, which is all that it can."""
        self._server.kill()

    def heal(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """End it."""
        if self._server.poll() is None:
            self._server.kill()
            self._server.wait(_PATIENCE_S)
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()
