"""Rehearse a deployment without the arm: the arguments of an emulator, from the settings of an arm."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from envs import load_arm
from hardware.drivers.dynamixel import Calibration
from hardware.errors import BridgeError

from ..errors import RequestError
from .arm_config import ArmConfig

_SERVO_NM = 5.0
"""Torque that an emulated servo has at least at its current limit [N m]; a stronger joint gets a stronger servo."""


def emulator_arguments(name: str, arm: ArmConfig) -> list[str]:
    """Arguments with which an emulator becomes this arm: its MJCF, its ready pose, its wiring, its address.

    Args:
        name: of the emulator, the same as of the arm's driver.
        arm: settings of the arm.

    Raises:
        RequestError: the arm is driven in another way, or the emulator takes no arm.
    """
    if name not in BUILDERS:
        raise RequestError(f"emulator '{name}' takes no arm, those that do: {', '.join(sorted(BUILDERS))}")
    if arm.driver != name:
        raise RequestError(f"arm.driver is '{arm.driver}', allowed '{name}', whose emulator was asked for")
    try:
        return BUILDERS[name](arm)
    except (BridgeError, KeyError, TypeError) as error:
        raise RequestError(f"arm.driver_kwargs do not describe an arm for emulator '{name}': {error}") from error


def _dynamixel(arm: ArmConfig) -> list[str]:
    given = arm.driver_kwargs["calibration"]
    calibration = Calibration.from_mapping(given) if isinstance(given, dict) else Calibration.load(given)
    tau_max = dict(zip(arm.joint_names, arm.tau_max, strict=True))
    servos: list[dict[str, Any]] = [
        {
            "joint": joint,
            "id": servo.id,
            "sign": servo.sign,
            "zero": servo.zero,
            "strength": max(1.0, tau_max[joint] / _SERVO_NM),
            "eeprom": {
                "return_delay_time": 0,
                "drive_mode": servo.drive_mode,
                "homing_offset": servo.homing_offset,
            },
        }
        for joint, servo in calibration.joints.items()
    ]
    home = dict(zip(arm.joint_names, arm.home, strict=True))
    pose = [home[joint] for joint in calibration.joints]
    description = {"mjcf_path": str(load_arm(arm.name).compiled_file()), "home": pose, "servos": servos}
    return ["--arm", json.dumps(description), "--link", str(arm.driver_kwargs["port"])]


def _ur(arm: ArmConfig) -> list[str]:
    settings = arm.driver_kwargs
    rate = 125.0 if settings.get("frequency_hz", 500.0) <= 125.0 else 500.0
    arguments = ["--host", str(settings["host"]), "--model", str(settings.get("model", "ur5e")), "--rate", str(rate)]
    # As one text: a negative number would look like another argument.
    home = [f"--home={','.join(str(float(q)) for q in arm.home)}"]
    return [*arguments, "--mjcf", str(load_arm(arm.name).compiled_file()), "--joints", *arm.joint_names, *home]


def _franka(arm: ArmConfig) -> list[str]:
    settings = arm.driver_kwargs
    arguments = ["--host", str(settings["host"]), "--model", str(settings.get("model", "fr3"))]
    home = [f"--home={','.join(str(float(q)) for q in arm.home)}"]
    return [*arguments, "--mjcf", str(load_arm(arm.name).compiled_file()), "--joints", *arm.joint_names, *home]


BUILDERS: dict[str, Callable[[ArmConfig], list[str]]] = {"dynamixel": _dynamixel, "franka": _franka, "ur": _ur}
"""Emulator -> how its arguments follow from an arm."""
REHEARSED = {"dynamixel": "panda_dynamixel", "franka": "fr3", "ur": "ur5e"}
"""Emulator -> the arm of configs/arm that it plays unless another is named."""
