"""The process of Franka's own client, pylibfranka: it posts targets, and the arm leads itself to them.

An asynchronous motion needs no set-point each millisecond: the arm's own generator goes to the newest target and means
to rest there. The handler in the client only sends the targets and has no thread of its own.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import numpy as np

from ...interface import Array
from ...wire.franka import RobotMode
from ...wire.franka_models import FrankaModel, find
from .messages import Kind, Report, Settings
from .serving import END_S, KEPT, Lost, Serving, words
from .states import Sample, States

_REFRESH_S = 0.01  # targets are repeated: one may be lost on the way
_START_S, _SETTLE_S = 2.0, 0.2
_REST_RAD_S = 1e-3
_LATE_S = 0.004  # age of the speed on which a stop is reckoned, when the arm takes it
_SHARE = 0.7  # of the acceleration, for a stop: what the arm's generator takes of its rating is not published
_TOLERANCE_RAD = 1e-3  # within which the handler would call a target reached; not used here
_GEOMETRY_M = 5e-3


def connect(link: socket.socket, settings: Settings) -> Posting:
    """Connect to the arm, set the collision thresholds, and tell the driver what the arm is."""
    import pylibfranka

    config = pylibfranka.RealtimeConfig
    robot = pylibfranka.Robot(settings.host, config.kEnforce if settings.realtime else config.kIgnore)
    KEPT.append(robot)
    _set_thresholds(robot, settings)
    link.sendall(info(robot.read_once(), settings).pack())
    return Posting(link, pylibfranka, robot, settings)


def info(state: Any, settings: Settings) -> Report:
    """What the arm is: by where its tool is, since this client does not hand on the arm's description of itself."""
    model = find(settings.model)
    told, on_flange = (np.array(pose, dtype=np.float64).reshape(4, 4).T for pose in (state.O_T_EE, state.F_T_EE))
    ours = model.forward(np.array(state.q)) @ on_flange
    away = float(np.linalg.norm(told[:3, 3] - ours[:3, 3]))
    text = model.name if away < _GEOMETRY_M else f"its tool is {away:.3f} m from where that of '{model.name}' would be"
    sevens = (model.q_min, model.q_max, tuple(speeds(model, settings)))
    return Report(Kind.INFO, text == model.name, time.monotonic(), 0.0, *sevens, text=text)


def speeds(model: FrankaModel, settings: Settings) -> list[float]:
    """Largest joint speeds (7,) [rad/s] that are asked for: the rating, or less."""
    return [min(rated, settings.speed) for rated in model.dq_max]


def _set_thresholds(robot: Any, settings: Settings) -> None:
    torque, force = [settings.torque_nm] * 7, [settings.force_n] * 6
    robot.set_collision_behavior(torque, torque, force, force)


