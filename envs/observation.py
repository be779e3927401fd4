"""What an observation vector means: one layout for the simulated and the real arm."""

from __future__ import annotations

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
