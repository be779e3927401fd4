"""A rig: one driver on its emulator, with a view of the true arm and a way to let things fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

from ..clock import Clock, MonotonicClock
from ..config import BridgeConfig
from ..interface import ArmDriver, Array
from ..limits import JointLimits

LINK_FAULTS = ("freeze", "drop", "corrupt", "delay", "unplug", "kill")
"""Ways a link dies: the peer stops answering; packets are lost; packets are damaged; packets come much too late;
the cable is pulled (or the connection closed); the peer's process dies."""

DEVICE_FAULTS = ("device_fault", "estop", "encoder_jump", "reboot", "power_loss")
"""Ways a device fails while its link works: it reports a fault; its emergency stop is pressed; a joint reads wrong; it
restarts; its power is cut and comes back."""


class NotApplicable(Exception):
    """A check does not apply to a rig; the text says why."""


class Rig(ABC):
    """What the checks need to know about a driver and its emulator. One rig serves one check.

    Attributes:
        name: how the table calls it.
        limits: limits that fit the device, narrower than the device's own.
        resolution_rad: what positions are rounded to on the wire, the coarser direction [rad].
        settle_rad: distance from a steady command at which the arm may come to rest [rad].
        step_s: time in which a joint goes as far as the checks ask for [s].
        stop_way_rad: distance of the target that is set and then stopped on the way [rad].
        speed_tolerance: error of the measured speed [rad/s].
        pace_tolerance: how far the device's clock may run from the host's, as a share.
        config: settings of the bridge for this arm.
        faults: those of LINK_FAULTS and DEVICE_FAULTS that ``inject`` knows.
        clock: what the driver runs on.
    """

    name: str
    limits: JointLimits
    resolution_rad: float = 1e-9
    settle_rad: float = 5e-3
    step_s: float = 0.3
    stop_way_rad: float = 0.4
    speed_tolerance: float = 0.05
    pace_tolerance: float = 0.2
    config: BridgeConfig = BridgeConfig()
    faults: frozenset[str] = frozenset()
    clock: Clock = MonotonicClock()

    @abstractmethod
    def make_driver(self) -> ArmDriver:
        """Make a driver for the emulator, not opened yet."""

    @abstractmethod
    def truth(self) -> Array:
        """True joint positions (n,) [rad] in the order of ``limits.names``, as the simulation has them."""

    @abstractmethod
    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail from now on; ``duration_s`` limits it."""

    @abstractmethod
    def heal(self) -> None:
        """End the failures that can end."""

    @abstractmethod
    def close(self) -> None:
        """Take down the emulator. Idempotent."""

    def wait(self, seconds: float) -> None:
        """Let time pass [s]."""
        self.clock.sleep_until(self.clock.now() + seconds)

    def needs(self, kind: str) -> None:
        """Raise NotApplicable unless the emulator can fail in this way."""
        if kind not in self.faults:
            raise NotApplicable(f"the emulator has no '{kind}'")

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
