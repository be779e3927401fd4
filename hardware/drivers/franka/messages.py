"""What passes between the driver and the process of the vendor's client: two fixed records on a stream socket."""

from __future__ import annotations

import math
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from ..client_process import Kind

__all__ = ["ORDER", "REPORT", "Kind", "Op", "Report", "Settings"]

ORDER = struct.Struct("<Bd7d")
REPORT = struct.Struct("<BBdd7d7d7dBBd240s")
_TEXT = 240
_ZERO = (0.0,) * 7


class Op(IntEnum):
    """Orders to the client."""

    FOLLOW = 1
    ENABLE = 2
    STOP = 3
    END = 4
    RECOVER = 5
    GRIP = 6


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        kind: what it is. INFO: q and dq are the ends of the ranges, tau the rated speeds, gripper as in a state.
        ok: INFO: the arm is of our model; STATE: the last target was taken; REPLY: the order was carried out.
        t_host: time of reception, CLOCK_MONOTONIC [s].
        t_device: time of the arm [s].
        q: joint positions (7,) [rad].
        dq: joint velocities (7,) [rad/s].
        tau: joint torques (7,) [N m].
        mode: of the arm.
        in_control: whether a motion runs.
        gripper: opening from 0 to 1, NaN when there is none.
        text: errors, why the last motion ended, why an order failed or the link was lost.
    """

    kind: Kind
    ok: bool = True
    t_host: float = 0.0
    t_device: float = 0.0
    q: tuple[float, ...] = _ZERO
    dq: tuple[float, ...] = _ZERO
    tau: tuple[float, ...] = _ZERO
    mode: int = 0
    in_control: bool = False
    gripper: float = math.nan
    text: str = ""

    def pack(self) -> bytes:
        """Return the record."""
        text = self.text.encode()[:_TEXT]
        rest = (self.mode, self.in_control, self.gripper, text)
        return REPORT.pack(self.kind, self.ok, self.t_host, self.t_device, *self.q, *self.dq, *self.tau, *rest)

    @classmethod
    def unpack(cls, record: bytes) -> Report:
        """Read a record."""
        kind, ok, t_host, t_device, *rest = REPORT.unpack(record)
        q, dq, tau = tuple(rest[:7]), tuple(rest[7:14]), tuple(rest[14:21])
        mode, in_control, gripper, text = rest[21:]
        words = text.rstrip(b"\0").decode(errors="replace")
        return cls(Kind(kind), bool(ok), t_host, t_device, q, dq, tau, mode, bool(in_control), gripper, words)


@dataclass(frozen=True)
class Settings:
    """What the client is started with.

    Attributes:
        host: address of the arm.
        model: "fr3" or another of ``wire.franka_models``.
        gain: speed for each radian of distance from the target [1/s].
        delay_s: how late targets are followed [s].
        watchdog_s: the client brakes when no target came for so long [s].
        acceleration: bound on the joint accelerations [rad/s^2].
        jerk: bound on the joint jerks [rad/s^3].
        torque_nm: external joint torque at which the arm stops [N m].
        force_n: external force at the tool at which the arm stops [N].
        realtime: whether the client refuses to run without a real-time kernel and priority.
        gripper: whether there is a hand to read and to command.
        client: "franky" or "pylibfranka".
        speed: bound on the joint speeds [rad/s]; pylibfranka only.
    """

    host: str
    model: str
    gain: float
    delay_s: float
    watchdog_s: float
    acceleration: float
    jerk: float
    torque_nm: float
    force_n: float
    realtime: bool
    gripper: bool
    client: str
    speed: float

    def to_mapping(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
