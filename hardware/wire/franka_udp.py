"""Franka Control Interface, protocol version 10: states and set-points over UDP, little-endian, without gaps.

A state comes each millisecond and has the arm's time in milliseconds as its number; a set-point has the number of the
state that it answers. Sources: see ``franka``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..interface import Array
from . import WireError
from .franka import NUM_ERRORS, Control, Generator, RobotMode

_POSE = 16
STATE_FIELDS: tuple[tuple[str, int], ...] = (
    *((name, _POSE) for name in ("O_T_EE", "O_T_EE_d", "F_T_EE", "EE_T_K", "F_T_NE", "NE_T_EE")),
    *(("m_ee", 1), ("I_ee", 9), ("F_x_Cee", 3), ("m_load", 1), ("I_load", 9), ("F_x_Cload", 3)),
    *(("elbow", 2), ("elbow_d", 2), ("tau_J", 7), ("tau_J_d", 7), ("dtau_J", 7)),
    *(("q", 7), ("q_d", 7), ("dq", 7), ("dq_d", 7), ("ddq_d", 7)),
    *(("joint_contact", 7), ("cartesian_contact", 6), ("joint_collision", 7), ("cartesian_collision", 6)),
    *(("tau_ext_hat_filtered", 7), ("O_F_ext_hat_K", 6), ("K_F_ext_hat_K", 6), ("O_dP_EE_d", 6), ("O_ddP_O", 3)),
    *(("elbow_c", 2), ("delbow_c", 2), ("ddelbow_c", 2), ("O_T_EE_c", _POSE), ("O_dP_EE_c", 6), ("O_ddP_EE_c", 6)),
    *(("theta", 7), ("dtheta", 7), ("accelerometer_top", 18), ("accelerometer_bottom", 18)),
)
"""Name and length of the single-precision fields of a state, in order; poses column by column."""

_MODES = struct.Struct(f"<BB{NUM_ERRORS}s{NUM_ERRORS}sBf")
_PLACES: dict[str, slice] = {}
_end = 0
for _name, _length in STATE_FIELDS:
    _PLACES[_name] = slice(_end, _end + _length)
    _end += _length
_NUMBERS = _end
STATE_SIZE = 8 + 4 * _NUMBERS + _MODES.size


def pack_state(
    time_ms: int,
    fields: Mapping[str, Array],
    modes: tuple[Generator, Control, RobotMode],
    errors: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset()),
    success_rate: float = 1.0,
) -> bytes:
    """Return one state as the arm sends it.

    Args:
        time_ms: time of the arm, the number of the message [ms].
        fields: the fields of ``STATE_FIELDS`` that are not zero (poses: not the identity).
        modes: what the client streams, what follows it, and the mode of the arm.
        errors: places of the present errors, and of those that ended the last motion.
        success_rate: share of the last 100 set-points that came in time.
    """
    numbers = _BLANK.copy()
    for name, value in fields.items():
        numbers[_PLACES[name]] = value
    generator, control, mode = modes
    now, last = (bytes(i in places for i in range(NUM_ERRORS)) for places in errors)
    tail = _MODES.pack(generator, control, now, last, mode, success_rate)
    return struct.pack("<Q", time_ms) + numbers.tobytes() + tail


_BLANK = np.zeros(_NUMBERS, dtype="<f4")
for _name, _length in STATE_FIELDS:
    if _length == _POSE:
        _BLANK[_PLACES[_name]] = np.eye(4).ravel()

_SETPOINT = struct.Struct("<Q 7d 7d 16d 6d 2d ?? 7d ?")


@dataclass(frozen=True)
class SetPoint:
    """What a client streams.

    Attributes:
        time_ms: number of the state that it answers.
        q: joint positions (7,) [rad].
        dq: joint velocities (7,) [rad/s].
        finished: whether the motion ends with it.
    """

    time_ms: int
    q: tuple[float, ...]
    dq: tuple[float, ...]
    finished: bool


def parse_setpoint(datagram: bytes) -> SetPoint:
    """Read a set-point.

    Raises:
        WireError: another length, or positions and velocities that are not finite.
    """
    if len(datagram) != _SETPOINT.size:
        raise WireError(f"Franka set-point of {len(datagram)} bytes, a set-point has {_SETPOINT.size}")
    values = _SETPOINT.unpack(datagram)
    if not np.isfinite(values[1:15]).all():
        raise WireError("Franka set-point with numbers that are not finite")
    return SetPoint(values[0], values[1:8], values[8:15], bool(values[40]))


def pack_setpoint(setpoint: SetPoint) -> bytes:
    """Return a set-point as a client sends it."""
    rest = (*np.eye(4).ravel(), *(0.0,) * 8)
    return _SETPOINT.pack(
        setpoint.time_ms, *setpoint.q, *setpoint.dq, *rest, False, setpoint.finished, *(0.0,) * 7, False
    )
