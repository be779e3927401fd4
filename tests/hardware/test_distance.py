"""Distances against a fine search over both bodies."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.chain import rotation
from hardware.geometry import segment_box, segment_segment, segment_wall


def search(p0, p1, distance_of_points) -> np.ndarray:
    """Smallest distance (n,) of points on segments (n, 3), found by looking closer and closer."""
    low, high = np.zeros(len(p0)), np.ones(len(p0))
    for _ in range(9):  # the distance is convex along a segment: the minimum is beside the best of a grid
        t = low + np.linspace(0.0, 1.0, 21)[:, None] * (high - low)
        d = distance_of_points(p0 + t[..., None] * (p1 - p0))
        best = d.argmin(axis=0)
        step = (high - low) / 20
        at = np.take_along_axis(t, best[None], 0)[0]
        low, high = np.maximum(at - step, 0.0), np.minimum(at + step, 1.0)
    return d.min(axis=0)


def to_segment(x, q0, q1):
    v = q1 - q0
    t = np.clip(((x - q0) * v).sum(-1) / np.maximum((v * v).sum(-1), 1e-300), 0.0, 1.0)
    return np.linalg.norm(x - q0 - t[..., None] * v, axis=-1)


def each(distance, *arrays) -> np.ndarray:
    return np.array([distance(*row) for row in zip(*arrays, strict=True)])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_segments(rng):
    p0, p1, q0, q1 = rng.normal(size=(4, 500, 3))
    q1[:100] = q0[:100] + 2.0 * (p1 - p0)[:100]  # parallel
    q1[100:150], p1[150:200] = q0[100:150], p0[150:200]  # points
    p1[200:220], q1[200:220] = p0[200:220], q0[200:220]
    q0[220:240] = p0[220:240] + 0.5 * (p1 - p0)[220:240]  # touching
    found = each(segment_segment, p0, p1, q0, q1)
    np.testing.assert_allclose(found, search(p0, p1, lambda x: to_segment(x, q0, q1)), atol=1e-6)
    np.testing.assert_allclose(found, each(segment_segment, q1, q0, p0, p1), atol=1e-9)
    assert (found[220:240] < 1e-12).all()


def test_segments_against_boxes(rng):
    p0, p1 = rng.normal(size=(2, 500, 3)) * 1.5
    p1[:50] = p0[:50]
    p1[50:150, :2] = p0[50:150, :2]  # along an axis
    half = rng.uniform(0.0, 1.0, (500, 3))
    pos, turn = rng.normal(size=(500, 3)), np.array([rotation(quat) for quat in rng.normal(size=(500, 4))])
    found = each(segment_box, *(pos + np.einsum("kij,kj->ki", turn, p) for p in (p0, p1)), pos, turn, half)
    expected = search(p0, p1, lambda x: np.linalg.norm(x - np.clip(x, -half, half), axis=-1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found < 1e-12).any() and (found > 0.5).any()


def test_segments_against_planes():
    up = np.array([0.0, 0.0, 1.0])
    p0, p1 = np.array([[0.0, 0.0, 1.0], [5.0, 0.0, 0.2]]), np.array([[0.0, 1.0, 3.0], [0.0, 0.0, -1.0]])
    found = [segment_wall(a, b, up, 0.5) for a, b in zip(p0, p1, strict=True)]
    np.testing.assert_allclose(found, [0.5, -1.5])
