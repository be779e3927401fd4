"""The shared memory of one bridge: where everything stands, and how plans, states, records and events become
bytes."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chain import Chain
from .config import BridgeConfig, DriverSpec
from .errors import ControlProcessError, LimitsMismatch
from .guard import Guard
from .interface import ArmPlan
from .limits import JointLimits
from .records import EVENT_DTYPE, Event, record_dtype, snapshot_dtype
from .scene import SceneConfig
from .shm import Ring, Segment, Slot, aligned

_WORDS = 64
_SPEC_BYTES = 64 * 1024
_SPEC_AT = aligned(_WORDS * 8)
_EVENTS = 2048
_VERSION = 3
_PLAN_HEAD = np.dtype(
    [
        ("plan_id", "i8"),
        ("obs_seq", "i8"),
        ("t0", "f8"),
        ("dt", "f8"),
        ("valid_until", "f8"),
        ("h", "i4"),
        ("has_dq", "i4"),
        ("has_gripper", "i4"),
    ]
)


class Command(IntEnum):
    """Command words, in the order in which the control process looks at them."""

    ESTOP = 0
    STOP = 1
    HOLD = 2
    CLOSE = 3
    CONNECT = 4
    RESET = 5
    ENABLE = 6
    START = 7
    DISABLE = 8
    FREEDRIVE = 9
    END_FREEDRIVE = 10


class Word(IntEnum):
    """Positions of single numbers (u64) in the head of the segment."""

    OWNER_PID = 0
    CONTROL_PID = 1
    VERSION = 2
    CLIENT_BEAT_NS = 3
    REALTIME = 5
    REQUEST = 16
    DONE = 32


@dataclass(frozen=True)
class BridgeSpec:
    """All that the control process must know, as plain data."""

    driver: DriverSpec
    limits: JointLimits
    config: BridgeConfig
    chain: Chain | None = None
    scene: SceneConfig = field(default_factory=SceneConfig)

    def guard(self) -> Guard | None:
        """What looks at the scene; None where the scene asks for nothing.

        Raises:
            LimitsMismatch: the scene needs a chain, or the chain has other joints.
        """
        if self.scene.empty:
            return None
        if self.chain is None:
            raise LimitsMismatch("scene: it needs the chain of the arm; give chain=, or leave the scene empty")
        if self.chain.names != self.limits.names:
            raise LimitsMismatch(
                f"scene: the chain has joints {list(self.chain.names)}, the limits {list(self.limits.names)}, "
                "names and order must agree"
            )
        return Guard(self.chain, self.scene, self.config.dt)

    def to_bytes(self) -> bytes:
        """Encode as JSON."""
        driver = {"name": self.driver.name, "kwargs": self.driver.kwargs}
        data = {
            "driver": driver,
            "limits": self.limits.to_mapping(),
            "config": self.config.to_mapping(),
            "chain": None if self.chain is None else self.chain.to_mapping(),
            "scene": self.scene.to_mapping(),
        }
        return json.dumps(data).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> BridgeSpec:
        """Decode."""
        d = json.loads(data)
        limits = JointLimits.from_mapping(d["limits"])
        chain = None if d["chain"] is None else Chain.from_mapping(d["chain"])
        scene = SceneConfig.from_mapping(d["scene"])
        return cls(DriverSpec(**d["driver"]), limits, BridgeConfig.from_mapping(d["config"]), chain, scene)


class BridgeMemory:
    """The segment of one bridge, cut into words, slots and rings. Make it with ``create`` or ``attach``."""

    def __init__(self, segment: Segment, spec: BridgeSpec) -> None:
        self.segment, self.spec = segment, spec
        n = spec.limits.n
        self._n = n
        self.words = segment.array(0, _WORDS, np.uint64)
        sizes = _sizes(spec)
        at, places = _SPEC_AT + Slot.size(_SPEC_BYTES), {}
        for name, (size, _) in sizes.items():
            places[name] = at
            at += size
        names = ("info", "metrics", "snapshot", "plan", "speed")
        self.info, self.metrics, self.snapshot, self.plan, self.speed = (
            Slot(segment, places[name], sizes[name][1]) for name in names
        )
        self.results = [
            Slot(segment, places["results"] + i * Slot.size(1024), 1024) for i in range(len(Command))
        ]
        self.events = Ring(segment, places["events"], EVENT_DTYPE.itemsize, sizes["events"][1])
        self.records = Ring(segment, places["records"], record_dtype(n).itemsize, sizes["records"][1])

    @classmethod
    def create(cls, spec: BridgeSpec) -> BridgeMemory:
        """Create the segment and put the specification into it."""
        data = spec.to_bytes()
        if len(data) > _SPEC_BYTES:
            raise ControlProcessError(f"driver and limits take {len(data)} bytes, allowed {_SPEC_BYTES}")
        total = _SPEC_AT + Slot.size(_SPEC_BYTES) + sum(size for size, _ in _sizes(spec).values())
        memory = cls(segment := Segment.create(total), spec)
        slot = Slot(segment, _SPEC_AT, _SPEC_BYTES)
        slot.write(data)
        slot.release()
        memory.words[Word.OWNER_PID] = os.getpid()
        memory.words[Word.VERSION] = _VERSION
        return memory

    @classmethod
    def attach(cls, name: str) -> BridgeMemory:
        """Map the segment of a running bridge."""
        segment = Segment.attach(name)
        slot = Slot(segment, _SPEC_AT, _SPEC_BYTES)
        data = slot.read()
        slot.release()
        version = int.from_bytes(segment.buffer[Word.VERSION * 8 : Word.VERSION * 8 + 8], "little")
        if data is None or version != _VERSION:
            segment.close()
            raise ControlProcessError(f"bridge '{name}' has layout version {version}, expected {_VERSION}")
        return cls(segment, BridgeSpec.from_bytes(data))

    @property
    def name(self) -> str:
        """Name to attach by."""
        return self.segment.name

    # Words
    # ------------------------------------------------------------------------------------------------------

    def word(self, index: int) -> int:
        """Read a word."""
        return int(self.words[index])

    def request(self, command: Command) -> int:
        """Ask for a command; return the number that ``DONE`` must reach."""
        # Two clients may write the same number for the same command: it is then carried out once, for both.
        number = max(self.word(Word.REQUEST + command), self.word(Word.DONE + command)) + 1
        self.words[Word.REQUEST + command] = number
        return number

    def requested(self, command: Command) -> bool:
        """Whether a command waits to be carried out."""
        return bool(self.words[Word.REQUEST + command] != self.words[Word.DONE + command])

    def finish(self, command: Command, number: int, error: Exception | None) -> None:
        """Report a command as carried out, or why not."""
        kind, text = ("", "") if error is None else (type(error).__name__, str(error))
        self.results[command].write(json.dumps({"error": kind, "text": text[:700]}).encode()[:1024])
        self.words[Word.DONE + command] = number

    def result(self, command: Command) -> tuple[str, str]:
        """Return error class name and text of the last command of a kind, empty when it went well."""
        data = self.results[command].read()
        if data is None:
            return "ControlProcessError", "the answer of the control process could not be read"
        answer = json.loads(data)
        return answer["error"], answer["text"]

    # Plans and logs
    # ---------------------------------------------------------------------------------------------

    def put_plan(self, plan: ArmPlan) -> None:
        """Offer a plan; the latest wins."""
        head = np.zeros((), dtype=_PLAN_HEAD)
        head["plan_id"], head["obs_seq"] = plan.plan_id, plan.obs_seq
        head["t0"], head["dt"], head["valid_until"] = plan.t0, plan.dt, plan.valid_until
        head["h"], head["has_dq"] = plan.horizon, plan.dq is not None
        head["has_gripper"] = plan.gripper is not None
        parts = [head.tobytes(), plan.q.tobytes(), b"" if plan.dq is None else plan.dq.tobytes()]
        parts.append(b"" if plan.gripper is None else plan.gripper.tobytes())
        with self.segment.writer_lock():
            self.plan.write(b"".join(parts))

    def get_plan(self) -> ArmPlan | None:
        """Return the latest plan, checked anew, or None when there is none or it is still being written.

        Raises:
            CommandRejected: the content is not a plan.
        """
        data = self.plan.read(patience_s=0.0)
        if data is None:
            return None
        head = np.frombuffer(data, dtype=_PLAN_HEAD, count=1)[0]
        h, n = int(head["h"]), self._n
        q = np.frombuffer(data, dtype=np.float64, count=h * n, offset=_PLAN_HEAD.itemsize).reshape(h, n)
        after = _PLAN_HEAD.itemsize + q.nbytes
        dq = (
            np.frombuffer(data, dtype=np.float64, count=h * n, offset=after).reshape(h, n)
            if head["has_dq"]
            else None
        )
        opening = None
        if head["has_gripper"]:
            after += q.nbytes if head["has_dq"] else 0
            opening = np.frombuffer(data, dtype=np.float64, count=h, offset=after)
        return ArmPlan(
            plan_id=int(head["plan_id"]),
            t0=float(head["t0"]),
            dt=float(head["dt"]),
            q=q,
            dq=dq,
            valid_until=float(head["valid_until"]),
            joint_names=self.spec.limits.names,  # the client compared the names before it wrote
            obs_seq=int(head["obs_seq"]),
            gripper=opening,
        )

    def put_speed(self, scale: float, t: float) -> None:
        """Ask for a share of the speed limits, found at time t [s]; the latest wins."""
        with self.segment.writer_lock():
            self.speed.write(np.array([scale, t], dtype=np.float64).tobytes())

    def get_speed(self) -> tuple[float, float] | None:
        """Return the share last asked for and when it was found [s], None when there is none to read."""
        data = self.speed.read(patience_s=0.0)
        if data is None or len(data) != 16:
            return None
        scale, t = np.frombuffer(data, dtype=np.float64)
        return float(scale), float(t)

    def read_records(self, cursor: int) -> tuple[NDArray[np.void], int, int]:
        """Return the records from a cursor on, the new cursor, and the number lost."""
        blocks, cursor, lost = self.records.read(cursor)
        return np.frombuffer(b"".join(blocks), dtype=record_dtype(self._n)).copy(), cursor, lost

    def read_events(self, cursor: int) -> tuple[list[Event], int, int]:
        """Return the events from a cursor on, the new cursor, and the number lost."""
        blocks, cursor, lost = self.events.read(cursor)
        return (
            [Event.from_row(row) for row in np.frombuffer(b"".join(blocks), dtype=EVENT_DTYPE)],
            cursor,
            lost,
        )

    def read_snapshot(self) -> Any:
        """Return the last tick in ``snapshot_dtype``; None before the first, and where its writer was killed."""
        data = self.snapshot.read()
        return None if data is None else np.frombuffer(data, dtype=snapshot_dtype(self._n))[0]

    def read_metrics(self) -> dict[str, Any]:
        """Return the counters that the control process publishes."""
        data = self.metrics.read()
        return {} if data is None else json.loads(data)

    def close(self) -> None:
        """Drop the mapping."""
        slots = (self.info, self.metrics, self.snapshot, self.plan, self.speed, *self.results)
        parts: tuple[Slot | Ring, ...] = (self.events, self.records, *slots)
        for part in parts:
            with contextlib.suppress(BufferError):
                part.release()
        self.segment.close()


def _sizes(spec: BridgeSpec) -> dict[str, tuple[int, int]]:
    """Name -> (bytes in the segment, capacity), in the order of the segment."""
    n, config = spec.limits.n, spec.config
    plan = _PLAN_HEAD.itemsize + (2 * n + 1) * config.max_horizon * 8
    rows = int(config.record_s * config.rate_hz) + 1
    return {
        "info": (Slot.size(8192), 8192),
        "metrics": (Slot.size(4096), 4096),
        "snapshot": (Slot.size(snapshot_dtype(n).itemsize), snapshot_dtype(n).itemsize),
        "plan": (Slot.size(plan), plan),
        "speed": (Slot.size(16), 16),
        "results": (Slot.size(1024) * len(Command), 1024),
        "events": (Ring.size(EVENT_DTYPE.itemsize, _EVENTS), _EVENTS),
        "records": (Ring.size(record_dtype(n).itemsize, rows), rows),
    }


class MemorySinkShared:
    """Puts events and records of the executor into shared memory."""

    def __init__(self, memory: BridgeMemory) -> None:
        self._memory = memory

    def event(self, event: Event) -> None:
        """Append one event."""
        self._memory.events.push(event.to_row().tobytes())

    def record(self, row: NDArray[np.void]) -> None:
        """Append one record."""
        self._memory.records.push(row.tobytes())
