"""How late and how well one motion follows another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LATEST_S, RESOLUTION_S = 0.3, 0.001
"""Delays that are looked at: up to so late, or early, in steps of so much [s]."""
STILL_RAD = 0.01
"""A motion within less has no delay that could be seen."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Following:
    """The best delay and what is left then.

    Attributes:
        delay: by which the second motion is late [s].
        rms: root mean square over time and joints [rad].
        greatest: over time and joints [rad].
    """

    delay: float
    rms: float
    greatest: float


def follow(t: Float64, q: Float64, later_t: Float64, later_q: Float64) -> Following:
    """Compare two motions at the delay with the least root mean square.

    Args:
        t: times of the first (T,), increasing [s].
        q: its positions (T, n) [rad].
        later_t: times of the second (S,), not decreasing [s].
        later_q: its positions (S, n) [rad].

    Raises:
        ValueError: they stand still, or are not long enough to be moved against each other.
    """
    fresh = np.concatenate([[True], np.diff(later_t) > 0.0])  # a measurement that was read twice
    later_t, later_q = later_t[fresh], later_q[fresh]
    inside = (later_t >= t[0] + LATEST_S) & (later_t <= t[-1] - LATEST_S)
    if not inside.any():
        raise ValueError(f"the motions overlap too little, allowed more than {2 * LATEST_S:g} s; record longer")
    later_t, later_q = later_t[inside], later_q[inside]
    if np.ptp(later_q, axis=0).max() < STILL_RAD:
        raise ValueError(f"the motion stays within {STILL_RAD:g} rad, allowed more; move the arm")

    def error(delay: float) -> Float64:
        moved = np.stack([np.interp(later_t - delay, t, q[:, i]) for i in range(q.shape[1])], axis=1)
        return np.asarray(later_q - moved)

    def rms(step: int) -> float:
        return float(np.sqrt(np.mean(error(step * RESOLUTION_S) ** 2)))

    last = round(LATEST_S / RESOLUTION_S)
    coarse = min(range(-last, last + 1, 10), key=rms)
    best = min(range(max(coarse - 10, -last), min(coarse + 10, last) + 1), key=rms)
    left = error(best * RESOLUTION_S)
    return Following(best * RESOLUTION_S, float(np.sqrt(np.mean(left**2))), float(np.abs(left).max()))
