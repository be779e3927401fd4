"""The Franka Hand: reads its opening, and sends it to the newest opening that was asked for.

franky's calls to the hand wait until a motion has ended, and without end on a dead connection: they run in a thread of
their own, which nobody waits for. Of openings that come meanwhile the last counts.
"""

from __future__ import annotations

import math
import threading
from typing import Any

_LOOK_S = 0.05
_SPEED_M_S = 0.1
"""Of both fingers together [m/s]: Franka Hand product manual, travel speed 50 mm/s per finger."""
_FORCE_N = 20.0
"""Of a closed hand on an object [N]; below the 70 N of continuous force in the product manual."""
_CLOSED = 0.01
"""Opening below which the hand is closed with a force: between the fingers may be an object."""


class Hand:
    """The hand of an arm, where it has one.

    Args:
        franky: the vendor's package.
        host: of the arm.

    Attributes:
        opening: 0 closed to 1 open, from before a motion while one is under way; NaN without a hand.
    """

    def __init__(self, franky: Any, host: str) -> None:
        self.opening = math.nan
        self._asked: float | None = None
        self._wake = threading.Event()
        try:
            self._gripper = franky.Gripper(host)
            self._widest = float(self._gripper.max_width)
            self._look()
        except Exception:  # no hand: the arm goes on without
            return
        threading.Thread(target=self._serve, args=(franky,), daemon=True).start()

    def ask(self, opening: float) -> None:
        """Send it to an opening, 0 to 1, without waiting."""
        self._asked = opening
        self._wake.set()

    def _serve(self, franky: Any) -> None:
        try:
            while True:
                self._wake.wait(_LOOK_S)
                self._wake.clear()
                asked, self._asked = self._asked, None
                if asked is not None:
                    self._go(franky, asked)
                self._look()
        except Exception:  # its link is lost: the arm goes on without
            self.opening = math.nan

    def _go(self, franky: Any, opening: float) -> None:
        try:
            if opening < _CLOSED:
                self._gripper.grasp(0.0, _SPEED_M_S, _FORCE_N, self._widest, self._widest)
            else:
                self._gripper.move(opening * self._widest, _SPEED_M_S)
        except franky.CommandException:
            pass  # it did not get there, such as on an object: its opening shows where it is

    def _look(self) -> None:
        if self._widest > 0.0:
            self.opening = min(max(float(self._gripper.width) / self._widest, 0.0), 1.0)
