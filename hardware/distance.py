"""Exact distances of line segments to segments, boxes and planes, for many at once."""

from __future__ import annotations

import numpy as np

from .interface import Array

_TINY = 1e-12
"""Squared length below which a segment is a point [m^2]."""


def segment_segment(p0: Array, p1: Array, q0: Array, q1: Array) -> Array:
    """Distance between two segments.

    The squared distance is convex in both parameters: the free minimum of the lines is clamped to the first
    segment, the second follows and is clamped, then the first follows once more.

    Args:
        p0: start of the first (..., 3) [m].
        p1: its end.
        q0: start of the second (..., 3) [m].
        q1: its end.

    Returns:
        distance (...) [m].
    """
    u, v, w = p1 - p0, q1 - q0, p0 - q0
    a, b, e = _dot(u, u), _dot(u, v), _dot(v, v)
    c, f = _dot(u, w), _dot(v, w)
    a_safe, e_safe = np.maximum(a, _TINY), np.maximum(e, _TINY)
    det = a * e - b * b
    # Parallel: every s is as good, and the last step puts it right.
    s = np.where(det > 1e-9 * a * e, (b * f - c * e) / np.where(det > 0.0, det, 1.0), 0.0)
    s = np.minimum(np.maximum(s, 0.0), 1.0)
    t = np.minimum(np.maximum((b * s + f) / e_safe, 0.0), 1.0)
    s = np.minimum(np.maximum((b * t - c) / a_safe, 0.0), 1.0)
    gap = w + s[..., None] * u - t[..., None] * v
    return np.asarray(np.sqrt(_dot(gap, gap)))


def segment_box(p0: Array, p1: Array, half: Array) -> Array:
    """Distance of a segment to a box around the origin, 0 inside.

    The squared distance is convex and piecewise quadratic in t in [0, 1]; its slope is linear between the
    crossings of the six faces' planes, so that its zero is found exactly.

    Args:
        p0: start (..., 3) [m], in the frame of the box.
        p1: end (..., 3) [m].
        half: half edges (..., 3) [m].

    Returns:
        distance (...) [m].
    """
    u = p1 - p0
    still = np.abs(u) <= 1e-12
    inverse = 1.0 / np.where(still, 1.0, u)
    t = np.empty((*u.shape[:-1], 8))
    t[..., 0], t[..., 7] = 0.0, 1.0
    for columns, face in ((slice(1, 4), half), (slice(4, 7), -half)):
        crossing = (face - p0) * inverse
        t[..., columns] = np.where(still, 0.0, np.minimum(np.maximum(crossing, 0.0), 1.0))
    t.sort(axis=-1)
    at = p0[..., None, :] + t[..., None] * u[..., None, :]  # (..., 8, 3)
    edge = half[..., None, :]
    slope = _dot(at - np.minimum(np.maximum(at, -edge), edge), u[..., None, :])
    # The slope rises: the way to its zero is all of the pieces below it, and a share of the one that holds it.
    rise = np.maximum(slope[..., 1:] - slope[..., :-1], 1e-300)
    share = np.minimum(np.maximum(-slope[..., :-1] / rise, 0.0), 1.0)
    best = np.einsum("...i,...i->...", share, t[..., 1:] - t[..., :-1])
    nearest = p0 + best[..., None] * u
    gap = nearest - np.minimum(np.maximum(nearest, -half), half)
    return np.asarray(np.sqrt(_dot(gap, gap)))


def segment_plane(p0: Array, p1: Array, normal: Array, offset: Array) -> Array:
    """Signed distance of a segment to a plane (...) [m], negative behind it.

    Args:
        p0: start (..., 3) [m].
        p1: end (..., 3) [m].
        normal: of length 1 (..., 3).
        offset: of the plane along its normal (...) [m].
    """
    return np.asarray(np.minimum(_dot(p0, normal), _dot(p1, normal)) - offset)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("...i,...i->...", a, b))
