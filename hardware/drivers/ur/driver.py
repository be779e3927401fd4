"""The driver `ur`: joint targets streamed by servoj (or speedj) through ur_rtde."""

from __future__ import annotations

import numpy as np

from ...clock import Clock
from ...errors import HardwareFault, LimitsMismatch, ModeError
from ...interface import ArmInfo, ArmState, Array
from ...wire.ur_models import JOINT_NAMES, UrModel, find
from ...wire.ur_primary import Configuration
from ..client_driver import ClientDriver
from .client import Client, require_package
from .controller import configuration, dashboard, polyscope_version
from .messages import Op, Report

_RANGES = {
    "frequency_hz": (10.0, 500.0, "Hz"),
    "command_s": (0.002, 0.1, "s"),
    "lookahead_s": (0.03, 0.2, "s"),
    "gain": (100.0, 2000.0, ""),
    "watchdog_s": (0.02, 1.0, "s"),
    "stop_rate": (0.5, 20.0, "m/s^2 (servoj) or rad/s^2 (speedj)"),
    "speed_gain": (0.0, 10.0, "1/s"),
    "acceleration": (0.1, 40.0, "rad/s^2"),
}
_DH_TOLERANCE_M = 1e-3
_STOP_S, _ENABLE_S, _UNLOCK_S = 1.0, 9.0, 1.0

NORMAL, REDUCED, PROTECTIVE_STOP = 1, 2, 3
EMERGENCY_STOPS = (6, 7)
RUNNING, PLAYING = 7, 2
ROBOT_MODES = {
    -1: "NO_CONTROLLER",
    0: "DISCONNECTED",
    1: "CONFIRM_SAFETY",
    2: "BOOTING",
    3: "POWER_OFF",
    4: "POWER_ON",
    5: "IDLE",
    6: "BACKDRIVE",
    7: "RUNNING",
    8: "UPDATING_FIRMWARE",
}
SAFETY_MODES = {
    1: "normal",
    2: "reduced mode",
    3: "protective stop",
    4: "recovery",
    5: "safeguard stop",
    6: "system emergency stop",
    7: "robot emergency stop",
    8: "safety violation",
    9: "safety fault",
}


