"""Drivers by name. A new arm is one module with a class that follows ``interface.ArmDriver`` and one line
here.

Modules are imported only when a driver is made: importing this package loads no simulator and no vendor SDK.
"""

from __future__ import annotations

from ..errors import DriverUnavailable

_HERE = __name__

DRIVERS: dict[str, str] = {
    "sim": f"{_HERE}.sim:SimArmDriver",
    "dynamixel": f"{_HERE}.dynamixel:DynamixelDriver",
    "franka": f"{_HERE}.franka:FrankaDriver",
    "ur": f"{_HERE}.ur:UrDriver",
}
"""Driver name -> "package.module:Factory"."""


def resolve(name: str) -> str:
    """Return the dotted path of a registered driver, or the path itself when it already is one
    ("pkg.mod:Factory").

    Raises:
        DriverUnavailable: the name is neither.
    """
    if name in DRIVERS:
        return DRIVERS[name]
    module, _, attribute = name.partition(":")
    if module and attribute:
        return name
    raise DriverUnavailable(
        f"driver '{name}' is unknown; known: {', '.join(sorted(DRIVERS))}, or a path 'package.module:Factory'"
    )
