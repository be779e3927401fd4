"""Control tables of two servo families, as far as they are emulated: X330 (XL330) and X430 (XM430).

Sources, read in November 2026 (tables "EEPROM Area" and "RAM Area"):
https://emanual.robotis.com/docs/en/dxl/x/xl330-m288/ and https://emanual.robotis.com/docs/en/dxl/x/xm430-w350/
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

EEPROM_END = 64
"""Registers below this address keep their values without power, and are locked while the torque is on."""

TICKS_PER_TURN = 4096
SPEED_RPM = 0.229
"""Unit of all velocities [rev/min]."""


@dataclass(frozen=True)
class Register:
    """One entry: address, size [bytes], whether it can be written, first value, allowed range, sign."""

    name: str
    address: int
    size: int
    writable: bool = False
    initial: int = 0
    low: int = 0
    high: int = 0
    signed: bool = False

    def decode(self, data: bytes) -> int:
        """Number in the register's bytes."""
        return int.from_bytes(data, "little", signed=self.signed)

    def encode(self, value: int) -> bytes:
        """Bytes of a number, cut to the register's size."""
        return (value & ((1 << (8 * self.size)) - 1)).to_bytes(self.size, "little")


def _rw(name: str, address: int, size: int, initial: int, low: int, high: int, signed: bool = False) -> Register:
    return Register(name, address, size, True, initial, low, high, signed)


def _common() -> dict[str, Register]:
    turns = 256 * TICKS_PER_TURN
    registers = [
        Register("model_number", 0, 2),
        Register("model_information", 2, 4),
        Register("firmware_version", 6, 1),
        _rw("id", 7, 1, 1, 0, 252),
        _rw("baud_rate", 8, 1, 1, 0, 7),
        _rw("return_delay_time", 9, 1, 250, 0, 254),
        _rw("drive_mode", 10, 1, 0, 0, 13),
        _rw("operating_mode", 11, 1, 3, 0, 16),
        _rw("secondary_id", 12, 1, 255, 0, 255),
        _rw("protocol_type", 13, 1, 2, 2, 22),
        _rw("homing_offset", 20, 4, 0, -1_044_479, 1_044_479, True),
        _rw("moving_threshold", 24, 4, 10, 0, 1023),
        _rw("temperature_limit", 31, 1, 80, 0, 100),
        _rw("max_voltage_limit", 32, 2, 160, 95, 160),
        _rw("min_voltage_limit", 34, 2, 95, 95, 160),
        _rw("pwm_limit", 36, 2, 885, 0, 885),
        _rw("current_limit", 38, 2, 1193, 0, 1193),
        _rw("velocity_limit", 44, 4, 200, 0, 1023),
        _rw("max_position_limit", 48, 4, 4095, 0, 4095),
        _rw("min_position_limit", 52, 4, 0, 0, 4095),
        _rw("shutdown", 63, 1, 52, 0, 63),
        _rw("torque_enable", 64, 1, 0, 0, 1),
        _rw("led", 65, 1, 0, 0, 1),
        _rw("status_return_level", 68, 1, 2, 0, 2),
        Register("registered_instruction", 69, 1),
        Register("hardware_error_status", 70, 1),
        _rw("velocity_i_gain", 76, 2, 1920, 0, 16383),
        _rw("velocity_p_gain", 78, 2, 100, 0, 16383),
        _rw("position_d_gain", 80, 2, 0, 0, 16383),
        _rw("position_i_gain", 82, 2, 0, 0, 16383),
        _rw("position_p_gain", 84, 2, 800, 0, 16383),
        _rw("feedforward_2nd_gain", 88, 2, 0, 0, 16383),
        _rw("feedforward_1st_gain", 90, 2, 0, 0, 16383),
        _rw("bus_watchdog", 98, 1, 0, 0, 127),
        _rw("goal_pwm", 100, 2, 885, -885, 885, True),
        _rw("goal_current", 102, 2, 1193, -1193, 1193, True),
        _rw("goal_velocity", 104, 4, 0, -1023, 1023, True),
        _rw("profile_acceleration", 108, 4, 0, 0, 32767),
        _rw("profile_velocity", 112, 4, 0, 0, 32767),
        _rw("goal_position", 116, 4, 0, -turns, turns, True),
        Register("realtime_tick", 120, 2),
        Register("moving", 122, 1),
        Register("moving_status", 123, 1),
        Register("present_pwm", 124, 2, signed=True),
        Register("present_current", 126, 2, signed=True),
        Register("present_velocity", 128, 4, signed=True),
        Register("present_position", 132, 4, signed=True),
        Register("velocity_trajectory", 136, 4, signed=True),
        Register("position_trajectory", 140, 4, signed=True),
        Register("present_input_voltage", 144, 2),
        Register("present_temperature", 146, 1),
    ]
    return {register.name: register for register in registers}


@dataclass(frozen=True)
class Model:
    """One servo model.

    Attributes:
        name: as on the data sheet, in lower case.
        number: model number.
        firmware: version that the emulator reports.
        registers: control table, by name.
        indirect: blocks of indirect addressing: address of the first pointer, of the first data byte, how many.
        torque_per_amp: stall torque / stall current of the data sheet [N m/A].
        amps_per_unit: unit of the current registers [A].
        voltage: supply that it reports [V].
    """

    name: str
    number: int
    firmware: int
    registers: dict[str, Register]
    indirect: tuple[tuple[int, int, int], ...]
    torque_per_amp: float
    amps_per_unit: float
    voltage: float
    end: int = field(default=0)

    def __post_init__(self) -> None:
        last = max(register.address + register.size for register in self.registers.values())
        object.__setattr__(self, "end", max(last, *(data + count for _, data, count in self.indirect)))


def _model(
    name: str,
    number: int,
    firmware: int,
    changes: dict[str, dict[str, int]],
    indirect: tuple[tuple[int, int, int], ...],
    torque_per_amp: float,
    amps_per_unit: float,
    voltage: float,
) -> Model:
    registers = _common()
    for key, change in changes.items():
        registers[key] = replace(registers[key], **change)  # type: ignore[arg-type]
    registers["model_number"] = replace(registers["model_number"], initial=number)
    registers["firmware_version"] = replace(registers["firmware_version"], initial=firmware)
    return Model(name, number, firmware, registers, indirect, torque_per_amp, amps_per_unit, voltage)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        # Stall torque 4.1 N m at 2.3 A, 12 V; 2.69 mA a unit.
        _model(
            "xm430-w350",
            1020,
            46,
            {},
            ((168, 224, 28), (578, 634, 28)),
            4.1 / 2.3,
            2.69e-3,
            12.0,
        ),
        # Stall torque 0.52 N m at 1.47 A, 5 V; 1 mA a unit.
        _model(
            "xl330-m288",
            1200,
            46,
            {
                "baud_rate": {"high": 6},
                "temperature_limit": {"initial": 70},
                "max_voltage_limit": {"initial": 70, "low": 31, "high": 70},
                "min_voltage_limit": {"initial": 35, "low": 31, "high": 70},
                "current_limit": {"initial": 1750, "high": 1750},
                "velocity_limit": {"initial": 445, "high": 2047},
                "shutdown": {"initial": 53},
                "velocity_i_gain": {"initial": 1600},
                "velocity_p_gain": {"initial": 180},
                "position_p_gain": {"initial": 400},
                "goal_current": {"initial": 1750, "low": -1750, "high": 1750},
                "goal_velocity": {"low": -2047, "high": 2047},
            },
            ((168, 208, 20),),
            0.52 / 1.47,
            1e-3,
            5.0,
        ),
    )
}
"""Emulated models by name."""