class UrDriver(ClientDriver[Client]):
    """A Universal Robots arm.

    Connecting only reads. Enabling uploads the vendor's control program and arms the controller's watchdog; the arm
    must be powered, its brakes released, and in remote control: this driver never powers an arm. The driver does not
    reconnect by itself: a lost link stays lost until ``clear_faults``.

    Args:
        host: address of the controller.
        model: "ur5e" or another of ``wire.ur_models``; compared with what the controller says.
        frequency_hz: of the RTDE connections, at most what the controller has [Hz].
        mode: "servoj" streams positions; "speedj" streams speeds that lead to them.
        command_s: time a servoj command controls the arm [s], 0 for one period of frequency_hz.
        lookahead_s: servoj smooths over so long and follows that much late [s].
        gain: servoj position gain.
        watchdog_s: the controller ends the program and stops the arm when no command came for so long [s].
        stop_rate: deceleration of ``stop`` [m/s^2] of the tool for servoj, [rad/s^2] for speedj.
        speed_gain: speedj: speed for each radian of distance from the target [1/s].
        acceleration: speedj: acceleration of the leading joint [rad/s^2].
        joint_names: names of the joints from base to tool.
        clock: time of reception.
    """

    def __init__(
        self,
        host: str,
        model: str = "ur5e",
        frequency_hz: float = 500.0,
        mode: str = "servoj",
        command_s: float = 0.0,
        lookahead_s: float = 0.05,
        gain: float = 300.0,
        watchdog_s: float = 0.1,
        stop_rate: float = 10.0,
        speed_gain: float = 5.0,
        acceleration: float = 10.0,
        joint_names: tuple[str, ...] | list[str] = JOINT_NAMES,
        clock: Clock | None = None,
    ) -> None:
        command_s = command_s or max(1.0 / frequency_hz, 0.002)
        values = locals()
        for name, (low, high, unit) in _RANGES.items():
            value = values[name]
            if not (np.isfinite(value) and low <= value <= high):
                raise ValueError(f"UR {name} {value} {unit}, allowed [{low:g}, {high:g}] {unit}".replace("  ", " "))
        if mode not in ("servoj", "speedj"):
            raise ValueError(f"UR mode '{mode}', allowed servoj, speedj")
        if len(joint_names) != 6:
            raise ValueError(f"UR joint_names {list(joint_names)}, allowed 6 names from base to tool")
        self._host, self._model, self._frequency, self._speed = host, find(model), frequency_hz, mode == "speedj"
        self._servo = (command_s, lookahead_s, gain)
        self._watchdog, self._stop_rate = watchdog_s, stop_rate
        self._speed_gain, self._acceleration = speed_gain, acceleration
        meanwhile = f"the controller's watchdog stops the arm {watchdog_s:g} s after the last command it got"
        super().__init__(f"UR {host}", tuple(joint_names), max(5.0 / frequency_hz, 0.05), meanwhile, clock)
        self._last_target: tuple[float, Array] | None = None

    # ArmDriver
    # --------------------------------------------------------------------------------------------------

    def open(self) -> ArmInfo:
        """Read the controller's version, limits and geometry, then its states. Only reads.

        Raises:
            LimitsMismatch: another model than ours.
        """
        require_package()
        version, serial = dashboard(self._host, "PolyscopeVersion", "get serial number")
        major, minor = polyscope_version(version)
        native = 125.0 if major == 3 else 500.0
        self._frequency = min(self._frequency, native)
        self._silent_s = max(5.0 / self._frequency, 0.05)
        found = configuration(self._host)
        self._compare(found)
        self._opened(Client(self._host, self._frequency))
        return ArmInfo(
            model=f"{self._model.name} ({found.family})",
            joint_names=self._names,
            native_hz=native,
            q_min=tuple(found.q_min),
            q_max=tuple(found.q_max),
            dq_max=tuple(found.dq_max),
            firmware=f"PolyScope {major}.{minor}",
            serial=serial if serial.isalnum() else "",
            freedrive=True,
        )

    def enable(self) -> None:
        """Start the vendor's control program; the controller goes on holding the present pose.

        Raises:
            HardwareFault: the arm is not ready, not in remote control, or another program runs.
        """
        client = self._linked()
        client.poll()
        if self._enabled and client.state is not None and client.state.runtime == PLAYING:
            return
        self._enabled = False
        self._require_no_fault(client)
        (remote,) = dashboard(self._host, "is in remote control")
        if remote.lower() == "false":
            raise HardwareFault(f"{self._who}: local control; switch to remote control at the pendant's top right")
        client.ask(Op.ENABLE, _ENABLE_S, (self._watchdog, 0.0, 0.0))
        self._enabled, self._last_target = True, None

    def write(self, q: Array, deadline: float) -> Array:
        """Send position targets (6,) [rad]; servoj takes them as they are.

        Raises:
            HardwareFault: the controller does not take commands.
            TransportTimeout: the link is silent; the controller's watchdog stops the arm.
        """
        del deadline
        client, target = self._target(q)
        state = client.state
        assert state is not None
        if self._speed:
            client.send(Op.SPEEDJ, self._speeds(target, np.array(state.q)), (self._acceleration, 0.0, 0.0))
        else:
            client.send(Op.SERVOJ, target.tolist(), self._servo)
        return target

    def freedrive(self, on: bool) -> None:
        """Teach mode of the controller: the arm can be moved by hand; off, it is held where it is."""
        self._linked()
        if not self._enabled:
            raise ModeError(f"{self._who}: freedrive before enable(); enable first")
        self._answering().ask(Op.FREEDRIVE if on else Op.END_FREEDRIVE, _STOP_S)

    def stop(self) -> None:
        """End servoing with a deceleration on the controller."""
        self._linked()
        if self._enabled:
            self._answering().ask(Op.STOP, _STOP_S, (self._stop_rate, float(self._speed), 0.0))

    def disable(self) -> None:
        """End the control program. The arm stays powered and is held by the controller. Idempotent."""
        enabled, self._enabled = self._enabled, False
        if self._client is None or not enabled:
            return
        client = self._answering()
        client.ask(Op.STOP, _STOP_S, (self._stop_rate, float(self._speed), 0.0))
        client.ask(Op.END, _STOP_S)

    def clear_faults(self) -> None:
        """Connect anew if the link was lost, unlock a protective stop; ``enable`` starts the program anew.

        Raises:
            HardwareFault: the controller needs a person at the pendant.
        """
        client = self._linked(seen=True)
        client.poll()
        if client.lost or client.age > self._silent_s:
            client.close()
            self._enabled = False
            self._compare(configuration(self._host))
            client = self._client = Client(self._host, self._frequency)
        elif self._enabled:
            self._enabled = False
            client.ask(Op.END, _STOP_S)
        if client.state is not None and client.state.safety_mode == PROTECTIVE_STOP:
            _, reply = dashboard(self._host, "close safety popup", "unlock protective stop")
            if "releasing" not in reply.lower():
                raise HardwareFault(f"{self._who}: {reply}")
            until = self._clock.now() + _UNLOCK_S
            while client.state is not None and client.state.safety_mode == PROTECTIVE_STOP:
                if self._clock.now() > until or client.lost:
                    raise HardwareFault(f"{self._who}: the protective stop was not unlocked {client.lost}")
                self._clock.sleep_until(self._clock.now() + 0.005)
                client.poll()
        self._require_no_fault(client)

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _measured(self, state: Report, seq: int, t_host: float, fault: str | None) -> ArmState:
        q, dq, heat = np.array(state.q), np.array(state.dq), np.array(state.heat)
        pressed = state.safety_mode in EMERGENCY_STOPS
        return ArmState(seq, t_host, state.t_device, q, dq, fault=fault, temperature=heat, estop=pressed)

    def _fault(self, state: Report | None) -> str | None:
        if state is None:
            return None
        if state.safety_mode not in (NORMAL, REDUCED):
            return f"{SAFETY_MODES.get(state.safety_mode, f'safety mode {state.safety_mode}')}; look at the pendant"
        if state.robot_mode != RUNNING:
            mode = ROBOT_MODES.get(state.robot_mode, str(state.robot_mode))
            return f"robot mode {mode}; switch on and release the brakes at the pendant"
        if self._enabled and state.runtime != PLAYING:
            return "the control program has ended (its watchdog, an error, or a person at the pendant)"
        return None

    def _speeds(self, target: Array, q: Array) -> list[float]:
        # Speed of the target plus what closes the distance, within the rated speeds.
        now, before = self._clock.now(), self._last_target
        self._last_target = (now, target)
        feed = np.zeros(6) if before is None or now <= before[0] else (target - before[1]) / (now - before[0])
        limit = np.array(self._model.dq_max)
        speeds: list[float] = np.clip(feed + self._speed_gain * (target - q), -limit, limit).tolist()
        return speeds

    def _compare(self, found: Configuration) -> None:
        model: UrModel = self._model
        for name, ours, theirs in (("a", model.dh_a, found.dh_a), ("d", model.dh_d, found.dh_d)):
            worst = float(np.abs(np.subtract(ours, theirs)).max())
            if worst > _DH_TOLERANCE_M or found.robot_type != model.robot_type:
                raise LimitsMismatch(
                    f"{self._who}: the controller drives a {found.family} with Denavit-Hartenberg {name} "
                    f"{np.round(theirs, 4).tolist()} m, '{model.name}' has {list(ours)} m; set driver_kwargs.model"
                )
