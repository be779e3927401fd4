"""The contract of a driver as checks that run on its emulator, and a table of drivers and checks.

A new driver gets a ``Rig`` and one line in ``RIGS``; the tests and ``python -m hardware.conformance`` then run all
checks on it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from .checks import CHECKS, Check
from .failures import FAILURES
from .rig import DEVICE_FAULTS, LINK_FAULTS, NotApplicable, Rig
from .session import ConformanceError

__all__ = [
    "ALL_CHECKS",
    "DEVICE_FAULTS",
    "LINK_FAULTS",
    "RIGS",
    "ConformanceError",
    "NotApplicable",
    "Rig",
    "make_rig",
]

ALL_CHECKS: dict[str, Check] = {check.__name__: check for check in (*CHECKS, *FAILURES)}
"""Name -> check, in the order of the table."""

_HERE = __name__

RIGS: dict[str, str] = {
    "sim": f"{_HERE}.sim_rig:SimRig",
    "dynamixel": f"{_HERE}.dynamixel_rig:DynamixelRig",
    "franka": f"{_HERE}.franka_rig:FrankaRig",
    "franka_async": f"{_HERE}.franka_rig:FrankaAsyncRig",
    "franky_sim": f"{_HERE}.franky_sim_rig:FrankySimRig",
    "ur": f"{_HERE}.ur_rig:UrRig",
}
"""Name -> "package.module:Rig"."""


def make_rig(name: str) -> Rig:
    """Make a rig, its emulator running.

    Raises:
        ValueError: the name is unknown.
        DriverUnavailable: a package that it needs is missing.
    """
    if name not in RIGS:
        raise ValueError(f"rig '{name}' is unknown; known: {', '.join(sorted(RIGS))}")
    module, _, attribute = RIGS[name].partition(":")
    factory: Callable[[], Rig] = getattr(importlib.import_module(module), attribute)
    return factory()
