"""The rigs of the Franka driver: its emulator over TCP and UDP, through franky and through pylibfranka."""

from __future__ import annotations

from typing import Any

from ..config import BridgeConfig
from ..drivers.franka import FrankaDriver
from ..drivers.franka.client import require_package
from ..emulators.process import EmulatorProcess
from ..interface import ArmDriver
from ..limits import JointLimits
from ..wire.franka_models import ACCELERATION, MODELS
from .process_rig import ProcessRig, loopback
from .rig import LINK_FAULTS

HOME = (0.1, -0.7, 0.25, -2.2, -0.1, 1.7, 0.8)
"""Pose at power-on [rad]: no two joints alike."""


def arm_limits() -> JointLimits:
    """Limits inside those of an FR3."""
    model = MODELS["fr3"]
    return JointLimits(
        names=model.joint_names,
        q_min=[q + 0.05 for q in model.q_min],  # type: ignore[arg-type]  # turned into arrays
        q_max=[q - 0.05 for q in model.q_max],  # type: ignore[arg-type]
        dq_max=[1.5] * 7,  # type: ignore[arg-type]
        ddq_max=[0.75 * ACCELERATION] * 7,  # type: ignore[arg-type]
        source="made up for the conformance checks",
    )


class FrankaRig(ProcessRig):
    """Driver `franka` on its emulator, in real time."""

    name = "franka"
    client = "franky"
    resolution_rad = 1e-6  # single precision
    settle_rad = 4e-3
    speed_tolerance = 0.03
    step_s = 0.6  # 0.2 rad in 0.3 s would ask for 13 rad/s^2, the arm has 10
    stop_way_rad = 0.1
    faults = frozenset((*LINK_FAULTS, "device_fault", "estop", "encoder_jump", "reboot"))
    # Generous bounds: tests run on busy machines, and a late tick must not look like a lost link.
    config = BridgeConfig(rate_hz=125.0, stale_after_s=0.15, disconnect_after_s=0.6, max_obs_age_s=1.0)

    def __init__(self) -> None:
        require_package(self.client)  # tell at once when the vendor's package is missing
        self.limits = arm_limits()
        self.host = loopback()
        home = ",".join(str(q) for q in HOME)
        # A glitch in the bridge's sense is shorter than its bounds above; the arm's own is 20 ms, which no busy
        # machine without a real-time kernel can promise.
        settings = ("--host", self.host, "--lost-packets", "200", "--patience", "0.2", f"--home={home}")
        self.emulator = EmulatorProcess("franka", *settings)

    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail."""
        super().inject("user_stop" if kind == "estop" else kind, **settings)

    def make_driver(self) -> ArmDriver:
        """Make a driver for the emulator's address."""
        return FrankaDriver(self.host, "fr3", watchdog_s=0.5, realtime=False, client=self.client, clock=self.clock)


class FrankaAsyncRig(FrankaRig):
    """The same driver with targets that are posted, and an arm that leads itself to them."""

    name = "franka_async"
    client = "pylibfranka"
