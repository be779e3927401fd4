"""The simulated arm behind the servos: which servo turns which joint, which way round, and where its zero is.

Deliberately written apart from the driver's calibration: an error in one of them must show in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...clock import Clock
from ...drivers.sim import SimArmDriver
from ...interface import Array
from .servo import RAD_PER_TICK, Servo
from .table import MODELS


@dataclass(frozen=True)
class Mounting:
    """How a servo is built in.

    Attributes:
        joint: joint of the MJCF that it turns (or slides).
        id: address on the bus.
        model: servo model, a key of ``table.MODELS``.
        sign: +1 or -1: direction of the joint when the servo's position rises.
        zero: position of the servo [ticks] where the joint is at 0.
        scale: joint units for one radian of the servo: 1 for a direct drive; [m] for a sliding gripper.
        strength: torque as a multiple of the data sheet's, to rehearse with an arm that such servos could not move.
        eeprom: EEPROM registers that differ from the factory's, by name.
    """

    joint: str
    id: int
    model: str = "xm430-w350"
    sign: int = 1
    zero: int = 2048
    scale: float = 1.0
    strength: float = 1.0
    eeprom: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"servo model '{self.model}' is unknown; known: {', '.join(sorted(MODELS))}")
        if self.sign not in (-1, 1):
            raise ValueError(f"servo {self.id}: sign is {self.sign}, allowed -1 or 1")
        if not 0 <= self.id <= 252:
            raise ValueError(f"servo of '{self.joint}': id is {self.id}, allowed [0, 252]")
        for name in ("scale", "strength"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ValueError(f"servo {self.id}: {name} is {getattr(self, name)}, allowed above 0")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Mounting:
        """Build from plain data; an unknown key lists the known ones."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(data) - set(known)):
            raise ValueError(f"servo settings {', '.join(unknown)} are unknown; known: {', '.join(known)}")
        return cls(**data)


class ServoArm:
    """Servos and the physics they act on.

    Args:
        mjcf_path: model of the arm.
        mountings: the servos.
        home: keyframe or joint positions in the order of the servos, see ``SimArmDriver``.
        clock: where time comes from.
    """

    def __init__(
        self,
        mjcf_path: str | Path,
        mountings: Sequence[Mounting],
        clock: Clock,
        home: str | Sequence[float] | None = None,
    ) -> None:
        ids = [mounting.id for mounting in mountings]
        if not ids or len(set(ids)) != len(ids):
            raise ValueError(f"servo ids {ids}: need at least one, each only once")
        self.mountings, self._clock = tuple(mountings), clock
        self._sign = np.array([float(m.sign) for m in mountings])
        self._zero = np.array([m.zero * RAD_PER_TICK for m in mountings])
        self._scale = np.array([m.scale for m in mountings])
        self._lever = np.array([m.strength / m.scale for m in mountings])
        self._sim = SimArmDriver(mjcf_path, [m.joint for m in mountings], home=home, clock=clock)
        self._sim.open()
        self._sim.enable()
        self.servos = tuple(Servo(m.id, MODELS[m.model], m.eeprom) for m in mountings)
        self._drives: bytes = b""
        self._targets: bytes = b""
        self._sense()
        for servo in self.servos:
            servo.boot(clock.now(), silent_s=0.0)
        self.advance()

    @property
    def joints(self) -> tuple[str, ...]:
        """Joint names in the order of the servos."""
        return tuple(m.joint for m in self.mountings)

    def truth(self) -> Array:
        """True joint positions (n,) [rad or m]."""
        self._sim.advance()
        return self._sim.true_q

    def advance(self) -> None:
        """Bring physics and servos up to the present time."""
        self._sense()
        now = self._clock.now()
        for servo in self.servos:
            servo.advance(now)
        limp = np.array([not servo.torque or now < servo.off_until for servo in self.servos])
        limits = np.array([servo.torque_limit for servo in self.servos]) * self._lever
        drives = limp.tobytes() + limits.tobytes()
        if drives != self._drives:  # touching the model is not free
            self._sim.drive(limp, limits)
            self._drives = drives
        shaft = np.array([servo.target for servo in self.servos])
        targets = np.where(limp, 0.0, self._sign * (shaft - self._zero) * self._scale)
        if targets.tobytes() != self._targets:
            self._sim.write(targets, now)
            self._targets = targets.tobytes()

    def _sense(self) -> None:
        state = self._sim.read(self._clock.now())
        position = self._sign * state.q / self._scale + self._zero
        velocity = self._sign * state.dq / self._scale
        torque = self._sign * (np.zeros_like(state.q) if state.tau is None else state.tau) / self._lever
        for servo, q, dq, tau in zip(self.servos, position, velocity, torque, strict=True):
            servo.sensed.position, servo.sensed.velocity, servo.sensed.torque = float(q), float(dq), float(tau)
