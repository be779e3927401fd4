"""The RTDE output variables that the emulated controller has, with their types."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ..wire.rtde import NOT_FOUND, Value
from ..wire.ur_models import rotation_vector
from .ur_controller import Controller, RobotMode, SafetyMode

_CURRENT_A_PER_NM = 0.1  # made up: currents are there to be looked at, not to be believed
_SAFETY_BIT = {
    SafetyMode.NORMAL: 1 << 0,
    SafetyMode.PROTECTIVE_STOP: 1 << 2 | 1 << 10,
    SafetyMode.SAFEGUARD_STOP: 1 << 4 | 1 << 10,
    SafetyMode.ROBOT_EMERGENCY_STOP: 1 << 6 | 1 << 7 | 1 << 10,
}


def _six(values: np.ndarray) -> tuple[float, ...]:
    return tuple(values.tolist())


def _pose(c: Controller, q: np.ndarray) -> tuple[float, ...]:
    pose = c.model.forward(q)
    return _six(np.concatenate([pose[:3, 3], rotation_vector(pose[:3, :3])]))


def _status(c: Controller) -> int:
    powered = c.robot_mode in (RobotMode.IDLE, RobotMode.RUNNING)
    return int(powered) | int(c.running) << 1


_ZERO6, _ZERO3 = (0.0,) * 6, (0.0,) * 3

OUTPUTS: dict[str, tuple[str, Callable[[Controller], Value]]] = {
    "timestamp": ("DOUBLE", lambda c: c.timestamp),
    "target_q": ("VECTOR6D", lambda c: _six(c.motion.q)),
    "target_qd": ("VECTOR6D", lambda c: _six(c.motion.dq)),
    "target_qdd": ("VECTOR6D", lambda c: _ZERO6),
    "target_current": ("VECTOR6D", lambda c: _six(c.arm.tau * _CURRENT_A_PER_NM)),
    "target_moment": ("VECTOR6D", lambda c: _six(c.arm.tau)),
    "actual_q": ("VECTOR6D", lambda c: _six(c.arm.q)),
    "actual_qd": ("VECTOR6D", lambda c: _six(c.arm.dq)),
    "actual_current": ("VECTOR6D", lambda c: _six(c.arm.tau * _CURRENT_A_PER_NM)),
    "joint_control_output": ("VECTOR6D", lambda c: _six(c.arm.tau * _CURRENT_A_PER_NM)),
    "actual_TCP_pose": ("VECTOR6D", lambda c: _pose(c, c.arm.q)),
    "actual_TCP_speed": ("VECTOR6D", lambda c: _ZERO6),
    "actual_TCP_force": ("VECTOR6D", lambda c: _ZERO6),
    "target_TCP_pose": ("VECTOR6D", lambda c: _pose(c, c.motion.q)),
    "target_TCP_speed": ("VECTOR6D", lambda c: _ZERO6),
    "actual_digital_input_bits": ("UINT64", lambda c: 0),
    "joint_temperatures": ("VECTOR6D", lambda c: (25.0,) * 6),
    "actual_execution_time": ("DOUBLE", lambda c: 0.0),
    "robot_mode": ("INT32", lambda c: int(c.robot_mode)),
    "joint_mode": ("VECTOR6INT32", lambda c: (253 if c.robot_mode is RobotMode.RUNNING else 239,) * 6),
    "safety_mode": ("INT32", lambda c: int(c.safety_mode)),
    "actual_tool_accelerometer": ("VECTOR3D", lambda c: _ZERO3),
    "speed_scaling": ("DOUBLE", lambda c: 1.0),
    "target_speed_fraction": ("DOUBLE", lambda c: 1.0),
    "actual_momentum": ("DOUBLE", lambda c: 0.0),
    "actual_main_voltage": ("DOUBLE", lambda c: 48.0),
    "actual_robot_voltage": ("DOUBLE", lambda c: 48.0),
    "actual_robot_current": ("DOUBLE", lambda c: 1.0),
    "actual_joint_voltage": ("VECTOR6D", lambda c: (48.0,) * 6),
    "actual_digital_output_bits": ("UINT64", lambda c: 0),
    "runtime_state": ("UINT32", lambda c: int(c.runtime)),
    "standard_analog_input0": ("DOUBLE", lambda c: 0.0),
    "standard_analog_input1": ("DOUBLE", lambda c: 0.0),
    "standard_analog_output0": ("DOUBLE", lambda c: 0.0),
    "standard_analog_output1": ("DOUBLE", lambda c: 0.0),
    "robot_status_bits": ("UINT32", _status),
    "safety_status_bits": ("UINT32", lambda c: _SAFETY_BIT[c.safety_mode]),
    "ft_raw_wrench": ("VECTOR6D", lambda c: _ZERO6),
    "payload": ("DOUBLE", lambda c: 0.0),
    "payload_cog": ("VECTOR3D", lambda c: _ZERO3),
    "payload_inertia": ("VECTOR6D", lambda c: _ZERO6),
}
"""Name -> (RTDE type, its value)."""

_REGISTER = re.compile(r"(input|output)_(int|double)_register_(\d+)")


def output(name: str) -> tuple[str, Callable[[Controller], Value] | None]:
    """Return type and getter of an output variable; an unknown one is NOT_FOUND."""
    if name in OUTPUTS:
        return OUTPUTS[name]
    kind = _register(name, "output")
    if kind is None:
        return NOT_FOUND, None
    index = int(name.rpartition("_")[2])
    if kind == "INT32":
        return kind, lambda c: int(c.int_out[index])
    return kind, lambda c: float(c.double_out[index])


def input_type(name: str) -> str:
    """Return the type of an input variable; an unknown one is NOT_FOUND."""
    if name == "external_force_torque":
        return "VECTOR6D"
    if name in ("speed_slider_mask", "standard_digital_output_mask", "configurable_digital_output_mask"):
        return "UINT32" if name == "speed_slider_mask" else "UINT8"
    return _register(name, "input") or NOT_FOUND


def _register(name: str, side: str) -> str | None:
    match = _REGISTER.fullmatch(name)
    if match is None or match[1] != side or int(match[3]) >= 48:
        return None
    return "INT32" if match[2] == "int" else "DOUBLE"
