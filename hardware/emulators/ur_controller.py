"""The emulated controller: power, safety, the control program, its registers. No sockets.

The client of ur_rtde uploads a URScript program of 42 kB and then speaks to it through RTDE's input registers. The
script is not interpreted here: what that one program does with the registers is written out in ``_execute`` for the
commands below; any other command ends the program, as an error in the script would. A script that does not talk
through the registers is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

import numpy as np

from ..wire.rtde import Value
from ..wire.ur_models import DH_ALPHA, UrModel
from ..wire.ur_primary import Configuration
from .ur_arm import UrArm
from .ur_motion import STOP_RATE, Motion

MARKS = ("def rtde_control():", "read_input_integer_register")
"""Found in the one program that is emulated."""


class RobotMode(IntEnum):
    """Values of `robot_mode`."""

    BOOTING = 2
    POWER_OFF = 3
    IDLE = 5
    RUNNING = 7


class SafetyMode(IntEnum):
    """Values of `safety_mode`."""

    NORMAL = 1
    PROTECTIVE_STOP = 3
    SAFEGUARD_STOP = 5
    ROBOT_EMERGENCY_STOP = 7


class Runtime(IntEnum):
    """Values of `runtime_state`."""

    STOPPED = 1
    PLAYING = 2


_READY, _DONE = 1, 2
_SPEEDJ, _SERVOJ, _SPEED_STOP, _SERVO_STOP, _PROTECTIVE_STOP, _STOPJ = 9, 11, 15, 16, 31, 34
_TEACH_MODE, _END_TEACH_MODE = 18, 19
_SET_WATCHDOG, _JOINTS_SAFE, _IS_STEADY, _STOP_SCRIPT = 35, 37, 47, 255
_STREAMING = (_SPEEDJ, _SERVOJ)


class Controller:
    """One controller with its arm.

    Args:
        arm: the arm.
        model: what it is, for the configuration it reports.
        dt: control cycle [s].
        remote: whether it is in remote control.
        unlock_after: how long a protective stop cannot be unlocked [s]; 5 s on the device.
    """

    def __init__(self, arm: UrArm, model: UrModel, dt: float, remote: bool = True, unlock_after: float = 5.0) -> None:
        self.arm, self.model, self.dt, self.remote, self._unlock_after = arm, model, dt, remote, unlock_after
        self.motion = Motion(arm.q, dt)
        self.robot_mode, self.safety_mode = RobotMode.RUNNING, SafetyMode.NORMAL
        self.uploads = 0
        self.notes: list[str] = []
        self._reset()

    def _reset(self) -> None:
        self.cycles, self.runtime = 0, Runtime.STOPPED
        self.int_in, self.int_out = np.zeros(48, dtype=np.int64), np.zeros(48, dtype=np.int64)
        self.double_in, self.double_out = np.zeros(48), np.zeros(48)
        self._executing, self._pending = False, None
        self._watchdog: float | None = None
        self._since_input = 0.0
        self._stopped_at = -np.inf

    _pending: Callable[[], bool] | None

    @property
    def timestamp(self) -> float:
        """Time since the controller started [s]."""
        return self.cycles * self.dt

    @property
    def running(self) -> bool:
        """Whether the control program runs."""
        return self.runtime is Runtime.PLAYING

    def configuration(self) -> Configuration:
        """What the primary interface tells about the arm."""
        info, model = self.arm.info, self.model
        low, high = info.q_min or tuple(-x for x in model.q_max), info.q_max or model.q_max
        numbers = (low, high, model.dq_max, (STOP_RATE,) * 6, model.dh_a, model.dh_d, DH_ALPHA)
        return Configuration(*numbers, model.robot_type, 0)

    # One cycle
    # ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Pass one control cycle."""
        self.cycles += 1
        self._since_input += self.dt
        if self.running:
            if self._watchdog is not None and self._since_input > self._watchdog:
                self.end_program(f"RTDE watchdog: no input for {self._since_input:.3f} s")
            else:
                self._execute(int(self.int_in[0]))
        if self.robot_mode is not RobotMode.RUNNING:
            self.motion.settle(self.motion.q)
        if self.arm.guided:
            self.motion.settle(self.arm.q)
        self._oversee()
        self.arm.step(self.motion.step())
        if self.safety_mode is SafetyMode.ROBOT_EMERGENCY_STOP and self.motion.at_rest:
            self.robot_mode = RobotMode.POWER_OFF

    def _oversee(self) -> None:
        # The controller's own supervision: a speed beyond a joint's rating is not tried.
        excess = np.abs(self.motion.wanted()) / np.array(self.model.dq_max)
        if excess.max() > 1.1 and self.safety_mode is SafetyMode.NORMAL:
            speed = np.abs(self.motion.wanted()).max()
            self.protective_stop(f"joint {int(np.argmax(excess))} was asked for {speed:.2f} rad/s")

    def _execute(self, command: int) -> None:
        if command in _STREAMING:
            values = self.double_in
            if command == _SERVOJ:
                self.motion.servo(values[:6], float(values[9]))
            else:
                self.motion.speed(values[:6], float(values[6]))
            self.int_out[0] = _READY
        elif command == 0:
            self._executing = False
            self.int_out[0] = _READY
        elif not self._executing:
            self._executing, self._pending = True, self._begin(command)
        if self._executing and self._pending is not None and self._pending():
            self._pending = None
            self.int_out[0] = _DONE

    def _begin(self, command: int) -> Callable[[], bool] | None:
        # Start a one-shot command; the result tells when it is done.
        argument = float(self.double_in[0])
        if command in (_SERVO_STOP, _SPEED_STOP, _STOPJ):
            self.motion.stop(argument)
            return lambda: self.motion.at_rest
        if command == _SET_WATCHDOG and argument > 0.0:
            self._watchdog, self._since_input = 1.0 / argument, 0.0
        elif command == _JOINTS_SAFE:
            c = self.configuration()
            q = self.double_in[:6]
            self.int_out[1] = int(np.all((q >= c.q_min) & (q <= c.q_max)))
        elif command == _IS_STEADY:
            self.int_out[1] = int(self.motion.at_rest)
        elif command == _PROTECTIVE_STOP:
            self.protective_stop("asked for by the program")
        elif command in (_TEACH_MODE, _END_TEACH_MODE):
            self._guide(command == _TEACH_MODE)
        elif command == _STOP_SCRIPT:
            self.end_program("stop script")
            return None
        else:
            self.end_program(f"command {command} is not emulated")
            return None
        return lambda: True

    # What comes in
    # -------------------------------------------------------------------------------------------------

    def upload(self, script: str) -> None:
        """Take a program from the script port; it replaces the one that runs."""
        if not all(mark in script for mark in MARKS):
            self.notes.append("script refused: only the control program of ur_rtde is emulated")
            return
        self.uploads += 1
        if self.running:
            self.end_program("replaced by another program")
        if self.robot_mode is not RobotMode.RUNNING or self.safety_mode is not SafetyMode.NORMAL:
            self.notes.append(f"program not started: {self.robot_mode.name}, {self.safety_mode.name}")
            return
        self.runtime, self._executing, self._pending, self._watchdog = Runtime.PLAYING, False, None, None
        self.int_out[0] = 0
        self.motion.settle(self.motion.q)

    def inputs(self, values: Mapping[str, Value]) -> None:
        """Take input registers by name; names that hold no register are left alone."""
        self._since_input = 0.0
        for name, value in values.items():
            kind, _, index = name.rpartition("_register_")
            if kind == "input_int":
                self.int_in[int(index)] = value
            elif kind == "input_double":
                self.double_in[int(index)] = value

    def end_program(self, why: str) -> None:
        """Stop the program; the arm decelerates and is held."""
        if self.running:
            self.notes.append(f"program ended: {why}")
            self._guide(False)
            self.motion.stop()
        self.runtime, self._pending, self._executing = Runtime.STOPPED, None, False

    def _guide(self, on: bool) -> None:
        if on is not self.arm.guided:
            self.motion.settle(self.arm.q)
            self.arm.guide(on)

    # Power and safety
    # ----------------------------------------------------------------------------------------------

    def protective_stop(self, why: str = "asked for") -> None:
        """Decelerate and hold; the drives stay on."""
        self.end_program(f"protective stop: {why}")
        self.motion.stop()
        self.safety_mode, self._stopped_at = SafetyMode.PROTECTIVE_STOP, self.timestamp

    def safeguard_stop(self) -> None:
        """A safety device asks for a stop."""
        self.end_program("safeguard stop")
        self.motion.stop()
        self.safety_mode = SafetyMode.SAFEGUARD_STOP

    def emergency_stop(self) -> None:
        """The button is pressed: decelerate, then power off."""
        self.end_program("emergency stop")
        self.motion.stop()
        self.safety_mode = SafetyMode.ROBOT_EMERGENCY_STOP

    def release(self) -> None:
        """The button is pulled out again, the safety device is content; power stays as it is."""
        if self.safety_mode in (SafetyMode.ROBOT_EMERGENCY_STOP, SafetyMode.SAFEGUARD_STOP):
            self.safety_mode = SafetyMode.NORMAL

    def unlock(self) -> str | None:
        """Unlock a protective stop; the reason when it cannot be."""
        left = self._stopped_at + self._unlock_after - self.timestamp
        if self.safety_mode is SafetyMode.PROTECTIVE_STOP and left > 0.0:
            return f"Cannot unlock protective stop until {self._unlock_after:g}s after occurrence. Always inspect cause"
        if self.safety_mode is SafetyMode.PROTECTIVE_STOP:
            self.safety_mode = SafetyMode.NORMAL
        return None

    def power(self, mode: RobotMode) -> bool:
        """Change the robot mode as the pendant does; False when safety forbids it."""
        if mode is not RobotMode.POWER_OFF and self.safety_mode is SafetyMode.ROBOT_EMERGENCY_STOP:
            return False
        if mode is RobotMode.RUNNING and self.robot_mode is RobotMode.POWER_OFF:
            return False
        if mode is not RobotMode.RUNNING:
            self.end_program(f"robot mode {mode.name}")
        self.robot_mode = mode
        return True

    def restart(self) -> None:
        """Boot again: clock, registers and program are gone, the arm is without power."""
        self.motion.settle(self.arm.q)
        self._reset()
        self.robot_mode, self.safety_mode = RobotMode.POWER_OFF, SafetyMode.NORMAL
        self.notes.append("restarted")
