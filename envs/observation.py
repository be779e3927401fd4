"""What an observation vector means: one layout for the simulated and the real arm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .action import JointReference

FloatArray = NDArray[np.float64]

OBSERVATION_UNITS: dict[str, str] = {
    "q": "rad",
    "dq": "rad/s",
    "q_error": "rad",
    "ref_dq": "rad/s",
    "ee_pos": "m",
}
"""Groups of the vector in their order, with units. q_error = ref_q - q."""

OBJECT_UNITS: dict[str, str] = {
    "object_pos": "m",
    "object_yaw": "1",
    "object_vel": "m/s",
    "object_yaw_rate": "rad/s",
}
"""Groups that follow where the task has an object: position (3,), cosine and sine of the angle about z, velocity (3,)
and rate about z, all in the base frame."""
TARGET_UNITS: dict[str, str] = {"target_pos": "m", "target_vel": "m/s"}
"""Groups that follow the arm where the goal moves: position and velocity of the target, (3,) each."""
OBJECT_SIZES = {"object_pos": 3, "object_yaw": 2, "object_vel": 3, "object_yaw_rate": 1}

FIXTURE_UNITS: dict[str, str] = {
    "part_pos": "m",
    "fixture_yaw": "1",
    "travel": "m or rad",
    "travel_rate": "m/s or rad/s",
}
"""Groups that follow where the task has a button, a drawer or a door: position of what moves (3,), cosine and sine of
the angle of the whole about z, how far the part has moved along its way, and how fast it does."""
FIXTURE_SIZES = {"part_pos": 3, "fixture_yaw": 2, "travel": 1, "travel_rate": 1}

HOLE_UNITS: dict[str, str] = {"peg_pos": "m", "hole_pos": "m", "hole_yaw": "1"}
"""Groups that follow where the task has a peg and a hole: position of the peg's tip (3,) and of the middle of the
hole's rim (3,), cosine and sine of the hole's angle about z."""
HOLE_SIZES = {"peg_pos": 3, "hole_pos": 3, "hole_yaw": 2}


def observation_groups(n: int) -> dict[str, slice]:
    """Where each group stands in the observation of an arm with n joints.

    Args:
        n: number of joints.

    Returns:
        Slice of each group, in the order of `OBSERVATION_UNITS`.
    """
    groups: dict[str, slice] = {}
    start = 0
    for name in OBSERVATION_UNITS:
        size = 3 if name == "ee_pos" else n
        groups[name] = slice(start, start + size)
        start += size
    return groups


def object_groups(start: int) -> dict[str, slice]:
    """Where each group of an object stands.

    Args:
        start: first column, `observation_size(n)` behind an arm with n joints.

    Returns:
        Slice of each group, in the order of `OBJECT_UNITS`.
    """
    return groups_of(OBJECT_SIZES, start)


def groups_of(sizes: dict[str, int], start: int) -> dict[str, slice]:
    """Where groups stand that follow one another. Args: sizes: columns of each; start: first column."""
    groups: dict[str, slice] = {}
    for name, size in sizes.items():
        groups[name] = slice(start, start + size)
        start += size
    return groups


def target_groups(start: int) -> dict[str, slice]:
    """Where each group of a moving target stands. Args: start: first column."""
    return {name: slice(start + 3 * i, start + 3 * i + 3) for i, name in enumerate(TARGET_UNITS)}


def observation_tokens(n: int) -> dict[str, tuple[int, ...]]:
    """Columns of the observation that describe one physical thing: each joint, and the tool centre point.

    Args:
        n: number of joints.

    Returns:
        `joint1` .. `jointn` with the columns of (q, dq, q_error, ref_dq) of that joint, then `ee` with those of
        ee_pos. Every column stands in exactly one token.
    """
    groups = observation_groups(n)
    ee = groups.pop("ee_pos")
    tokens = {f"joint{i + 1}": tuple(group.start + i for group in groups.values()) for i in range(n)}
    return {**tokens, "ee": tuple(range(ee.start, ee.stop))}


def observation_size(n: int) -> int:
    """Length of the observation of an arm with n joints: 4 n + 3."""
    return 4 * n + 3


def arm_observation(
    q: FloatArray, dq: FloatArray, ref: JointReference, ee_pos: FloatArray
) -> NDArray[np.float32]:
    """Assemble the observation.

    Args:
        q: measured joint positions (..., n) [rad].
        dq: measured joint velocities (..., n) [rad/s].
        ref: reference at the same instant, (..., n).
        ee_pos: position of the tool centre point at q (..., 3) [m].

    Returns:
        New array (..., 4 n + 3), float32; for the layout see `observation_groups`.
    """
    parts = (q, dq, ref.q - q, ref.dq, ee_pos)
    return np.concatenate(parts, axis=-1, dtype=np.float32, casting="same_kind")


def object_observation(qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
    """Observation of an object that moves freely.

    Args:
        qpos: position and quaternion wxyz of the free joint (..., 7) [m].
        qvel: linear velocity in the base frame and angular velocity in the object's own (..., 6) [m/s, rad/s].

    Returns:
        New array (..., 9), float32; for the layout see `OBJECT_UNITS`. While an object lies on the side that points
        along x, its angle about z has no meaning.
    """
    # Column by column, and a single object in Python's numbers: the same bits in a seventh of the time.
    w, x, y, z = _columns(qpos[..., 3:])
    turn_x, turn_y, turn_z = _columns(qvel[..., 3:])
    # First column and third row of the rotation matrix: the x axis in the base frame, and what turns about z.
    cos, sin = 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z)
    length = np.maximum(np.sqrt(cos * cos + sin * sin), 1e-9)
    found = np.empty((*np.shape(qpos)[:-1], 9), dtype=np.float32)
    found[..., :3], found[..., 5:8] = qpos[..., :3], qvel[..., :3]
    found[..., 3], found[..., 4] = cos / length, sin / length
    found[..., 8] = (
        2.0 * (x * z - w * y) * turn_x + 2.0 * (y * z + w * x) * turn_y + (1.0 - 2.0 * (x * x + y * y)) * turn_z
    )
    return found


def _columns(values: FloatArray) -> Any:
    """Columns of an array (..., n): n arrays, or n numbers where there is only one row."""
    return values.tolist() if values.ndim == 1 else np.moveaxis(values, -1, 0)
