"""One servo: its control table, what writing to it does, and what it makes of its joint.

Left out: profile acceleration (stored, not followed), current and PWM control modes (refused), gains (stored; the
simulated drive has its own), return delay (answers come at once).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .packets import ACCESS, ALERT, DATA_LENGTH, DATA_LIMIT, DATA_RANGE, RESULT_FAIL
from .table import EEPROM_END, SPEED_RPM, TICKS_PER_TURN, Model, Register

RAD_PER_TICK = 2.0 * math.pi / TICKS_PER_TURN
SPEED_UNIT = SPEED_RPM * 2.0 * math.pi / 60.0
"""Unit of velocities [rad/s]."""

VELOCITY, POSITION, EXTENDED_POSITION, CURRENT_POSITION = 1, 3, 4, 5
HARDWARE_ERRORS = {"voltage": 0x01, "hot": 0x04, "encoder": 0x08, "shock": 0x10, "overload": 0x20}
"""Bits of Hardware Error Status (70) and Shutdown (63)."""

BOOT_S = 0.25
"""How long a servo is silent after a reboot [s]. Own estimate; the manual names none."""

_GOALS = ("goal_pwm", "goal_current", "goal_velocity", "goal_position")
_TICK_PERIOD_MS = 32768


@dataclass
class Sensed:
    """What a servo measures at its shaft: position and velocity in its own direction [rad], torque [N m]."""

    position: float = 0.0
    velocity: float = 0.0
    torque: float = 0.0


@dataclass
class Servo:
    """A servo on the bus.

    Attributes:
        id: its address.
        model: which servo it is.
        eeprom: values of EEPROM registers that differ from the factory's.
    """

    id: int
    model: Model
    eeprom: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._memory = bytearray(self.model.end)
        self._at = {register.address: register for register in self.model.registers.values()}
        for pointers, first, count in self.model.indirect:
            for i in range(count):
                name, at = f"indirect_address_{i + 1}", pointers + 2 * i
                self._at[at] = Register(name, at, 2, True, first + i, EEPROM_END, self.model.end - 1)
        for register in self.model.registers.values():
            self.set(register.name, register.initial)
        for name, value in {**self.eeprom, "id": self.id}.items():
            if name not in self.model.registers or self.model.registers[name].address >= EEPROM_END:
                raise ValueError(f"servo {self.id}: '{name}' is no EEPROM register of a {self.model.name}")
            self.set(name, value)
        self.sensed = Sensed()
        self.jump_ticks = 0
        self.temperature = 35
        self.off_until = -math.inf
        self._started = self._heard = self._moved = 0.0
        self._registered: tuple[int, bytes] | None = None
        self.boot(0.0, silent_s=0.0)

    # Registers
    # ------------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> int:
        """Value of a register."""
        register = self.model.registers[name]
        return register.decode(bytes(self._memory[register.address : register.address + register.size]))

    def set(self, name: str, value: int) -> None:
        """Set a register from inside, without checks."""
        self._store(self.model.registers[name], value)

    @property
    def torque(self) -> bool:
        """Whether the motor gives torque."""
        return bool(self.get("torque_enable"))

    @property
    def error(self) -> int:
        """Error byte of a status packet without an error of its own."""
        return ALERT if self.get("hardware_error_status") else 0

    @property
    def watchdog_expired(self) -> bool:
        """Whether the bus watchdog has stopped the servo."""
        return self.get("bus_watchdog") == 0xFF

    def read(self, address: int, length: int, now: float) -> tuple[int, bytes]:
        """Return the error number and the bytes of a range; bytes between registers are 0."""
        self.measure(now)
        if length < 1 or address + length > self.model.end:
            return ACCESS, b""
        data = bytearray(self._memory[address : address + length])
        for pointers, first, count in self.model.indirect:
            for i in range(max(address, first), min(address + length, first + count)):
                target = self._pointer(pointers, i - first)
                data[i - address] = self._memory[target] if target < self.model.end else 0
        return 0, bytes(data)

    def write(self, address: int, data: bytes, now: float) -> int:
        """Write a range that consists of whole registers; all of it or nothing. Returns the error number."""
        writes: list[tuple[Register, int]] = []
        if not data:
            return DATA_LENGTH
        for at, piece in self._resolved(address, data):
            while piece:
                register = self._at.get(at)
                if register is None or not register.writable:
                    return ACCESS
                if register.size > len(piece):
                    return DATA_LENGTH
                value = register.decode(piece[: register.size])
                error = self._refusal(register, value)
                if error:
                    return error
                writes.append((register, value))
                at, piece = at + register.size, piece[register.size :]
        for register, value in writes:
            self._apply(register, value, now)
        return 0

    def register_write(self, address: int, data: bytes) -> None:
        """Keep a write for ACTION."""
        self._registered = (address, data)
        self.set("registered_instruction", 1)

    def action(self, now: float) -> int:
        """Carry out the registered write."""
        if self._registered is None:
            return RESULT_FAIL
        address, data = self._registered
        self._registered = None
        self.set("registered_instruction", 0)
        return self.write(address, data, now)

    # Life
    # ------------------------------------------------------------------------------------------------------------

    def boot(self, now: float, silent_s: float = BOOT_S) -> None:
        """Start anew: RAM forgotten, torque off, clock at 0, silent for a while."""
        for register in self._at.values():
            if register.address >= EEPROM_END:
                self._store(register, register.initial)
        self.set("goal_current", self.get("current_limit"))
        self.set("goal_pwm", self.get("pwm_limit"))
        self._registered = None
        self.off_until, self._started, self._heard, self._moved = now + silent_s, now, now, now
        self.trajectory = float(self.position)
        self.set("goal_position", self.position)

    def factory_reset(self, now: float, keep_id: bool) -> None:
        """EEPROM back to the factory's values, then a reboot."""
        id = self.id if keep_id else self.model.registers["id"].initial
        for register in self.model.registers.values():
            if register.address < EEPROM_END:
                self.set(register.name, register.initial)
        self.id = id
        self.set("id", id)
        self.boot(now)

    def heard(self, now: float) -> None:
        """A valid instruction was on the bus: the bus watchdog is content."""
        self._heard = now

    def trip(self, bit: int) -> None:
        """A hardware error; what Shutdown (63) names switches the torque off."""
        self.set("hardware_error_status", self.get("hardware_error_status") | bit)
        if bit & self.get("shutdown"):
            self.set("torque_enable", 0)

    # Motion
    # ------------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Present position [ticks]."""
        ticks = self._unwrapped
        return ticks % TICKS_PER_TURN if self.get("operating_mode") == POSITION else ticks

    def advance(self, now: float) -> None:
        """Let time pass: watchdog, temperature, the way to the goal."""
        watchdog = self.get("bus_watchdog")
        if self.torque and 1 <= watchdog <= 127 and now - self._heard > 0.02 * watchdog:
            self.set("bus_watchdog", 0xFF)
            self._hold_here()
        if self.temperature > self.get("temperature_limit"):
            self.trip(HARDWARE_ERRORS["hot"])
        dt, self._moved = max(now - self._moved, 0.0), now
        ticks_per_s = SPEED_UNIT / RAD_PER_TICK
        if not self.torque:
            self.trajectory = float(self.position)
        elif self.get("operating_mode") == VELOCITY:
            self.trajectory += self.get("goal_velocity") * ticks_per_s * dt
        else:
            gap, limit = self.get("goal_position") - self.trajectory, self.get("profile_velocity") * ticks_per_s * dt
            self.trajectory += max(-limit, min(limit, gap)) if self.get("profile_velocity") else gap

    @property
    def target(self) -> float:
        """Where the drive presses to, at the shaft [rad]."""
        # The servo regulates what it sees: offset and a jump of its encoder move the shaft.
        turns = self._unwrapped - self.position
        ticks = self.trajectory + turns - self.get("homing_offset") - self.jump_ticks
        return self._side * ticks * RAD_PER_TICK

    @property
    def torque_limit(self) -> float:
        """Largest torque [N m]."""
        units = self.get("current_limit")
        if self.get("operating_mode") == CURRENT_POSITION:
            units = min(units, abs(self.get("goal_current")))
        return units * self.model.amps_per_unit * self.model.torque_per_amp

    def measure(self, now: float) -> None:
        """Bring the registers of measured values up to date."""
        current = self._side * self.sensed.torque / self.model.torque_per_amp / self.model.amps_per_unit
        self.set("realtime_tick", int((now - self._started) * 1e3) % _TICK_PERIOD_MS)
        self.set("present_position", self.position)
        velocity = round(self._side * self.sensed.velocity / SPEED_UNIT)
        self.set("present_velocity", velocity)
        self.set("present_current", max(-32768, min(32767, round(current))) if self.torque else 0)
        self.set("position_trajectory", round(self.trajectory))
        self.set("moving", int(abs(velocity) > self.get("moving_threshold")))
        self.set("present_input_voltage", round(10.0 * self.model.voltage))
        self.set("present_temperature", self.temperature)

    # Inside
    # ------------------------------------------------------------------------------------------------------------

    @property
    def _side(self) -> int:
        return -1 if self.get("drive_mode") & 1 else 1

    @property
    def _unwrapped(self) -> int:
        ticks = round(self._side * self.sensed.position / RAD_PER_TICK)
        return ticks + self.get("homing_offset") + self.jump_ticks

    def _store(self, register: Register, value: int) -> None:
        self._memory[register.address : register.address + register.size] = register.encode(value)

    def _hold_here(self) -> None:
        self.trajectory = float(self.position)
        self.set("goal_position", self.position)
        self.set("goal_velocity", 0)

    def _pointer(self, pointers: int, i: int) -> int:
        return int.from_bytes(self._memory[pointers + 2 * i : pointers + 2 * i + 2], "little")

    def _resolved(self, address: int, data: bytes) -> list[tuple[int, bytes]]:
        # Follow indirect data to the registers meant; neighbours go together, as whole registers must.
        runs: list[tuple[int, bytes]] = []
        for i in range(len(data)):
            at = address + i
            for pointers, first, count in self.model.indirect:
                if first <= at < first + count:
                    at = self._pointer(pointers, at - first)
                    break
            if runs and runs[-1][0] + len(runs[-1][1]) == at:
                runs[-1] = (runs[-1][0], runs[-1][1] + data[i : i + 1])
            else:
                runs.append((at, data[i : i + 1]))
        return runs

    def _refusal(self, register: Register, value: int) -> int:
        name = register.name
        if self.torque and (register.address < EEPROM_END or name.startswith("indirect_address")):
            return ACCESS
        if name in _GOALS and self.watchdog_expired:
            return DATA_RANGE
        if not register.low <= value <= register.high:
            return DATA_RANGE
        if name == "operating_mode" and value not in (VELOCITY, POSITION, EXTENDED_POSITION, CURRENT_POSITION):
            return DATA_RANGE
        if name == "torque_enable" and value and self.get("hardware_error_status") & self.get("shutdown"):
            return RESULT_FAIL  # only a reboot helps
        if name == "goal_position" and self.get("operating_mode") == POSITION:
            inside = self.get("min_position_limit") <= value <= self.get("max_position_limit")
            return 0 if inside else DATA_LIMIT
        limit = {"goal_velocity": "velocity_limit", "goal_current": "current_limit", "goal_pwm": "pwm_limit"}.get(name)
        return DATA_LIMIT if limit and abs(value) > self.get(limit) else 0

    def _apply(self, register: Register, value: int, now: float) -> None:
        name, had_torque = register.name, self.torque
        self._store(register, value)
        if name == "id":
            self.id = value
        elif name == "torque_enable" and value and not had_torque:
            self._hold_here()
            self._heard = now
        elif name == "operating_mode":
            for other in ("profile_velocity", "profile_acceleration"):
                self.set(other, 0)
            self._hold_here()
        elif name == "bus_watchdog":
            self._heard = now
