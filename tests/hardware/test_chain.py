"""A chain's frames, and the bound on how far a joint moves a body."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.chain import Body, Chain, ChainJoint
from hardware.errors import LimitsMismatch, ShapeMismatch

PLANAR = Chain(
    joints=(
        ChainJoint("a", (0.0, 0.0, 0.2)),
        ChainJoint("b", (0.5, 0.0, 0.0)),
        ChainJoint("c", (0.3, 0.0, 0.0), axis=(0.0, 0.0, 2.0)),
    ),
    bodies=(Body("tcp", 3, (0.1, 0.0, 0.0), (0.1, 0.0, 0.0)), Body("base", 0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.1), 0.05)),
)


def random_chain(rng: np.random.Generator, n: int = 5) -> Chain:
    joints = tuple(
        ChainJoint(f"j{i}", tuple(rng.normal(0, 0.3, 3)), tuple(rng.normal(size=4)), tuple(rng.normal(size=3)))
        for i in range(n)
    )
    bodies = tuple(
        Body(f"b{i}", int(rng.integers(0, n + 1)), tuple(rng.normal(0, 0.2, 3)), tuple(rng.normal(0, 0.2, 3)), 0.03)
        for i in range(8)
    )
    return Chain(joints, bodies, (("b0", "b1"),))


def test_a_planar_arm_is_where_geometry_says():
    q = np.random.default_rng(0).uniform(-3, 3, (50, 3))
    angle = np.cumsum(q, axis=1)
    x = 0.5 * np.cos(angle[:, 0]) + 0.3 * np.cos(angle[:, 1]) + 0.1 * np.cos(angle[:, 2])
    y = 0.5 * np.sin(angle[:, 0]) + 0.3 * np.sin(angle[:, 1]) + 0.1 * np.sin(angle[:, 2])
    ends = PLANAR.ends(q)
    np.testing.assert_allclose(ends[:, 0, 0], np.stack([x, y, np.full(50, 0.2)], 1), atol=1e-12)
    np.testing.assert_array_equal(ends[:, 1], np.broadcast_to([[0, 0, 0], [0, 0, 0.1]], (50, 2, 3)))
    np.testing.assert_allclose(PLANAR.reach(), [[0.9, 0.4, 0.1], [0.0, 0.0, 0.0]], atol=1e-12)


def test_leading_axes_are_independent_arms():
    q = np.random.default_rng(1).uniform(-3, 3, (4, 2, 3))
    many = PLANAR.ends(q)
    for i in np.ndindex(4, 2):
        np.testing.assert_allclose(many[i], PLANAR.ends(q[i]), atol=1e-15)


def test_no_motion_of_the_joints_moves_a_body_further_than_the_bound():
    rng = np.random.default_rng(2)
    for _ in range(20):
        chain = random_chain(rng)
        q = rng.uniform(-3, 3, (200, chain.n))
        change = rng.normal(0, 0.5, (200, chain.n)) * (rng.random((200, chain.n)) < 0.5)
        moved = np.linalg.norm(chain.ends(q + change) - chain.ends(q), axis=-1).max(axis=-1)
        assert (moved <= np.abs(change) @ chain.reach().T + 1e-12).all()


def test_the_bound_is_exact_on_a_joint_s_own_link():
    reach, moved = PLANAR.reach()[0], []
    for j in range(3):
        a, b = np.zeros((2, 3))
        b[j] = 1e-6
        moved.append(np.linalg.norm(PLANAR.ends(b)[0, 0] - PLANAR.ends(a)[0, 0]) * 1e6)
    np.testing.assert_allclose(moved, reach, rtol=1e-6)


def test_a_chain_survives_the_trip_through_plain_data():
    chain = random_chain(np.random.default_rng(3))
    assert Chain.from_mapping(chain.to_mapping()) == chain


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "no joints"),
        ({"links": []}, "keys links are unknown"),
        ({"joints": [{"name": "a"}]}, "pos"),
        ({"joints": [{"name": "a", "pos": [0, 0, 0], "angle": 1}]}, "keys angle are unknown"),
        ({"joints": [{"name": "a", "pos": [0, 0, float("nan")]}]}, "non-finite"),
        ({"joints": [{"name": "a", "pos": [0, 0, 0], "axis": [0, 0, 0]}]}, "length 0"),
    ],
)
def test_a_malformed_chain_is_refused(data, text):
    with pytest.raises(LimitsMismatch, match=text):
        Chain.from_mapping(data)


@pytest.mark.parametrize(
    ("bodies", "pairs", "text"),
    [
        ([Body("a", 4, (0, 0, 0), (0, 0, 0))], (), "allowed frames 0 to 3"),
        ([Body("a", 1, (0, 0, 0), (0, 0, 0), -1.0)], (), "at least 0 m"),
        ([Body("a", 1, (0, 0, 0), (0, 0, 0))] * 2, (), "only once"),
        ([Body("a", 1, (0, 0, 0), (0, 0, 0))], (("a", "hand"),), "no body or point 'hand'; known: a"),
    ],
)
def test_wrong_bodies_are_refused(bodies, pairs, text):
    with pytest.raises(LimitsMismatch, match=text):
        Chain(PLANAR.joints, tuple(bodies), pairs)


def test_a_pose_of_another_arm_is_refused():
    with pytest.raises(ShapeMismatch, match="expected"):
        PLANAR.ends([0.0, 0.0])