class Posting(Serving):
    """Receives states, posts targets.

    Args:
        link: to the driver.
        vendor: the vendor's package.
        robot: its connection.
        settings: of the driver.
    """

    def __init__(self, link: socket.socket, vendor: Any, robot: Any, settings: Settings) -> None:
        super().__init__(link)
        self._vendor, self._robot, self._settings = vendor, robot, settings
        self._model = find(settings.model)
        self._handler: Any = None
        self._goal: Array = np.zeros(7)
        self._newest, self._posted_at = -np.inf, 0.0
        self._taken, self._holding, self._ended = True, False, ""
        self._states = States()
        self._sample: Sample | None = None

    def _go_on(self) -> None:
        now, watchdog = time.monotonic(), self._settings.watchdog_s
        if self._handler is None:
            return
        if not self._holding and now >= self._newest + watchdog:
            self._end()
            self._ended = f"no target came for {watchdog:g} s"
        elif now >= self._posted_at + _REFRESH_S:
            self._post(self._goal)

    # States
    # ---------------------------------------------------------------------------------------------------

    def _report(self) -> bool:
        sample = self._receive()
        if sample is None:
            return False
        in_control = self._handler is not None and sample.mode == RobotMode.MOVE
        if self._handler is not None and not in_control:
            self._ended = sample.errors or "the arm has ended it"
            self._let_go()
        text = sample.errors or ("" if in_control else self._ended)
        sevens = (tuple(sample.q.tolist()), tuple(sample.dq.tolist()), tuple(sample.tau.tolist()))
        times = (sample.t_host, sample.t_device)
        self._send(Report(Kind.STATE, self._taken, *times, *sevens, sample.mode, in_control, text=text))
        return True

    def _receive(self) -> Sample | None:
        # The newest state; waits for one up to a second, and without end after one that told a time far ahead.
        try:
            state = self._robot.read_once()
        except self._vendor.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception:  # a damaged packet
            return None
        sample = self._states.take(state, time.monotonic())
        self._sample = sample or self._sample
        return sample

    def _wait_for(self, mode: RobotMode, seconds: float) -> Sample | None:
        # States from before an order may still be under way.
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sample = self._receive()
            if sample is not None and sample.mode == mode:
                return sample
        return None

    # Orders
    # ---------------------------------------------------------------------------------------------------

    def _take(self, t: float, target: Array) -> None:
        self._taken = self._handler is not None
        if self._taken and time.monotonic() < t + self._settings.watchdog_s:  # an older one was held up
            self._holding, self._newest = False, t
            self._post(target)

    def _post(self, goal: Array) -> None:
        self._goal, self._posted_at = goal, time.monotonic()
        target = self._vendor.AsyncPositionControlHandler.JointPositionTarget(goal.tolist())
        result = self._handler.set_joint_position_target(target)
        if not result.was_successful:  # all that it complains of here is the connection
            raise Lost(words(result.error_message or "targets are not taken"))

    def _enable(self) -> str:
        self._ended = ""
        if self._handler is not None:
            return ""
        kind = self._vendor.AsyncPositionControlHandler
        try:
            _set_thresholds(self._robot, self._settings)
            config = kind.Configuration(speeds(self._model, self._settings), _TOLERANCE_RAD)
            result = kind.configure(self._robot, config)
        except self._vendor.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            return words(error)
        if result.error_message is not None:
            return words(result.error_message)
        self._handler = result.handler
        sample = self._wait_for(RobotMode.MOVE, _START_S)
        if sample is None:
            self._let_go()
            return f"the motion did not start within {_START_S:g} s"
        self._taken = self._holding = True
        self._post(sample.reference)
        return ""

    def _stop(self) -> str:
        if self._handler is not None:  # otherwise nothing moves
            self._brake()
        return ""

    def _end(self, patience: float = END_S) -> str:
        if self._handler is None:
            return ""
        self._brake()
        until = time.monotonic() + patience
        while time.monotonic() < until:
            sample = self._receive()
            if sample is not None and float(np.abs(sample.speed).max()) < _REST_RAD_S:
                break
        self._let_go()
        return ""

    def _recover(self) -> str:
        self._end()
        self._ended = ""
        try:
            self._robot.automatic_error_recovery()
        except self._vendor.NetworkException as error:
            raise Lost(words(error)) from error
        except Exception as error:
            return words(error)
        self._wait_for(RobotMode.IDLE, _SETTLE_S)
        return ""

    def _brake(self) -> None:
        # There is no order to stop: the next target is where each joint can come to rest, but never beyond the one that
        # it is on its way to, where it means to rest anyhow.
        sample = self._receive() or self._sample
        self._holding = True
        if sample is None:
            return
        way = sample.speed * (_LATE_S + np.abs(sample.speed) / (2.0 * _SHARE * self._settings.acceleration))
        left = self._goal - sample.reference
        way = np.where(left * way > 0.0, np.sign(way) * np.minimum(np.abs(way), np.abs(left)), way)
        self._post(np.clip(sample.reference + way, self._model.q_min, self._model.q_max))

    def _let_go(self) -> None:
        handler, self._handler, self._holding = self._handler, None, False
        handler.stop_control()
