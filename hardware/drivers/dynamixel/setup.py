"""Looking at servos before they are used, and setting them up once.

Nothing here runs by itself: settings in EEPROM are written only by ``python -m hardware.drivers.dynamixel setup``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Disconnected, LimitsMismatch, TransportTimeout
from ...interface import Array
from . import registers as reg
from .bus import DynamixelBus
from .calibration import JointServo

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServoFacts:
    """What a servo tells about itself; positions in ticks."""

    id: int
    model: reg.Model
    firmware: int
    drive_mode: int
    operating_mode: int
    homing_offset: int
    position_min: int
    position_max: int
    return_delay: int
    status_return_level: int
    current_limit: int
    torque: bool

    @property
    def torque_per_unit(self) -> float | None:
        """Torque for one unit of Present Current [N m], by the data sheet's stall point; None when unknown."""
        if self.model.amp is None or self.model.torque_per_amp is None:
            return None
        return self.model.amp * self.model.torque_per_amp

    def current_units(self, amperes: float) -> int:
        """Units of Goal Current for a current [A], within the servo's own limit.

        Raises:
            LimitsMismatch: the unit of this model is not known.
        """
        if self.model.amp is None:
            raise LimitsMismatch(f"servo {self.id}: no unit of current is known for a {self.model.name}")
        return min(round(amperes / self.model.amp), self.current_limit)


def inspect(bus: DynamixelBus, id: int, name: str, servo: JointServo | None, mode: int) -> ServoFacts:
    """Read a servo's settings and compare them with what the driver needs.

    Args:
        bus: the bus.
        id: address.
        name: joint, for messages.
        servo: its calibration, None for the gripper.
        mode: Operating Mode (11) that is needed.

    Raises:
        Disconnected: it does not answer.
        LimitsMismatch: it is an unknown model or set up in another way.
    """
    facts = read_facts(bus, id, name)
    who = f"servo {id} ('{name}', {facts.model.name})"
    fix = "run `python -m hardware.drivers.dynamixel setup` with the torque off"
    if facts.operating_mode != mode:
        raise LimitsMismatch(f"{who}: Operating Mode (11) is {facts.operating_mode}, needs {mode}; {fix}")
    if facts.drive_mode & ~1:
        raise LimitsMismatch(
            f"{who}: Drive Mode (10) is {facts.drive_mode}, allowed 0 or 1: profiles by time and torque switched on by "
            f"a goal are not for a streamed arm; {fix}"
        )
    if servo is not None and (facts.drive_mode, facts.homing_offset) != (servo.drive_mode, servo.homing_offset):
        raise LimitsMismatch(
            f"{who}: Drive Mode (10) {facts.drive_mode} and Homing Offset (20) {facts.homing_offset}, but it was "
            f"calibrated with {servo.drive_mode} and {servo.homing_offset}; calibrate anew or {fix}"
        )
    if facts.return_delay:
        _LOG.warning("%s: Return Delay Time (9) is %d us, 0 is faster; %s", who, 2 * facts.return_delay, fix)
    return facts


def read_facts(bus: DynamixelBus, id: int, name: str = "") -> ServoFacts:
    """Read what a servo tells about itself.

    Raises:
        Disconnected: it does not answer.
        LimitsMismatch: the model is unknown.
    """
    try:
        number, firmware = bus.ping(id)
    except TransportTimeout as error:
        raise Disconnected(
            f"servo {id} ('{name}') does not answer on '{bus.name}' at {bus.baudrate} bit/s: {error}; check power, "
            "cable, ID and baud rate"
        ) from error
    model = reg.MODELS.get(number)
    if model is None:
        known = ", ".join(m.name for m in reg.MODELS.values())
        raise LimitsMismatch(f"servo {id} ('{name}'): model number {number} is unknown; known: {known}")
    return ServoFacts(
        id=id,
        model=model,
        firmware=firmware,
        drive_mode=bus.get(id, reg.DRIVE_MODE),
        operating_mode=bus.get(id, reg.OPERATING_MODE),
        homing_offset=bus.get(id, reg.HOMING_OFFSET, signed=True),
        position_min=bus.get(id, reg.MIN_POSITION),
        position_max=bus.get(id, reg.MAX_POSITION),
        return_delay=bus.get(id, reg.RETURN_DELAY),
        status_return_level=bus.get(id, reg.STATUS_RETURN_LEVEL),
        current_limit=0 if model.amp is None else bus.get(id, reg.CURRENT_LIMIT),  # XL430 and XC430 have none
        torque=bool(bus.get(id, reg.TORQUE_ENABLE)),
    )


def position_range(facts: Sequence[ServoFacts]) -> tuple[Array, Array]:
    """Position limits of servos, each (n,) [ticks]."""
    low = np.array([float(fact.position_min) for fact in facts])
    high = np.array([float(fact.position_max) for fact in facts])
    return low, high


def write_settings(
    bus: DynamixelBus, id: int, mode: int, drive_mode: int, homing_offset: int, limits: tuple[int, int] | None
) -> None:
    """Write what the driver needs into a servo's EEPROM. The torque must be off.

    Args:
        bus: the bus.
        id: address.
        mode: Operating Mode (11).
        drive_mode: Drive Mode (10).
        homing_offset: Homing Offset (20) [ticks].
        limits: Min and Max Position Limit (52, 48) [ticks], None leaves them.

    Raises:
        HardwareFault: the servo refuses, most likely as its torque is on.
    """
    for register, value in (
        (reg.RETURN_DELAY, 0),
        (reg.OPERATING_MODE, mode),
        (reg.DRIVE_MODE, drive_mode),
        (reg.HOMING_OFFSET, homing_offset),
    ):
        bus.set(id, register, value)
    if limits is not None:
        bus.set(id, reg.MIN_POSITION, limits[0])
        bus.set(id, reg.MAX_POSITION, limits[1])
