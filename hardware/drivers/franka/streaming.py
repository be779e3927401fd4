"""The process of franky: it leads the arm to targets by speeds.

Between two targets a C++ thread of franky keeps the arm's 1 kHz, and brakes by itself when they stop coming.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from typing import Any

import numpy as np

from ...interface import Array
from ...wire.franka import RobotMode
from ...wire.franka_models import Description
from .hand import Hand
from .messages import Kind, Report, Settings
from .serving import END_S, PERIOD_S, Lost, Serving, words
from .servo import VelocityServo
from .states import States, mode_of

_REFRESH_S = 0.01
_START_S = 2.0
_FRESH_S = 0.05


class Streaming(Serving):
    """Receives states, streams speeds.

    Args:
        link: to the driver.
        franky: the vendor's package.
        robot: its connection.
        settings: of the driver.
        description: what the arm says about itself.
        hand: its hand, None without.
    """

    def __init__(
        self,
        link: socket.socket,
        franky: Any,
        robot: Any,
        settings: Settings,
        description: Description,
        hand: Hand | None = None,
    ) -> None:
        super().__init__(link)
        self._franky, self._robot, self._settings = franky, robot, settings
        self._servo = VelocityServo(description, settings.gain, settings.delay_s)
        self._taken, self._expected, self._holding = True, False, False
        self._moved_at, self._ended = 0.0, ""
        self._reference: Array = np.zeros(7)
        self._sampled_at = -np.inf
        self._states, self._damaged = States(), False
        self._hand = hand

    def _go_on(self) -> None:
        # Between two targets, and as long as they are not missed, the last one is led to; before the first one held.
        now, settings = time.monotonic(), self._settings
        if not self._expected or now < self._moved_at + _REFRESH_S:
            return
        if self._holding:
            self._move(np.zeros(7), settings.watchdog_s)
        elif now < self._servo.newest + settings.watchdog_s - _REFRESH_S:
            self._follow(self._servo.newest + settings.watchdog_s - now)

    def _follow(self, seconds: float) -> None:
        now = time.monotonic()
        self._move(self._servo.speeds(now, self._reference, now < self._sampled_at + _FRESH_S), seconds)

    # States
    # ---------------------------------------------------------------------------------------------------

    def _report(self) -> bool:
        in_control = bool(self._robot.is_in_control)
        if self._expected and not in_control:
            self._expected = self._holding = False
            self._ended = self._why() or f"no target came for {self._settings.watchdog_s:g} s"
        if self._damaged:
            return False
        try:
            state = self._robot.state
        except self._franky.ProtocolException:
            return False
        except Exception as error:
            raise Lost(words(error)) from error
        sample = self._states.take(state, time.monotonic())
        if sample is None:
            return False
        self._reference, self._sampled_at = sample.reference, sample.t_host
        text = sample.errors or ("" if in_control else self._ended)
        sevens = (tuple(sample.q.tolist()), tuple(sample.dq.tolist()), tuple(sample.tau.tolist()))
        times = (sample.t_host, sample.t_device)
        opening = math.nan if self._hand is None else self._hand.opening
        self._send(Report(Kind.STATE, self._taken, *times, *sevens, sample.mode, in_control, opening, text))
        return True

    def _why(self) -> str:
        # The error with which the motion ended; franky keeps it for the next call.
        try:
            self._robot.join_motion(0.0)
        except self._franky.NetworkException as error:
            raise Lost(words(error)) from error
        except self._franky.ProtocolException as error:
            # The motion is over, and what the arm says about it would come over a link that damages it: say nothing
            # more, so that the driver finds a silent link, as with packets that are lost.
            self._damaged = True
            return words(error)
        except Exception as error:
            return words(error)
        return ""

    # Orders
    # ---------------------------------------------------------------------------------------------------

    def _take(self, t: float, target: Array) -> None:
        self._taken = self._expected and bool(self._robot.is_in_control)
        if self._taken and time.monotonic() < t + self._settings.watchdog_s:  # an older one was held up
            self._holding = False
            self._servo.add(t, target)
            self._follow(self._settings.watchdog_s)

    def _grip(self, opening: float) -> None:
        if self._hand is not None:
            self._hand.ask(opening)

    def _move(self, speeds: Array, seconds: float) -> None:
        # A new motion, which brakes by itself after so many seconds.
        self._moved_at = time.monotonic()
        duration = self._franky.Duration(round(1000.0 * seconds))
        try:
            self._robot.move(self._franky.JointVelocityMotion(speeds, duration), asynchronous=True)
        except self._franky.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            self._taken, self._ended = False, words(error)

    def _enable(self) -> str:
        settings, robot = self._settings, self._robot
        self._ended = ""
        with contextlib.suppress(Exception):
            robot.join_motion(0.0)  # an error of an earlier motion
        try:
            if not robot.is_in_control:
                robot.set_collision_behavior(settings.torque_nm, settings.force_n)
                for limit, bound in (
                    (robot.joint_acceleration_limit, settings.acceleration),
                    (robot.joint_jerk_limit, settings.jerk),
                ):
                    limit.set(np.minimum(limit.max, bound))
        except self._franky.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            return words(error)
        self._servo.reset()
        self._move(np.zeros(7), settings.watchdog_s)
        until = time.monotonic() + _START_S
        while robot.is_in_control:
            if mode_of(robot.state) == RobotMode.MOVE:
                self._taken = self._expected = self._holding = True
                return ""
            if time.monotonic() > until:
                return f"the motion did not start within {_START_S:g} s"
            time.sleep(PERIOD_S)
        return self._why() or self._ended or "the motion ended at once"

    def _stop(self) -> str:
        if not (self._expected and self._robot.is_in_control):
            return ""  # no motion, nothing moves
        self._servo.reset()
        self._move(np.zeros(7), self._settings.watchdog_s)
        self._holding = True
        return ""

    def _end(self, patience: float = END_S) -> str:
        self._expected = self._holding = False
        if not self._robot.is_in_control:
            return ""
        still = self._franky.JointVelocityMotion(np.zeros(7), self._franky.Duration(1))
        try:
            self._robot.move(still, asynchronous=True)
            if not self._robot.join_motion(patience):
                self._robot.stop()
        except self._franky.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            return words(error)
        return ""

    def _recover(self) -> str:
        self._end()  # what it complains of is what we recover from
        self._ended = ""
        try:
            self._robot.recover_from_errors()
        except self._franky.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            return words(error)
        return ""
