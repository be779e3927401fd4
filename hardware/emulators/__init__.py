"""Emulators by name: processes that speak an arm's wire protocol over the simulated arm.

A new one is a module with ``main(arguments) -> int`` and one line here. ``python -m hardware.emulators NAME``
starts one; so does `loopwm emulate NAME`. They run as processes of their own because some vendor clients keep
the interpreter's lock while they block.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from ..errors import DriverUnavailable

_HERE = __name__

EMULATORS: dict[str, tuple[str, str]] = {
    "dynamixel": (f"{_HERE}.dynamixel:main", "a servo bus, Dynamixel Protocol 2.0, on a pseudo-terminal"),
    "franka": (f"{_HERE}.franka:main", "a Franka arm and its hand over TCP and UDP: the control interface (FCI)"),
    "ur": (f"{_HERE}.ur:main", "a Universal Robots controller over TCP: RTDE, dashboard, script port"),
}
"""Name -> ("package.module:main", what it is)."""


def load(name: str) -> Callable[[Sequence[str]], int]:
    """Import the main function of an emulator.

    Raises:
        DriverUnavailable: the name is unknown.
    """
    if name not in EMULATORS:
        raise DriverUnavailable(f"emulator '{name}' is unknown; known: {', '.join(sorted(EMULATORS))}")
    module, _, attribute = EMULATORS[name][0].partition(":")
    main: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), attribute)
    return main
