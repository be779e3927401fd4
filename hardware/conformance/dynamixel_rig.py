"""The rig of the Dynamixel driver: its emulator on a pseudo-terminal, through the vendor's client."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..config import BridgeConfig
from ..drivers.dynamixel import DynamixelDriver
from ..drivers.dynamixel.port import sdk
from ..emulators.process import EmulatorProcess
from ..interface import ArmDriver, Array
from .process_rig import ProcessRig
from .rig import DEVICE_FAULTS, LINK_FAULTS
from .sim_rig import MJCF, arm_limits

SERVOS = (
    {"joint": "elbow", "id": 12, "sign": -1, "zero": 2100, "model": "xm430-w350"},
    {"joint": "wrist", "id": 3, "sign": 1, "zero": 1800, "model": "xl330-m288"},
    {"joint": "shoulder", "id": 7, "sign": -1, "zero": 2048, "model": "xm430-w350"},
)
"""How the emulated servos are built in: neither in the order of the joints nor all the same way round."""

LIMITS = {"shoulder": [700, 3400], "elbow": [600, 3300], "wrist": [700, 3000]}
"""Position limits in the servos [ticks], a little wider than ours."""

CALIBRATION = {
    "joints": {
        "shoulder": {"id": 7, "sign": -1, "zero": 2048},
        "elbow": {"id": 12, "sign": -1, "zero": 2100},
        "wrist": {"id": 3, "sign": 1, "zero": 1800},
    }
}
"""What the driver is told about the same arm."""


def emulated_arm(**changes: Any) -> dict[str, Any]:
    """The emulator's description of the arm; ``changes`` are EEPROM registers of all servos."""
    servos = []
    for servo in SERVOS:
        low, high = LIMITS[str(servo["joint"])]
        eeprom = {"return_delay_time": 0, "min_position_limit": low, "max_position_limit": high, **changes}
        servos.append({**servo, "eeprom": eeprom})
    return {"mjcf_path": str(MJCF), "home": "home", "servos": servos}


class DynamixelRig(ProcessRig):
    """Driver `dynamixel` on its emulator, in real time."""

    name = "dynamixel"
    resolution_rad = 2.0 * np.pi / 4096
    settle_rad = 4e-3
    speed_tolerance = 0.03
    faults = frozenset((*LINK_FAULTS, *DEVICE_FAULTS)) - {"estop"}  # servos have no button
    # Generous bounds: tests run on busy machines, and a late tick must not look like a lost link.
    config = BridgeConfig(rate_hz=100.0, stale_after_s=0.15, disconnect_after_s=0.6, max_obs_age_s=1.0)

    def __init__(self) -> None:
        sdk()  # tell at once when the vendor's package is missing
        self.limits = arm_limits()
        self.emulator = EmulatorProcess("dynamixel", "--arm", json.dumps(emulated_arm()))
        self._order = [list(self.emulator.ready["joints"]).index(name) for name in self.limits.names]

    def make_driver(self) -> ArmDriver:
        """Make a driver for the emulator's port."""
        return DynamixelDriver(self.emulator.ready["port"], CALIBRATION, watchdog_s=0.5, clock=self.clock)

    def truth(self) -> Array:
        """Joint positions of the model."""
        return super().truth()[self._order]

    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail."""
        if "joint" in settings:  # ours -> the emulator's
            settings["joint"] = self._order[settings["joint"]]
        super().inject(kind, **settings)
