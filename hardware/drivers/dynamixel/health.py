"""Are the servos well: hardware errors, lost torque, expired watchdogs, encoders that jump."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import numpy as np

from ...errors import TransportTimeout
from ...interface import Array
from . import registers as reg
from .bus import Answer, DynamixelBus

JUMP_RAD = 0.1
"""Change of a position between two readings that is no jump at any speed [rad]."""


class Health:
    """Looks at the servos in turn, at suspects at once, and keeps the first complaint.

    Args:
        names: servo address -> joint, in the order of all vectors.
        watchdog_s: time of the bus watchdog [s], for messages.
        max_speed: a position that changes faster is a failed encoder [rad/s].

    Attributes:
        fault: the first complaint, None while all is well.
        temperature: servo address -> temperature last read [deg C].
        enabled: whether torque is expected: without it only hardware errors count.
    """

    def __init__(self, names: Mapping[int, str], watchdog_s: float, max_speed: float) -> None:
        self._names, self._watchdog_s, self._max_speed = dict(names), watchdog_s, max_speed
        self._ids = tuple(names)
        self._turn = self._heat_turn = 0
        self.temperature: dict[int, float] = {}
        self.enabled = False
        self.restart()

    def restart(self) -> None:
        """Forget complaints and suspicions."""
        self.fault: str | None = None
        self._suspects: set[int] = set()
        self._before: tuple[float, Array] | None = None

    def suspect(self, ids: Iterable[int], moved: bool = False) -> None:
        """Have servos looked at with the next answer.

        Args:
            ids: their addresses.
            moved: whether time was lost, so that a position may have changed a lot.
        """
        if self.fault is None:
            self._suspects.update(ids)
        if moved:
            self._before = None

    def look(self, bus: DynamixelBus, end: float) -> None:
        """Look at suspects thoroughly, else at torque or watchdog of the next servo, after a round at one's heat.

        Raises:
            TransportTimeout: a suspect does not answer: what it measures cannot be believed.
        """
        if self._suspects:
            for id in [id for id in self._ids if id in self._suspects]:
                for block in (reg.ERROR_BLOCK, reg.TORQUE_BLOCK, reg.WATCHDOG_BLOCK):
                    self._note(id, block, bus.read(id, *block, end))
                self._suspects.discard(id)
            return
        self._turn = (self._turn + 1) % (2 * len(self._ids) + 1)
        if self._turn == 2 * len(self._ids):
            self._heat_turn = (self._heat_turn + 1) % len(self._ids)
            id, block = self._ids[self._heat_turn], reg.HEAT_BLOCK
        else:
            id = self._ids[self._turn // 2]
            block = reg.TORQUE_BLOCK if self._turn % 2 else reg.WATCHDOG_BLOCK
        with contextlib.suppress(TransportTimeout):
            self._note(id, block, bus.read(id, *block, end))

    def compare(self, t: float, position: Array) -> None:
        """Compare positions (n,) [ticks] at a device time [s] with the ones before.

        A servo pulls a jump of its encoder straight in: within a few ticks it would look as if nothing had been.
        """
        before, self._before = self._before, (t, position)
        if before is None or not self.enabled or self.fault is not None:
            return
        way = np.abs(position - before[1]) * reg.RAD_PER_TICK
        i = int(np.argmax(way))
        if way[i] > JUMP_RAD + self._max_speed * (t - before[0]):
            jump = f"position jumped by {way[i]:.3f} rad within {t - before[0]:.3f} s; encoder?"
            self.fault = f"{self._who(self._ids[i])}: {jump}"

    def _note(self, id: int, block: tuple[int, int], answer: Answer) -> None:
        if block == reg.HEAT_BLOCK and not answer.error:
            self.temperature[id] = float(answer.data[-1])
        if self.fault is None:
            self.fault = self._complaint(self._who(id), block, answer)

    def _complaint(self, who: str, block: tuple[int, int], answer: Answer) -> str | None:
        if answer.error:
            return f"{who} does not tell its registers from {block[0]} on: {reg.status_error_text(answer.error)}"
        if block == reg.ERROR_BLOCK:
            error = answer.data[-1]
            return f"{who}: {reg.hardware_error_text(error)}" if error else None
        if not self.enabled or block == reg.HEAT_BLOCK:
            return None
        if block == reg.TORQUE_BLOCK and not answer.data[0]:
            return f"{who} has lost its torque: it restarted or was switched off"
        if block == reg.WATCHDOG_BLOCK and answer.data[0] == reg.WATCHDOG_EXPIRED:
            return f"{who}: bus watchdog expired, no instruction came for {self._watchdog_s:g} s"
        return None

    def _who(self, id: int) -> str:
        return f"servo {id} ('{self._names[id]}')"
