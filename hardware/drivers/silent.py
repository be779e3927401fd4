"""A driver behind which nothing is sent: for a look at what would be done, with the real arm connected."""

from __future__ import annotations

from dataclasses import replace

from ..errors import ModeError
from ..interface import ArmDriver, ArmInfo, ArmState, Array, frozen

_PAUSE_S = 1.0
"""Commands further apart than this say nothing about a speed [s]."""


class SilentDriver:
    """Reads the arm and sends nothing: no command, no torque, no stop, no gripper, no reset of its faults.

    Args:
        driver: of the arm; only ``open``, ``read`` and ``close`` reach it.
        follow: whether the measured pose is that of the arm before ``enable`` and of the commands from then on, as
            if it followed exactly (a dry run); else it is always that of the arm (a shadow).
    """

    def __init__(self, driver: ArmDriver, follow: bool) -> None:
        self._driver, self._follow = driver, follow
        self._enabled = False
        self._q: Array | None = None
        self._dq: Array | None = None
        self._t = 0.0
        self._opening: float | None = None

    def open(self) -> ArmInfo:
        """Open the arm's driver."""
        return self._driver.open()

    def enable(self) -> None:
        """Only remember it."""
        self._enabled = True

    def read(self, deadline: float) -> ArmState:
        """Measure the arm; in a dry run the pose is the last command's."""
        state = self._driver.read(deadline)
        if not (self._follow and self._enabled and self._q is not None and self._dq is not None):
            return state
        opening = state.gripper if self._opening is None else self._opening
        return replace(state, q=self._q, dq=self._dq, gripper=opening)

    def write(self, q: Array, deadline: float) -> Array:
        """Check a command as a driver does, and keep it."""
        if not self._enabled:
            raise ModeError("write before enable(); enable first")
        target = frozen(q, "target q [rad]")
        dt = deadline - self._t
        last = target if self._q is None or not 0.0 < dt < _PAUSE_S else self._q
        self._dq = (target - last) / max(dt, 1e-6)
        self._q, self._t = target, deadline
        return target

    def gripper(self, opening: float) -> None:
        """Keep an opening, 0 closed to 1 open."""
        self._opening = opening

    def freedrive(self, on: bool) -> None:
        """The arm's own matter."""

    def stop(self) -> None:
        """Nothing moves."""

    def disable(self) -> None:
        """Only remember it."""
        self._enabled, self._q = False, None

    def clear_faults(self) -> None:
        """Faults of the device stay what they are: clearing them is an act."""

    def close(self) -> None:
        """Close the arm's driver."""
        self._driver.close()
