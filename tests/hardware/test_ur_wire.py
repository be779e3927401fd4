"""Wire formats of Universal Robots: what goes in comes out, and rubbish ends in WireError and nothing else."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.wire import WireError, rtde, ur_primary
from hardware.wire.ur_models import DH_ALPHA, MODELS, find, rotation_vector

QUICK = settings(max_examples=200, deadline=None)

CONFIGURATION = ur_primary.Configuration(
    q_min=(-6.0, -5.0, -4.0, -3.0, -2.0, -1.0),
    q_max=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
    dq_max=(1.1, 1.2, 1.3, 1.4, 1.5, 1.6),
    ddq_max=(11.0, 12.0, 13.0, 14.0, 15.0, 16.0),
    dh_a=find("ur5e").dh_a,
    dh_d=find("ur5e").dh_d,
    dh_alpha=DH_ALPHA,
    robot_type=1,
    robot_sub_type=2,
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(rtde.TYPES)), st.binary(max_size=60)), max_size=8),
    st.lists(st.integers(0)),
)
@QUICK
def test_packages_survive_any_cutting_of_the_stream(packages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(rtde.pack(kind, payload) for kind, payload in packages)
    stream = rtde.Stream()
    assert [p for part in cut(data, cuts) for p in stream.feed(part)] == packages


@given(st.lists(st.sampled_from(sorted(rtde.FORMATS)), min_size=1, max_size=8), st.data())
@QUICK
def test_recipes_read_what_they_wrote(types: list[str], data: st.DataObject) -> None:
    recipe = rtde.Recipe([f"v{i}" for i in range(len(types))], types)
    bits = data.draw(st.binary(min_size=recipe.size, max_size=recipe.size))
    values = recipe.unpack(bits)
    again = recipe.unpack(recipe.pack(list(values.values())))
    for name, value in values.items():
        np.testing.assert_array_equal(again[name], value)  # NaN equals NaN here


def test_a_package_has_the_documented_bytes() -> None:
    assert rtde.pack(rtde.REQUEST_PROTOCOL_VERSION, struct.pack(">H", 2)) == b"\x00\x05V\x00\x02"
    assert rtde.parse_names(b"timestamp,actual_q,") == ["timestamp", "actual_q"]
    assert rtde.parse_outputs(struct.pack(">d", 125.0) + b"timestamp") == (125.0, ["timestamp"])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rtde.pack(rtde.DATA_PACKAGE, bytes(70_000)),
        lambda: rtde.parse_names(b"\xff"),
        lambda: rtde.parse_outputs(b"short"),
        lambda: rtde.parse_outputs(struct.pack(">d", float("nan"))),
        lambda: rtde.Recipe(["a"], []),
        lambda: rtde.Recipe(["a"], ["NOT_FOUND"]),
        lambda: rtde.Recipe(["a"], ["DOUBLE"]).unpack(b"1234"),
        lambda: rtde.unpack("H", b"1", "version"),
        lambda: ur_primary.parse_configuration(bytes(10)),
        lambda: ur_primary.parse_configuration(struct.pack(">d", float("inf")) + bytes(500)),
    ],
)
def test_what_does_not_fit_is_a_wire_error(wrong) -> None:
    with pytest.raises(WireError):
        wrong()


@given(st.lists(st.integers(0)))
@QUICK
def test_the_configuration_comes_back_whole(cuts: list[int]) -> None:
    stream = ur_primary.Stream()
    data = ur_primary.pack_configuration(CONFIGURATION)
    ((kind, payload),) = [m for part in cut(data, cuts) for m in stream.feed(part)]
    assert kind == ur_primary.ROBOT_STATE
    assert ur_primary.find_configuration(payload) == CONFIGURATION
    assert CONFIGURATION.family == "UR5"


def test_a_configuration_is_found_behind_other_packages_and_with_more_fields() -> None:
    other = ur_primary.HEADER.pack(9, 1) + b"xxxx"
    sub = ur_primary.pack_configuration(CONFIGURATION)[ur_primary.HEADER.size :]
    longer = ur_primary.HEADER.pack(len(sub) + 8, ur_primary.CONFIGURATION) + sub[ur_primary.HEADER.size :] + bytes(8)
    assert ur_primary.find_configuration(other + longer) == CONFIGURATION
    assert ur_primary.find_configuration(other) is None


def feed_rubbish(data: bytes) -> None:
    for stream in (rtde.Stream(), ur_primary.Stream()):
        with contextlib.suppress(WireError):
            list(stream.feed(data))
    for parse in (
        rtde.parse_names,
        rtde.parse_outputs,
        ur_primary.find_configuration,
        ur_primary.parse_configuration,
        rtde.Recipe(["a", "b"], ["VECTOR6D", "INT32"]).unpack,
    ):
        with contextlib.suppress(WireError):
            parse(data)


@given(st.binary(max_size=700))
@QUICK
def test_rubbish_is_refused(data: bytes) -> None:
    feed_rubbish(data)


@pytest.mark.slow
def test_a_million_hostile_pieces_are_refused_or_read() -> None:
    rng = random.Random(0)
    whole = [ur_primary.pack_configuration(CONFIGURATION), rtde.pack(rtde.SETUP_OUTPUTS, bytes(8) + b"timestamp,a")]
    for k in range(1_000_000):
        data = bytearray(whole[k % 2]) if k % 4 < 2 else bytearray(rng.randbytes(rng.randrange(120)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.randrange(len(data) + 1) :]
        feed_rubbish(bytes(data[rng.randrange(6) :]))


@given(st.binary(min_size=1, max_size=4), st.integers(0))
@QUICK
def test_damaged_configurations_are_refused_or_read(damage: bytes, at: int) -> None:
    data = bytearray(ur_primary.pack_configuration(CONFIGURATION))
    at %= len(data) - len(damage)
    data[at : at + len(damage)] = damage
    feed_rubbish(bytes(data[ur_primary.HEADER.size :]))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_geometry_agrees_with_mujoco(name: str) -> None:
    mujoco = pytest.importorskip("mujoco")
    from hardware.emulators.ur_arm import make_mjcf

    model = mujoco.MjModel.from_xml_string(make_mjcf(find(name)))
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for q in rng.uniform(-3.0, 3.0, (20, 6)):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        pose = find(name).forward(q)
        np.testing.assert_allclose(data.site("flange").xpos, pose[:3, 3], atol=1e-12)
        np.testing.assert_allclose(data.site("flange").xmat.reshape(3, 3), pose[:3, :3], atol=1e-12)


@given(st.tuples(*[st.floats(-3.0, 3.0)] * 3))
@QUICK
def test_rotation_vectors_turn_as_told(vector: tuple[float, float, float]) -> None:
    angle = float(np.linalg.norm(vector))
    if not 1e-3 < angle < np.pi - 1e-3:
        return
    x, y, z = np.array(vector) / angle
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * k @ k
    np.testing.assert_allclose(rotation_vector(rotation), vector, atol=1e-6)


def test_half_a_turn_and_none() -> None:
    np.testing.assert_allclose(np.abs(rotation_vector(np.diag([1.0, -1.0, -1.0]))), [np.pi, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(rotation_vector(np.eye(3)), 0.0)
    with pytest.raises(ValueError, match="known: ur3e, ur5e"):
        find("ur99")
