"""What passes between the driver and the process of the vendor's client: two fixed records on a stream socket."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ..client_process import Kind

__all__ = ["ORDER", "REPORT", "Kind", "Op", "Report"]

ORDER = struct.Struct("<B6d3d")
REPORT = struct.Struct("<BBdd6d6d6diiI160s")


class Op(IntEnum):
    """Orders to the client."""

    SERVOJ = 1
    SPEEDJ = 2
    ENABLE = 3
    STOP = 4
    END = 5
    FREEDRIVE = 6
    END_FREEDRIVE = 7


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        kind: what it is.
        ok: STATE: the last streamed command was taken; REPLY: the order was carried out.
        t_host: time of reception, CLOCK_MONOTONIC [s].
        t_device: time of the controller [s].
        q: joint positions (6,) [rad].
        dq: joint velocities (6,) [rad/s].
        heat: joint temperatures (6,) [deg C].
        robot_mode: of RTDE.
        safety_mode: of RTDE.
        runtime: state of the program, 2 while it runs.
        text: why an order failed, or the link was lost.
    """

    kind: Kind
    ok: bool = True
    t_host: float = 0.0
    t_device: float = 0.0
    q: tuple[float, ...] = (0.0,) * 6
    dq: tuple[float, ...] = (0.0,) * 6
    heat: tuple[float, ...] = (0.0,) * 6
    robot_mode: int = -1
    safety_mode: int = 0
    runtime: int = 0
    text: str = ""

    def pack(self) -> bytes:
        """Return the record."""
        text = self.text.encode()[:160]
        modes = (self.robot_mode, self.safety_mode, self.runtime)
        return REPORT.pack(self.kind, self.ok, self.t_host, self.t_device, *self.q, *self.dq, *self.heat, *modes, text)

    @classmethod
    def unpack(cls, record: bytes) -> Report:
        """Read a record."""
        kind, ok, t_host, t_device, *rest = REPORT.unpack(record)
        q, dq, heat = tuple(rest[:6]), tuple(rest[6:12]), tuple(rest[12:18])
        robot, safety, runtime, text = rest[18:]
        words = text.rstrip(b"\0").decode(errors="replace")
        return cls(Kind(kind), bool(ok), t_host, t_device, q, dq, heat, robot, safety, runtime, words)
