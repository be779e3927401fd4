"""States of the vendor's client, without those that a damaged packet must have told.

libfranka takes a packet as it comes: a wrong byte may move the arm's clock, a joint or an error. UDP's checksum catches
nearly all of that on a real cable; what it lets through must not look like a fault of the arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...interface import Array
from ...wire.franka import RobotMode

_MAX_RAD = 7.0
_MAX_FLEX_RAD = 0.1  # between motor and joint: 87 N m bend a joint by less than 0.01 rad
_MAX_LEAP_S = 1.0


@dataclass(frozen=True, eq=False)
class Sample:
    """One state.

    Attributes:
        t_host: time of reception [s].
        t_device: time of the arm [s].
        q: joint positions (7,) [rad].
        dq: joint velocities (7,) [rad/s].
        tau: joint torques (7,) [N m].
        reference: where the arm has been told to be (7,) [rad].
        speed: how fast it has been told to go there (7,) [rad/s].
        mode: of the arm.
        errors: names of its errors.
    """

    t_host: float
    t_device: float
    q: Array
    dq: Array
    tau: Array
    reference: Array
    speed: Array
    mode: int
    errors: str


def mode_of(state: Any) -> int:
    """Mode of the arm in a state of the vendor's."""
    return int(state.robot_mode.value)


class States:
    """Takes states one after the other."""

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None
        self._told: tuple[int, str] | None = None
        self._motors = False  # whether the positions of its motors are told: simulators may leave them out

    def take(self, state: Any, now: float) -> Sample | None:
        """Return what a state says, None for one that is old or makes no sense.

        A new mode or error counts once two states in a row tell it.

        Args:
            state: of the vendor's client.
            now: the time [s].
        """
        stamp = float(state.time.to_sec())
        if self._seen is not None and not 0.0 < stamp - self._seen[1] <= now - self._seen[0] + _MAX_LEAP_S:
            return None
        numbers = np.array([state.q, state.dq, state.tau_J, state.q_d, state.dq_d, state.theta], dtype=np.float64)
        q, dq, tau, reference, speed, theta = numbers
        if not np.isfinite(numbers).all() or np.abs(q).max() > _MAX_RAD:
            return None
        self._motors = self._motors or bool(theta.any())
        if self._motors and np.abs(theta - q).max() > _MAX_FLEX_RAD:
            return None
        mode, errors = mode_of(state), str(state.current_errors).strip("[]").replace('"', "")
        if errors and mode in (RobotMode.IDLE, RobotMode.MOVE):
            return None
        known, self._told = self._told, (mode, errors)
        if known not in (None, self._told):
            return None
        self._seen = (now, stamp)
        return Sample(now, stamp, q, dq, tau, reference, speed, mode, errors)
