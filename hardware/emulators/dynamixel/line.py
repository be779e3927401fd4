"""The wire, and all the ways it can fail: between the pseudo-terminal and the bus."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

KINDS = ("freeze", "drop", "corrupt", "delay")
"""freeze: nothing is heard or said; drop: packets are lost, each way; corrupt: a byte of an answer is changed;
delay: answers come ``value`` seconds late."""


@dataclass
class LineFault:
    """A failure of the wire.

    Attributes:
        kind: one of KINDS.
        start_s: when it begins [s on the emulator's clock].
        duration_s: how long it lasts [s].
        probability: share of the packets that it hits.
        value: delay [s].
    """

    kind: str
    start_s: float = 0.0
    duration_s: float = float("inf")
    probability: float = 1.0
    value: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"line fault '{self.kind}' is unknown; known: {', '.join(KINDS)}")
        for name, high in (("duration_s", np.inf), ("probability", 1.0), ("value", 3600.0)):
            number = getattr(self, name)
            if not (isinstance(number, int | float) and 0.0 <= number <= high):
                raise ValueError(f"line fault {name} is {number}, allowed [0, {high:g}]")

    @classmethod
    def from_mapping(cls, kind: str, now: float, settings: Mapping[str, Any]) -> LineFault:
        """Build from the settings of a command."""
        known = [f.name for f in fields(cls) if f.name not in ("kind", "start_s")]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"fault settings {', '.join(unknown)} are unknown; known: {', '.join(known)}")
        return cls(kind, now, **settings)


@dataclass
class Line:
    """Decides what becomes of packets.

    Attributes:
        seed: of the chances.
        faults: failures in force or over.
    """

    seed: int = 0
    faults: list[LineFault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._late: deque[tuple[float, bytes]] = deque()

    def heard(self, now: float) -> bool:
        """Whether an instruction reaches the servos."""
        return not self._hit("freeze", now) and not self._hit("drop", now)

    def send(self, packet: bytes, now: float) -> None:
        """Put an answer on its way."""
        if self._hit("freeze", now) or self._hit("drop", now):
            return
        if self._hit("corrupt", now):
            damaged = bytearray(packet)
            damaged[int(self._rng.integers(4, len(packet)))] ^= int(self._rng.integers(1, 256))
            packet = bytes(damaged)
        delay = self._hit("delay", now)
        self._late.append((now + delay.value if delay else now, packet))

    def due(self, now: float) -> bytes:
        """Bytes that arrive at the host by now."""
        out = b""
        while self._late and self._late[0][0] <= now:
            out += self._late.popleft()[1]
        return out

    @property
    def next_due(self) -> float:
        """When the next answer arrives [s], infinite when none is under way."""
        return self._late[0][0] if self._late else float("inf")

    def heal(self) -> None:
        """End all failures."""
        self.faults.clear()

    def _hit(self, kind: str, now: float) -> LineFault | None:
        for fault in self.faults:
            inside = fault.kind == kind and fault.start_s <= now < fault.start_s + fault.duration_s
            if inside and (fault.probability >= 1.0 or self._rng.random() < fault.probability):
                return fault
        return None
