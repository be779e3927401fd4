"""How servos are built into an arm: order, direction, zero and range of each joint, and the gripper.

q = sign * (position - zero) * 2 pi / 4096. Kept as JSON, so that it can be versioned with the arm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LimitsMismatch
from ...interface import Array
from .registers import RAD_PER_TICK

_ID = (0, 252)
_POSITION = (-1_048_575, 1_048_575)


@dataclass(frozen=True)
class JointServo:
    """The servo of a joint.

    Attributes:
        id: address on the bus.
        sign: +1 or -1: direction of the joint when the servo's position rises.
        zero: position at which the joint is at 0 [ticks].
        drive_mode: Drive Mode (10) under which this was calibrated; bit 0 reverses the servo itself.
        homing_offset: Homing Offset (20) under which this was calibrated [ticks].
    """

    id: int
    sign: int = 1
    zero: int = 2048
    drive_mode: int = 0
    homing_offset: int = 0

    def __post_init__(self) -> None:
        _check("servo id", self.id, *_ID)
        if self.sign not in (-1, 1):
            raise LimitsMismatch(f"servo {self.id}: sign is {self.sign!r}, allowed -1 or 1")
        _check(f"servo {self.id}: zero", self.zero, *_POSITION)
        if self.drive_mode not in (0, 1):
            raise LimitsMismatch(
                f"servo {self.id}: drive_mode is {self.drive_mode!r}, allowed 0 or 1: profiles based on time and "
                "torque switched on by a goal are not for a streamed arm"
            )
        _check(f"servo {self.id}: homing_offset", self.homing_offset, *_POSITION)


@dataclass(frozen=True)
class GripperServo:
    """The servo of a gripper: address and positions closed and open [ticks]."""

    id: int
    closed: int
    open: int

    def __post_init__(self) -> None:
        _check("gripper id", self.id, *_ID)
        _check("gripper closed", self.closed, *_POSITION)
        _check("gripper open", self.open, *_POSITION)
        if self.closed == self.open:
            raise LimitsMismatch(f"gripper: closed and open are both {self.open}, allowed two positions")

    def opening(self, position: float) -> float:
        """Opening, 0 closed to 1 open, at a position [ticks]."""
        return float(np.clip((position - self.closed) / (self.open - self.closed), 0.0, 1.0))

    def position(self, opening: float) -> int:
        """Position [ticks] for an opening from 0 to 1."""
        return round(self.closed + opening * (self.open - self.closed))


@dataclass(frozen=True)
class Calibration:
    """All servos of an arm.

    Attributes:
        joints: joint name -> servo, in the order of all vectors.
        gripper: the gripper's servo, or None.
    """

    joints: dict[str, JointServo]
    gripper: GripperServo | None = None
    _arrays: tuple[Array, Array] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.joints:
            raise LimitsMismatch("calibration: 'joints' is empty; name at least one joint with its servo")
        ids = [servo.id for servo in self.joints.values()] + ([self.gripper.id] if self.gripper else [])
        if len(set(ids)) != len(ids):
            raise LimitsMismatch(f"calibration: servo ids {ids}, each may be used only once")
        sign = np.array([float(servo.sign) for servo in self.joints.values()])
        zero = np.array([float(servo.zero) for servo in self.joints.values()])
        object.__setattr__(self, "_arrays", (sign, zero))

    @property
    def names(self) -> tuple[str, ...]:
        """Joint names in order."""
        return tuple(self.joints)

    @property
    def ids(self) -> tuple[int, ...]:
        """Servo addresses in the order of the joints, without the gripper."""
        return tuple(servo.id for servo in self.joints.values())

    def to_rad(self, position: Array) -> Array:
        """Joint positions (n,) [rad] from servo positions [ticks]."""
        sign, zero = self._arrays
        return np.asarray(sign * (position - zero) * RAD_PER_TICK)

    def to_ticks(self, q: Array) -> Array:
        """Nearest servo positions (n,) [ticks], whole numbers, for joint positions [rad]."""
        sign, zero = self._arrays
        return np.asarray(np.round(zero + sign * q / RAD_PER_TICK))

    def directed(self, rate: Array) -> Array:
        """Turn a rate or torque of the servos (n,) into the joints' direction."""
        return np.asarray(self._arrays[0] * rate)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Calibration:
        """Build from plain data: {"joints": {name: {"id": .., ..}}, "gripper": {..} or null}.

        Raises:
            LimitsMismatch: something is missing, unknown or out of range.
        """
        known = {"joints", "gripper", "arm"}
        if unknown := sorted(set(data) - known):
            raise LimitsMismatch(f"calibration: keys {unknown} are unknown; known: {sorted(known)}")
        joints = data.get("joints")
        if not isinstance(joints, Mapping):
            raise LimitsMismatch("calibration: 'joints' is missing; give a servo for each joint name")
        servos = {str(name): _build(JointServo, item, f"joint '{name}'") for name, item in joints.items()}
        gripper = data.get("gripper")
        return cls(servos, None if gripper is None else _build(GripperServo, gripper, "gripper"))

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file.

        Raises:
            LimitsMismatch: it is missing, no JSON, or not acceptable.
        """
        try:
            data = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LimitsMismatch(f"calibration '{path}' cannot be read: {error}") from error
        if not isinstance(data, dict):
            raise LimitsMismatch(f"calibration '{path}': expected a JSON object with the key 'joints'")
        return cls.from_mapping(data)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data; ``from_mapping`` reads it back."""
        joints = {name: asdict(servo) for name, servo in self.joints.items()}
        return {"joints": joints, "gripper": None if self.gripper is None else asdict(self.gripper)}


def _build(kind: type, item: Any, what: str) -> Any:
    names = [f.name for f in fields(kind)]
    if not isinstance(item, Mapping) or (unknown := sorted(set(item) - set(names))):
        found = item if not isinstance(item, Mapping) else unknown
        raise LimitsMismatch(f"calibration: {what} has {found!r}; known: {', '.join(names)}")
    try:
        return kind(**item)
    except TypeError as error:
        raise LimitsMismatch(f"calibration: {what}: {error}") from error


def _check(what: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise LimitsMismatch(f"{what} is {value!r}, allowed a whole number in [{low}, {high}]")
