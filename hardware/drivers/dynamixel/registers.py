"""The registers that the driver uses, and the servo models it knows.

The X series shares these addresses. Sources: the control tables at https://emanual.robotis.com/docs/en/dxl/x/ and
the list of model numbers in control_table/dynamixel.model of https://github.com/ROBOTIS-GIT/DynamixelSDK.
"""

from __future__ import annotations

import math
from typing import NamedTuple

TICKS_PER_TURN = 4096
RAD_PER_TICK = 2.0 * math.pi / TICKS_PER_TURN
RAD_S_PER_UNIT = 0.229 * 2.0 * math.pi / 60.0
"""Unit of velocities, 0.229 rev/min [rad/s]."""
WATCHDOG_UNIT_S = 0.02


class Register(NamedTuple):
    """Name as in the manual, address, size [bytes]."""

    name: str
    address: int
    size: int


RETURN_DELAY = Register("Return Delay Time", 9, 1)
DRIVE_MODE = Register("Drive Mode", 10, 1)
OPERATING_MODE = Register("Operating Mode", 11, 1)
HOMING_OFFSET = Register("Homing Offset", 20, 4)
CURRENT_LIMIT = Register("Current Limit", 38, 2)
MAX_POSITION = Register("Max Position Limit", 48, 4)
MIN_POSITION = Register("Min Position Limit", 52, 4)
TORQUE_ENABLE = Register("Torque Enable", 64, 1)
STATUS_RETURN_LEVEL = Register("Status Return Level", 68, 1)
HARDWARE_ERROR = Register("Hardware Error Status", 70, 1)
BUS_WATCHDOG = Register("Bus Watchdog", 98, 1)
GOAL_CURRENT = Register("Goal Current", 102, 2)
PROFILE_ACCELERATION = Register("Profile Acceleration", 108, 4)
PROFILE_VELOCITY = Register("Profile Velocity", 112, 4)
GOAL_POSITION = Register("Goal Position", 116, 4)
PRESENT_POSITION = Register("Present Position", 132, 4)

STATE = (120, 16)
"""Block read at every tick: Realtime Tick (120, 2 bytes), Present Current (126, 2), Present Velocity (128, 4), Present
Position (132, 4)."""
TORQUE_BLOCK, ERROR_BLOCK, WATCHDOG_BLOCK, HEAT_BLOCK = (64, 2), (68, 3), (98, 1), (140, 7)
"""Blocks that tell how a servo is: Torque Enable first, Hardware Error Status last, Bus Watchdog alone, Present
Temperature last (after Position Trajectory and Present Input Voltage). None has a gap between registers, and no two
have the same length: a late answer to one cannot pass for another."""

WATCHDOG_EXPIRED = 0xFF

ERRORS = {
    0x01: "input voltage out of range",
    0x04: "overheated",
    0x08: "motor encoder failed",
    0x10: "electrical shock or too little power",
    0x20: "overload",
}
"""Bits of Hardware Error Status (70)."""

STATUS_ERRORS = {
    1: "it failed to carry out the instruction",
    2: "it does not know the instruction",
    3: "the CRC did not match",
    4: "the value is out of range",
    5: "the length is wrong",
    6: "the value is outside a limit",
    7: "the register cannot be accessed, or the torque is on",
}
"""Error numbers of a status packet."""

OPERATING_MODES = {"position": 3, "extended_position": 4, "current_position": 5}
"""Modes in which the bridge can stream positions."""


class Model(NamedTuple):
    """Name, unit of current registers [A], stall torque / stall current of the data sheet [N m/A]; None: no current."""

    name: str
    amp: float | None = None
    torque_per_amp: float | None = None


MODELS = {
    1000: Model("XH430-W350"),
    1010: Model("XH430-W210"),
    1020: Model("XM430-W350", 2.69e-3, 4.1 / 2.3),  # 4.1 N m at 2.3 A, 12 V
    1030: Model("XM430-W210", 2.69e-3, 3.0 / 2.3),  # 3.0 N m at 2.3 A, 12 V
    1040: Model("XH430-V350"),
    1050: Model("XH430-V210"),
    1060: Model("XL430-W250"),
    1070: Model("XC430-W150"),
    1080: Model("XC430-W240"),
    1090: Model("2XL430-W250"),
    1100: Model("XH540-W270"),
    1110: Model("XH540-W150"),
    1120: Model("XM540-W270"),
    1130: Model("XM540-W150"),
    1160: Model("2XC430-W250"),
    1190: Model("XL330-M077"),
    1200: Model("XL330-M288", 1e-3, 0.52 / 1.47),  # 0.52 N m at 1.47 A, 5 V
    1210: Model("XC330-T181"),
    1220: Model("XC330-T288"),
    1230: Model("XC330-M181"),
    1240: Model("XC330-M288"),
}
"""Model number -> model. Without constants there is no torque estimate."""


def status_error_text(number: int) -> str:
    """Describe the error number of a status packet in words."""
    return STATUS_ERRORS.get(number, f"error {number}")


def hardware_error_text(bits: int) -> str:
    """Describe Hardware Error Status (70) in words."""
    known = [text for bit, text in ERRORS.items() if bits & bit]
    rest = bits & ~sum(ERRORS)
    return ", ".join([*known, *([f"unknown bits 0x{rest:02x}"] if rest else [])])
