"""The rig of the UR driver: its emulator over TCP, through the vendor's client."""

from __future__ import annotations

from math import pi

from ..config import BridgeConfig
from ..drivers.ur import UrDriver
from ..drivers.ur.client import require_package
from ..emulators.process import EmulatorProcess
from ..interface import ArmDriver
from ..limits import JointLimits
from ..wire.ur_models import JOINT_NAMES
from .process_rig import ProcessRig, loopback
from .rig import LINK_FAULTS

HOME = (0.1, -1.4, 1.5, -1.1, -1.7, 0.5)
"""Pose at power-on [rad]: no two joints alike."""


def arm_limits() -> JointLimits:
    """Limits inside those of a UR5e."""
    return JointLimits(
        names=JOINT_NAMES,
        q_min=[-1.9 * pi] * 6,  # type: ignore[arg-type]  # turned into arrays
        q_max=[1.9 * pi] * 6,  # type: ignore[arg-type]
        dq_max=[1.5] * 6,  # type: ignore[arg-type]
        ddq_max=[7.5] * 6,  # type: ignore[arg-type]
        source="made up for the conformance checks",
    )


class UrRig(ProcessRig):
    """Driver `ur` on its emulator, in real time."""

    name = "ur"
    settle_rad = 4e-3
    speed_tolerance = 0.03
    stop_way_rad = 0.1  # the controller refuses speeds beyond the ratings, as that of a larger step would be
    faults = frozenset((*LINK_FAULTS, "device_fault", "estop", "encoder_jump", "reboot"))
    # Generous bounds: tests run on busy machines, and a late tick must not look like a lost link.
    config = BridgeConfig(rate_hz=125.0, stale_after_s=0.15, disconnect_after_s=0.6, max_obs_age_s=1.0)

    def __init__(self) -> None:
        require_package()  # tell at once when the vendor's package is missing
        self.limits = arm_limits()
        self.host = loopback()
        home = ",".join(str(q) for q in HOME)
        settings = ("--host", self.host, "--rate", "125", "--unlock-after", "0.2", f"--home={home}")
        self.emulator = EmulatorProcess("ur", *settings)

    def make_driver(self) -> ArmDriver:
        """Make a driver for the emulator's address."""
        settings = {"frequency_hz": 125.0, "watchdog_s": 0.5, "lookahead_s": 0.08, "stop_rate": 20.0}
        return UrDriver(self.host, "ur5e", **settings, clock=self.clock)  # type: ignore[arg-type]
