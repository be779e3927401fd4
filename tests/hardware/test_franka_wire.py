"""Franka's wire formats: what goes in comes out, sizes are the vendor's, and rubbish ends in WireError alone."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.emulators.franka import Controller, FrankaArm
from hardware.emulators.franka.controller import known
from hardware.emulators.franka.gripper import Gripper
from hardware.wire import WireError, franka, franka_models, franka_udp
from hardware.wire.franka import Command, Control, Fault, Generator, RobotMode
from hardware.wire.franka_models import MODELS, find, parse_urdf
from hardware.wire.franka_udp import SetPoint

QUICK = settings(max_examples=100, deadline=None)
FR3 = MODELS["fr3"]
HOME = np.array(FR3.home)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.fixture(scope="module")
def controller() -> Controller:
    return Controller(FrankaArm(FR3), FR3)


# Messages
# ----------------------------------------------------------------------------------------------------------------

U32 = st.integers(0, 2**32 - 1)
U16 = st.integers(0, 2**16 - 1)


@given(st.lists(st.tuples(U16, U32, st.binary(max_size=60)), max_size=8), st.lists(st.integers(0)), st.booleans())
@QUICK
def test_messages_survive_any_cutting_of_the_stream(messages, cuts, gripper):
    header = franka.GRIPPER_HEADER if gripper else franka.ROBOT_HEADER
    data = b"".join(franka.pack_message(*message, header) for message in messages)
    stream = franka.Stream(header)
    assert [m for part in cut(data, cuts) for m in stream.feed(part)] == messages


@given(st.integers(0, 2**64 - 1), st.lists(st.floats(-10, 10), min_size=14, max_size=14), st.booleans())
@QUICK
def test_setpoints_read_what_they_wrote(time_ms, numbers, finished):
    setpoint = SetPoint(time_ms, tuple(numbers[:7]), tuple(numbers[7:]), finished)
    assert franka_udp.parse_setpoint(franka_udp.pack_setpoint(setpoint)) == setpoint


@given(st.sampled_from(Generator), st.sampled_from(Control), st.none() | st.tuples(*[st.floats(-10, 10)] * 7))
@QUICK
def test_moves_read_what_they_wrote(generator, control, speeds):
    if generator is not Generator.IDLE:
        move = franka.Move(generator, control, speeds)
        assert franka.parse_move(franka.pack_move(move)) == move


def test_sizes_and_places_are_those_of_the_vendors_client():
    # Taken from the packets of franky 2.0.0: its Connect and its set-points.
    connect = bytes.fromhex("0000000000000000100000000a0066b0")
    (message,) = franka.Stream().feed(connect)
    assert message[:2] == (Command.CONNECT, 0)
    assert struct.unpack("<HH", message[2]) == (franka.ROBOT_VERSION, 0xB066)
    assert len(franka_udp.pack_setpoint(SetPoint(1, (0.0,) * 7, (0.0,) * 7, False))) == 371
    q = np.arange(7.0)
    state = franka_udp.pack_state(
        7,
        {"q": q},
        (Generator.JOINT_VELOCITY, Control.JOINT_IMPEDANCE, RobotMode.MOVE),
        (frozenset({Fault.JOINT_REFLEX}), frozenset()),
    )
    assert len(state) == franka_udp.STATE_SIZE == 1377
    place = dict(itertools.pairwise([n for n, _ in franka_udp.STATE_FIELDS]))
    assert place["dtau_J"] == "q" and place["q"] == "q_d"
    start = 8 + 4 * sum(n for name, n in itertools.takewhile(lambda f: f[0] != "q", franka_udp.STATE_FIELDS))
    np.testing.assert_array_equal(np.frombuffer(state, "<f4", 7, start), q)
    assert struct.unpack_from("<Q", state) == (7,)
    assert state[-89:-87] == bytes((2, 0)) and state[-87 + 6] == 1 and state[-5] == RobotMode.MOVE


WRONG = [
    lambda: list(franka.Stream().feed(struct.pack("<III", 0, 0, 5))),
    lambda: list(franka.Stream().feed(struct.pack("<III", 0, 0, 1 << 30))),
    lambda: franka_udp.parse_setpoint(bytes(10)),
    lambda: franka_udp.parse_setpoint(b"\xff" * 371),
    lambda: franka.parse_move(struct.pack("<II", 9, 1) + bytes(105)),
    lambda: franka.parse_move(b"short"),
    lambda: franka.unpack("2d", struct.pack("<2d", 1.0, float("nan")), "pair"),
    lambda: known(99),
    lambda: Gripper().handle(9, 0, b""),
    lambda: Gripper().handle(franka.GripperCommand.MOVE, 0, struct.pack("<dd", float("nan"), 0.1)),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_follow_the_protocol_is_refused(wrong):
    with pytest.raises(WireError):
        wrong()


def feed_rubbish(controller: Controller, data: bytes) -> None:
    """What the sockets do with bytes: nothing but WireError may come of it."""
    with contextlib.suppress(WireError):
        for command, number, payload in franka.Stream().feed(data):
            controller.handle(known(command), number, payload)
    with contextlib.suppress(WireError):
        controller.tick(franka_udp.parse_setpoint(data[:371]))
    gripper = Gripper()
    with contextlib.suppress(WireError):
        for command, number, payload in franka.Stream(franka.GRIPPER_HEADER).feed(data):
            gripper.handle(command, number, payload)
            gripper.step(0.1)
    with contextlib.suppress(WireError):
        parse_urdf(data.decode("latin-1"))


MESSAGE = st.builds(franka.pack_message, st.integers(0, 13), U32, st.binary(max_size=450))
RUBBISH = st.one_of(st.binary(max_size=400), MESSAGE, st.binary(min_size=371, max_size=371))


@given(RUBBISH)
@QUICK
def test_rubbish_ends_in_wire_errors_alone(controller, data):
    feed_rubbish(controller, data)


MOVE = franka.Move(Generator.JOINT_VELOCITY, Control.JOINT_IMPEDANCE)
WHOLE = [
    franka.pack_message(Command.CONNECT, 0, struct.pack("<HH", franka.ROBOT_VERSION, 0xB066)),
    franka.pack_message(Command.MOVE, 1, franka.pack_move(MOVE)),
    franka_udp.pack_setpoint(SetPoint(1, HOME.tolist(), (0.0,) * 7, False)),
    franka.pack_message(franka.GripperCommand.MOVE, 2, struct.pack("<dd", 0.04, 0.1), franka.GRIPPER_HEADER),
    FR3.urdf()[:3000].encode(),
]


@pytest.mark.slow
def test_a_million_hostile_pieces_end_in_wire_errors_alone(controller):
    rng = random.Random(0)
    for k in range(1_000_000):
        data = bytearray(WHOLE[k % 5] if k % 10 < 5 else rng.randbytes(rng.randrange(400)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data) + 1) :]
        feed_rubbish(controller, bytes(data))
        controller.replies.clear()
        controller.notes.clear()


# The arm's description
# ----------------------------------------------------------------------------------------------------------------


def test_the_description_says_what_the_model_has():
    found = parse_urdf(FR3.urdf())
    np.testing.assert_array_equal(found.q_min, FR3.q_min)
    np.testing.assert_array_equal(found.dq_max, FR3.dq_max)
    np.testing.assert_array_equal(found.origins, FR3.origins)
    np.testing.assert_allclose(found.rolls, FR3.rolls)
    assert found.name == "fr3" and len(found.joint_names) == 7


def test_speeds_shrink_towards_the_ends():
    found = parse_urdf(FR3.urdf())
    middle = 0.5 * (found.q_min + found.q_max)
    low, high = found.speeds(middle)
    assert (low < 0).all() and (high > 0).all() and (high <= found.dq_max).all()
    np.testing.assert_array_equal(found.speeds(found.q_max)[1], 0.0)
    np.testing.assert_array_equal(found.speeds(found.q_min)[0], 0.0)
    # By hand, 0.5 rad before the upper end of joint 2: sqrt(2 * 2.585 * 0.5) - 0.25.
    q = middle.copy()
    q[1] = found.q_max[1] - 0.5
    assert found.speeds(q)[1][1] == pytest.approx(1.3578, abs=1e-4)


def test_the_flange_is_where_the_vendor_says():
    # The ready pose: franka_ros, franka_gazebo: 0.307 m before and 0.590 m above the base, looking down.
    pose = FR3.forward(HOME)
    np.testing.assert_allclose(pose[:3, 3], [0.3069, 0.0, 0.5903], atol=1e-4)
    np.testing.assert_allclose(pose[:3, 2], [0.0, 0.0, -1.0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:500], "cannot be read"),
        (lambda text: "<!DOCTYPE x>" + text, "without declarations"),
        (lambda text: text.replace('type="revolute"', 'type="fixed"', 1), "6 revolute joints"),
        (lambda text: text.replace('lower="-2.9007"', "", 1), "no limit lower"),
        (lambda text: text.replace('lower="-2.9007"', 'lower="nan"', 1), "joint limits"),
        (lambda text: text.replace('lower="-2.9007"', 'lower="3"', 1), "joint limits"),
        (lambda text: text.replace('lower="-2.9007"', 'lower="x"', 1), "cannot be read"),
    ],
)
def test_a_wrong_description_is_refused(change, words):
    with pytest.raises(WireError, match=words):
        parse_urdf(change(FR3.urdf()))


def test_an_unknown_model_names_the_known():
    with pytest.raises(ValueError, match="known: fr3"):
        find("fr9")
    assert franka_models.N == 7
