"""The rig of the simulated arm: no wire, a clock moved by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..clock import FakeClock
from ..drivers.sim import SimArmDriver
from ..interface import ArmDriver, Array
from ..limits import JointLimits
from .rig import Rig

MJCF = Path(__file__).with_name("arm.xml")
NAMES = ("shoulder", "elbow", "wrist")

_STEP_S = 0.01
_KINDS = {"freeze": "freeze", "drop": "drop", "unplug": "disconnect"}


def arm_limits() -> JointLimits:
    """Limits of the small arm of the checks."""
    return JointLimits(
        names=NAMES,
        q_min=[-2.0, -1.8, -1.6],  # type: ignore[arg-type]  # turned into arrays
        q_max=[2.0, 2.2, 1.8],  # type: ignore[arg-type]
        dq_max=[1.5] * 3,  # type: ignore[arg-type]
        ddq_max=[7.5] * 3,  # type: ignore[arg-type]
        source="made up for the conformance checks",
    )


class SimRig(Rig):
    """The driver `sim` itself."""

    name = "sim"
    faults = frozenset((*_KINDS, "device_fault", "estop", "encoder_jump"))

    def __init__(self) -> None:
        self.limits = arm_limits()
        self.clock: FakeClock = FakeClock(100.0)
        self._driver: SimArmDriver | None = None

    def make_driver(self) -> ArmDriver:
        """Make the one driver of this rig."""
        self._driver = SimArmDriver(MJCF, NAMES, clock=self.clock)
        return self._driver

    def truth(self) -> Array:
        """Joint positions of the model."""
        return self._arm.true_q

    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail."""
        self._arm.inject(kind=_KINDS.get(kind, kind), **settings)

    def heal(self) -> None:
        """End the failures."""
        self._arm.heal()

    def close(self) -> None:
        """Forget the driver."""
        if self._driver is not None:
            self._driver.close()

    def wait(self, seconds: float) -> None:
        """Advance in small steps: the simulation does not make up for long gaps."""
        end = self.clock.now() + seconds
        while self.clock.now() < end - 1e-9:
            self.clock.sleep_until(min(self.clock.now() + _STEP_S, end))
            self._arm.advance()

    @property
    def _arm(self) -> SimArmDriver:
        if self._driver is None:
            raise ValueError("the rig has no arm yet; make_driver() first")
        return self._driver
