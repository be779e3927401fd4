"""What the control loop leaves behind: one record for each tick, events, and the snapshot of the last tick.

Fixed-size numpy records, so that they cross a process border as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .interface import Applied, ArmState, Mode

_TEXT = 224


def record_dtype(n: int) -> np.dtype[np.void]:
    """One control tick: times [s], positions (n,) [rad], velocities (n,) [rad/s], ``Reason`` bits (n,).

    ``epoch`` counts the seedings (enable, reset): at each the command starts anew from the measured pose.
    ``speed_scale`` is the share of the speed limits in force.
    ``gripper`` is the opening last sent, NaN before the first.
    ``sent`` is false for a missed tick that was computed afterwards: the driver got only the last of them.
    """
    joint = (np.float64, (n,))
    return np.dtype(
        [
            ("tick", np.int64),
            ("t", np.float64),
            ("mode", np.int32),
            ("epoch", np.int32),
            ("sent", np.bool_),
            ("plan_id", np.int64),
            ("requested", *joint),
            ("applied", *joint),
            ("applied_dq", *joint),
            ("q", *joint),
            ("dq", *joint),
            ("reasons", np.uint32, (n,)),
            ("speed_scale", np.float64),
            ("gripper", np.float64),
            ("state_age", np.float64),
            ("lateness", np.float64),
        ]
    )


def snapshot_dtype(n: int) -> np.dtype[np.void]:
    """The last tick as a whole: measured state, applied command, mode."""
    joint = (np.float64, (n,))
    return np.dtype(
        [
            ("record", record_dtype(n)),
            ("has_state", np.bool_),
            ("enabled", np.bool_),
            ("seq", np.int64),
            ("t_host", np.float64),
            ("t_device", np.float64),
            ("tau", *joint),
            ("has_tau", np.bool_),
            ("temperature", *joint),
            ("has_temperature", np.bool_),
            ("gripper", np.float64),
            ("estop", np.bool_),
            ("device_fault", f"S{_TEXT}"),
            ("fault", f"S{_TEXT}"),
        ]
    )


EVENT_DTYPE = np.dtype(
    [("seq", np.int64), ("t", np.float64), ("value", np.float64), ("kind", "S24"), ("text", f"S{_TEXT}")]
)


@dataclass(frozen=True)
class Event:
    """Something worth a line in the log.

    Attributes:
        seq: number of the event.
        t: time [s].
        kind: short name, such as "plan_expired".
        text: one line for people.
        value: the number that belongs to it, NaN if none.
    """

    seq: int
    t: float
    kind: str
    text: str
    value: float = float("nan")

    def to_row(self) -> np.void:
        """Pack into ``EVENT_DTYPE``; a long text is cut."""
        row = np.zeros((), dtype=EVENT_DTYPE)
        row["seq"], row["t"], row["value"] = self.seq, self.t, self.value
        row["kind"], row["text"] = pack_text(self.kind), pack_text(self.text)
        return row  # type: ignore[return-value]

    @classmethod
    def from_row(cls, row: Any) -> Event:
        """Unpack from ``EVENT_DTYPE``."""
        return cls(
            int(row["seq"]),
            float(row["t"]),
            unpack_text(row["kind"]),
            unpack_text(row["text"]),
            float(row["value"]),
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The bridge after one tick.

    Attributes:
        tick: number of the tick.
        t: nominal time of the tick [s].
        mode: state of the bridge.
        plan_id: plan in force, -1 for none.
        state: last good measurement, None before the first one.
        applied: command of this tick, None while the arm is not enabled.
        fault: text of the latched fault, empty when there is none.
        speed_scale: share of the speed limits in force.
    """

    tick: int
    t: float
    mode: Mode
    plan_id: int
    state: ArmState | None
    applied: Applied | None
    fault: str
    speed_scale: float = 1.0

    @classmethod
    def from_row(cls, row: Any) -> Snapshot:
        """Unpack from ``snapshot_dtype``."""
        record = row["record"]
        state = applied = None
        if row["has_state"]:
            state = ArmState(
                seq=int(row["seq"]),
                t_host=float(row["t_host"]),
                t_device=float(row["t_device"]),
                q=record["q"],
                dq=record["dq"],
                tau=row["tau"] if row["has_tau"] else None,
                gripper=None if np.isnan(row["gripper"]) else float(row["gripper"]),
                fault=unpack_text(row["device_fault"]) or None,
                temperature=row["temperature"] if row["has_temperature"] else None,
                estop=bool(row["estop"]),
            )
        tick, t, plan_id = int(record["tick"]), float(record["t"]), int(record["plan_id"])
        if row["enabled"]:
            requested, command, dq = (record[k].copy() for k in ("requested", "applied", "applied_dq"))
            applied = Applied(tick, t, plan_id, requested, command, dq, record["reasons"].copy())
        mode, fault, scale = Mode(int(record["mode"])), unpack_text(row["fault"]), float(record["speed_scale"])
        return cls(tick, t, mode, plan_id, state, applied, fault, scale)


class Sink(Protocol):
    """Where the executor puts what happens."""

    def event(self, event: Event) -> None:
        """Take one event."""

    def record(self, row: NDArray[np.void]) -> None:
        """Take one record of ``record_dtype``; the array is reused, so copy it."""


class MemorySink:
    """Keeps everything in lists, for one process."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: list[NDArray[np.void]] = []

    def event(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)

    def record(self, row: NDArray[np.void]) -> None:
        """Keep a copy of one record."""
        self.rows.append(row.copy())

    def table(self, n: int) -> NDArray[np.void]:
        """Return all records as one structured array (ticks,)."""
        return np.array(self.rows, dtype=record_dtype(n)).reshape(-1)


def pack_text(text: str) -> bytes:
    """Encode and cut to what a text field holds, never inside a character."""
    return text.encode()[:_TEXT].decode(errors="ignore").encode()


def unpack_text(data: Any) -> str:
    """Decode a text field."""
    return bytes(data).rstrip(b"\0").decode(errors="replace")
