"""Arms of Dynamixel servos (X series, Protocol 2.0) behind the driver interface.

One tick is one sync read (time, current, velocity, position of all servos), a look at the health of one servo in turn,
and one sync write of goals. The servos' own bus watchdog stops them when instructions cease.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...clock import Clock, MonotonicClock
from ...errors import (
    BridgeError,
    CommandRejected,
    Disconnected,
    HardwareFault,
    ModeError,
    TransportError,
    TransportTimeout,
)
from ...interface import ArmInfo, ArmState, Array, frozen
from . import registers as reg
from .bus import PATIENCE_S, Answer, DynamixelBus
from .calibration import Calibration
from .health import Health
from .servo_clock import ServoClock
from .setup import ServoFacts, inspect, position_range

_STATE = struct.Struct("<H4xhii")
_BOOT_S = 3.0
"""How long a restarted servo may take to answer [s]."""
_USB_S = 1e-3
"""Time that a USB adapter adds to each direction, its latency timer at 1 ms [s]."""


class DynamixelDriver:
    """An arm of Dynamixel servos.

    Args:
        port: serial port, such as /dev/ttyUSB0 or a path below /dev/serial/by-id/.
        calibration: file, or the same as plain data, see ``Calibration``.
        baudrate: bit/s, as set in the servos.
        operating_mode: "position" (within the servo's own limits, one turn), "extended_position" (no limits in the
            servo) or "current_position" (no limits in the servo, current limited to ``goal_current_a``).
        goal_current_a: largest current of each servo in "current_position" [A].
        watchdog_s: the servos stop when no instruction comes for so long [s], 0.02 to 2.54, or 0 for never.
        max_age_s: oldest answer that counts, by the servos' clocks [s].
        max_speed: a position that changes faster than this, while enabled, is a failed encoder [rad/s].
        clock: where time comes from.
    """

    def __init__(
        self,
        port: str,
        calibration: str | Path | Mapping[str, Any],
        baudrate: int = 1_000_000,
        operating_mode: str = "position",
        goal_current_a: float | None = None,
        watchdog_s: float = 0.2,
        max_age_s: float = 0.05,
        max_speed: float = 12.0,
        clock: Clock | None = None,
    ) -> None:
        if operating_mode not in reg.OPERATING_MODES:
            known = ", ".join(reg.OPERATING_MODES)
            raise ValueError(f"dynamixel operating_mode '{operating_mode}' is unknown; known: {known}")
        if not (watchdog_s == 0.0 or reg.WATCHDOG_UNIT_S <= watchdog_s <= 127 * reg.WATCHDOG_UNIT_S):
            raise ValueError(f"dynamixel watchdog_s {watchdog_s} s, allowed 0 or [0.02, 2.54] s")
        if not (np.isfinite(max_age_s) and 1e-3 <= max_age_s <= 0.2):
            raise ValueError(f"dynamixel max_age_s {max_age_s} s, allowed [0.001, 0.2] s")
        if not (np.isfinite(max_speed) and 0.1 <= max_speed <= 100.0):
            raise ValueError(f"dynamixel max_speed {max_speed} rad/s, allowed [0.1, 100] rad/s")
        current_mode = operating_mode == "current_position"
        if current_mode is not (goal_current_a is not None) or (goal_current_a is not None and not goal_current_a > 0):
            raise ValueError(
                f"dynamixel goal_current_a is {goal_current_a} A with operating_mode '{operating_mode}', allowed a "
                "current above 0 A with 'current_position' and none otherwise"
            )
        self._port_name, self._baudrate = port, int(baudrate)
        loaded = isinstance(calibration, Mapping)
        self._calibration = Calibration.from_mapping(calibration) if loaded else Calibration.load(calibration)  # type: ignore[arg-type]
        self._mode, self._goal_current = operating_mode, goal_current_a
        self._watchdog = round(watchdog_s / reg.WATCHDOG_UNIT_S)
        self._max_age = float(max_age_s)
        self._clock: Clock = clock or MonotonicClock()
        gripper = self._calibration.gripper
        self._ids = self._calibration.ids
        self._all = self._ids + ((gripper.id,) if gripper else ())
        self._names = self._calibration.names + (("gripper",) if gripper else ())
        self._bus: DynamixelBus | None = None
        self._times = ServoClock(len(self._all))
        self._health = Health(dict(zip(self._all, self._names, strict=True)), watchdog_s, max_speed)
        self._seq = 0
        self._facts: dict[int, ServoFacts] = {}
        self._range: tuple[Array, Array] | None = None
        self._taken: ArmState | None = None

    # ArmDriver
    # ------------------------------------------------------------------------------------------------------------

    def open(self) -> ArmInfo:
        """Open the port, find all servos, compare their settings with the calibration. Nothing is written but the
        status return level; torque stays as it is.

        Raises:
            Disconnected: port or a servo does not answer.
            LimitsMismatch: a servo is set up in another way than this driver or the calibration says.
            DriverUnavailable: the vendor's package is missing.
        """
        self.close()
        self._bus = bus = DynamixelBus(self._port_name, self._baudrate)
        try:
            mode = reg.OPERATING_MODES[self._mode]
            for id, name in zip(self._all, self._names, strict=True):
                self._facts[id] = inspect(bus, id, name, self._calibration.joints.get(name), mode)
            for id in self._all:
                if self._facts[id].status_return_level < 2:
                    bus.set_unconfirmed(id, reg.STATUS_RETURN_LEVEL, 2)
        except BaseException:
            self.close()
            raise
        self._times.restart()
        self._health.restart()
        self._taken, self._seq = None, 0
        self._range = None
        q_min = q_max = None
        if self._mode == "position":
            facts = [self._facts[id] for id in self._ids]
            self._range = position_range(facts)
            ends = self._calibration.to_rad(self._range[0]), self._calibration.to_rad(self._range[1])
            q_min, q_max = tuple(np.minimum(*ends).tolist()), tuple(np.maximum(*ends).tolist())
        models = sorted({fact.model.name for fact in self._facts.values()})
        versions = sorted({fact.firmware for fact in self._facts.values()})
        return ArmInfo(
            model=f"Dynamixel {' '.join(models)}",
            joint_names=self._calibration.names,
            native_hz=self._native_hz(),
            q_min=q_min,
            q_max=q_max,
            firmware=" ".join(map(str, versions)),
            serial=self._port_name,
            gripper=self._calibration.gripper is not None,
        )

    def enable(self) -> None:
        """Torque on, each servo holding where it is. One that already holds goes on as it does. Idempotent."""
        bus = self._require_bus()
        if self._health.fault is not None:
            raise HardwareFault(f"dynamixel: '{self._health.fault}' is latched; clear it first")
        switched_on: list[int] = []
        try:
            for id in self._all:
                held = bus.get(id, reg.TORQUE_ENABLE) == 1
                if not held or bus.get(id, reg.BUS_WATCHDOG) == reg.WATCHDOG_EXPIRED:
                    self._end_watchdog(bus, id)
                for register in (reg.PROFILE_ACCELERATION, reg.PROFILE_VELOCITY):
                    bus.set(id, register, 0)  # goals are followed as they come: the bridge shapes the motion
                if self._goal_current is not None:
                    bus.set(id, reg.GOAL_CURRENT, self._facts[id].current_units(self._goal_current))
                if not held:
                    switched_on.append(id)
                    bus.set(id, reg.TORQUE_ENABLE, 1)
                bus.set(id, reg.BUS_WATCHDOG, self._watchdog)
        except BridgeError:
            with contextlib.suppress(BridgeError):  # half an arm must not be left on
                for id in switched_on:
                    bus.set(id, reg.TORQUE_ENABLE, 0)
            raise
        self._health.enabled = True

    def read(self, deadline: float) -> ArmState:
        """Return the newest measurement of all servos.

        Raises:
            TransportTimeout: an answer is missing, damaged or too old.
            Disconnected: the port is gone.
        """
        taken, self._taken = self._taken, None
        if taken is not None and deadline <= self._clock.now():
            return taken  # no time is left to ask, but clearing faults has just measured
        return self._measure(self._on_monotonic(deadline))

    def _measure(self, end: float) -> ArmState:
        bus = self._require_bus()
        answers = bus.sync_read(self._all, *reg.STATE, end)
        now = self._clock.now()
        fields = np.array([self._unpack(id, answers[id]) for id in self._all], dtype=np.float64)
        t_device, age, odd = self._times.update(fields[:, 0].tolist(), now)
        self._health.suspect([self._all[i] for i in odd], moved=bool(odd))
        if age > self._max_age:
            late = f"an answer is {age:.3f} s old, allowed {self._max_age:g} s"
            raise TransportTimeout(f"port '{self._port_name}': {late}")
        self._health.suspect(id for id in self._all if answers[id].alert)
        self._health.look(bus, end)
        self._health.compare(t_device, fields[:, 3])
        n = len(self._ids)
        self._seq += 1
        gripper = self._calibration.gripper
        current = fields[:n, 1]
        factors = [self._facts[id].torque_per_unit for id in self._ids]
        tau = None if None in factors else self._calibration.directed(current * np.array(factors, dtype=np.float64))
        heat = [self._health.temperature.get(id) for id in self._ids]  # known after a round
        return ArmState(
            seq=self._seq,
            t_host=now,
            t_device=t_device,
            q=self._calibration.to_rad(fields[:n, 3]),
            dq=self._calibration.directed(fields[:n, 2] * reg.RAD_S_PER_UNIT),
            tau=tau,
            gripper=None if gripper is None else gripper.opening(fields[n, 3]),
            fault=self._health.fault,
            temperature=None if None in heat else np.array(heat, dtype=np.float64),
        )

    def write(self, q: Array, deadline: float) -> Array:
        """Send goals (n,) [rad]; return them rounded to the servos' resolution.

        Raises:
            CommandRejected: not finite, of another shape, or outside the servos' limits, which they would ignore.
            ModeError: not enabled.
            HardwareFault: a fault is latched.
        """
        del deadline  # sending does not wait
        bus = self._require_bus()
        if not self._health.enabled:
            raise ModeError("dynamixel: write before enable(); enable first")
        if self._health.fault is not None:
            raise HardwareFault(f"dynamixel: '{self._health.fault}' is latched, goals are not sent")
        ticks = self._calibration.to_ticks(frozen(q, "dynamixel: target q [rad]", (len(self._ids),)))
        if self._range is not None:
            outside = (ticks < self._range[0]) | (ticks > self._range[1])
            if outside.any():
                i = int(np.argmax(outside))
                raise CommandRejected(
                    f"joint '{self._calibration.names[i]}' asked to {ticks[i]:.0f}, servo {self._ids[i]} allows "
                    f"[{self._range[0][i]:.0f}, {self._range[1][i]:.0f}] ticks"
                )
        bus.sync_write(reg.GOAL_POSITION, {id: int(t) for id, t in zip(self._ids, ticks, strict=True)})
        return self._calibration.to_rad(ticks)

    def gripper(self, opening: float) -> None:
        """Send the gripper to an opening, 0 closed to 1 open; where there is none this raises ModeError."""
        gripper, bus = self._calibration.gripper, self._require_bus()
        if gripper is None or not self._health.enabled:
            raise ModeError("dynamixel: no gripper in the calibration, or not enabled")
        if not (np.isfinite(opening) and 0.0 <= opening <= 1.0):
            raise CommandRejected(f"gripper opening {opening}, allowed [0, 1]")
        bus.sync_write(reg.GOAL_POSITION, {gripper.id: gripper.position(opening)})

    def stop(self) -> None:
        """Make the present positions the goals: each servo stops as hard as it can and holds.

        One that does not answer keeps no other from stopping.

        Raises:
            TransportTimeout: it was not delivered to all servos.
        """
        bus = self._require_bus()
        stopped: set[int] = set()
        error: TransportError | None = None
        for group in (self._all, self._all, *((id,) for id in self._all)):
            if stopped.issuperset(group):
                continue
            try:
                answers = bus.sync_read(group, *reg.STATE, time.monotonic() + PATIENCE_S)
                present = {id: int(self._unpack(id, answers[id])[3]) for id in group}
                bus.sync_write(reg.GOAL_POSITION, present)
                stopped.update(group)
            except TransportTimeout as raised:
                error = raised
        if missing := [id for id in self._all if id not in stopped]:
            which = f"stop was not delivered to servo {', '.join(map(str, missing))}"
            raise TransportTimeout(f"{which}: {error}; the bus watchdog is what is left") from error

    def disable(self) -> None:
        """Torque off: an arm that is not supported drops. Idempotent.

        Raises:
            BridgeError: a servo does not confirm; the others are off nevertheless.
        """
        self._health.enabled = False
        if self._bus is None:
            return
        failed: BridgeError | None = None
        for id in self._all:
            try:
                self._bus.set(id, reg.TORQUE_ENABLE, 0)
                self._bus.set(id, reg.BUS_WATCHDOG, 0)
            except Disconnected:
                raise
            except BridgeError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def clear_faults(self) -> None:
        """Restart servos that have shut down, the only way out for them, and end expired bus watchdogs.

        Nothing moves. Servos without torque stay without it: ``enable`` must follow.
        """
        bus = self._require_bus()
        broken = [id for id in self._all if bus.get(id, reg.HARDWARE_ERROR)]
        for id in broken:
            bus.reboot(id)
        give_up = time.monotonic() + _BOOT_S
        for id in broken:
            while True:
                try:
                    bus.ping(id)
                    break
                except TransportTimeout:
                    if time.monotonic() > give_up:
                        raise
        for id in self._all:
            if bus.get(id, reg.BUS_WATCHDOG) == reg.WATCHDOG_EXPIRED:
                self._end_watchdog(bus, id)
            self._health.enabled &= bus.get(id, reg.TORQUE_ENABLE) == 1
        self._health.restart()
        self._times.forgive()
        self._taken = self._measure(time.monotonic() + PATIENCE_S)

    def close(self) -> None:
        """Close the port; torque stays as it is, and so does an armed bus watchdog. Idempotent."""
        bus, self._bus = self._bus, None
        self._health.enabled = False
        if bus is not None:
            bus.close()

    # Inside
    # ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _end_watchdog(bus: DynamixelBus, id: int) -> None:
        # An expired one locks the goals. The servo has stopped: where it is becomes its goal.
        bus.set(id, reg.BUS_WATCHDOG, 0)
        bus.set(id, reg.GOAL_POSITION, bus.get(id, reg.PRESENT_POSITION, signed=True))

    def _unpack(self, id: int, answer: Answer) -> tuple[int, int, int, int]:
        if len(answer.data) != reg.STATE[1]:
            raise TransportTimeout(f"servo {id} on '{self._port_name}': state refused, error {answer.error}")
        tick, current, velocity, position = _STATE.unpack(answer.data)
        return tick, current, velocity, position

    def _require_bus(self) -> DynamixelBus:
        if self._bus is None:
            raise Disconnected(f"port '{self._port_name}' is not open; open() first")
        return self._bus

    def _on_monotonic(self, deadline: float) -> float:
        return time.monotonic() + max(deadline - self._clock.now(), 0.0)

    def _native_hz(self) -> float:
        # Bytes of a tick: sync read and its answers, health of one servo and its answer, sync write.
        n = len(self._all)
        size = (14 + n) + n * (11 + reg.STATE[1]) + 14 + (11 + reg.TORQUE_BLOCK[1]) + (14 + 5 * n)
        return 1.0 / (10.0 * size / self._baudrate + 4.0 * _USB_S)
