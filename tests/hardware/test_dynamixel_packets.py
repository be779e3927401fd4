"""Frames of Protocol 2.0: the manual's own examples, and whatever else may come down a wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import FakeClock
from hardware.conformance.dynamixel_rig import emulated_arm
from hardware.emulators.dynamixel import Mounting, ServoArm
from hardware.emulators.dynamixel import packets as dxl
from hardware.emulators.dynamixel.bus import Bus
from hardware.emulators.dynamixel.packets import Parser, crc16, fast_status, frame, status, stuff, unstuff

# https://emanual.robotis.com/docs/en/dxl/protocol2/, the examples of each instruction.
MANUAL = [
    (frame(1, dxl.PING), "FF FF FD 00 01 03 00 01 19 4E"),
    (frame(0xFE, dxl.PING), "FF FF FD 00 FE 03 00 01 31 42"),
    (status(1, 0, bytes([0x06, 0x04, 0x26])), "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D"),
    (frame(1, dxl.READ, bytes([0x84, 0, 4, 0])), "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15"),
    (status(1, 0, bytes([0xA6, 0, 0, 0])), "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0"),
    (frame(1, dxl.WRITE, bytes([0x74, 0, 0, 2, 0, 0])), "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89"),
    (status(1, 0), "FF FF FD 00 01 04 00 55 00 A1 0C"),
    (frame(1, dxl.REG_WRITE, bytes([0x68, 0, 0xC8, 0, 0, 0])), "FF FF FD 00 01 09 00 04 68 00 C8 00 00 00 AE 8E"),
    (frame(1, dxl.ACTION), "FF FF FD 00 01 03 00 05 02 CE"),
    (frame(1, dxl.FACTORY_RESET, b"\x01"), "FF FF FD 00 01 04 00 06 01 A1 E6"),
    (frame(1, dxl.REBOOT), "FF FF FD 00 01 03 00 08 2F 4E"),
    (frame(1, dxl.CLEAR, b"\x01DXL\x22"), "FF FF FD 00 01 08 00 10 01 44 58 4C 22 B1 DC"),
    (frame(0xFE, dxl.SYNC_READ, bytes([0x84, 0, 4, 0, 1, 2])), "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA"),
    (
        frame(0xFE, dxl.SYNC_WRITE, bytes([0x74, 0, 4, 0, 1, 0x96, 0, 0, 0, 2, 0xAA, 0, 0, 0])),
        "FF FF FD 00 FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87",
    ),
    (
        frame(0xFE, dxl.BULK_READ, bytes([1, 0x90, 0, 2, 0, 2, 0x92, 0, 1, 0])),
        "FF FF FD 00 FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05",
    ),
]

params = st.binary(max_size=64) | st.lists(st.sampled_from([0xFF, 0xFD, 0x00]), max_size=40).map(bytes)
ids = st.integers(0, dxl.MAX_ID) | st.just(dxl.BROADCAST)
instructions = st.integers(0, 255)


@pytest.mark.parametrize(("ours", "manual"), MANUAL, ids=[text[12:30] for _, text in MANUAL])
def test_frames_are_those_of_the_manual(ours, manual):
    assert ours == bytes.fromhex(manual)


def test_crc_of_nothing_and_in_pieces():
    assert crc16(b"") == 0
    data = bytes(range(200))
    assert crc16(data[77:], crc16(data[:77])) == crc16(data)


def test_fast_status_carries_the_crc_of_each_servo():
    packet = fast_status([(3, 0, b"\x01\x02"), (7, 0x80, b"\x03\x04")])
    assert packet[:8] == bytes.fromhex("FF FF FD 00 FE 0D 00 55") and len(packet) == 7 + 13
    assert packet[8:12] == b"\x00\x03\x01\x02" and packet[14:18] == b"\x80\x07\x03\x04"
    assert int.from_bytes(packet[12:14], "little") == crc16(packet[:12])
    assert int.from_bytes(packet[18:], "little") == crc16(packet[:18])


@given(params)
def test_stuffing_leaves_no_header_and_is_undone(data):
    stuffed = stuff(data)
    assert unstuff(stuffed) == data
    at = stuffed.find(dxl.HEADER)
    while at >= 0:
        assert stuffed[at + 3 : at + 4] == b"\xfd"
        at = stuffed.find(dxl.HEADER, at + 1)


@given(ids, instructions, params, st.data())
def test_a_frame_survives_any_split(id, instruction, data, draw):
    wire = frame(id, instruction, data) * 2
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    parser, found = Parser(), []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += parser.feed(wire[begin:end], 0.0)
    assert [(p.id, p.instruction, p.params, p.intact) for p in found] == [(id, instruction, data, True)] * 2


@given(st.binary(max_size=300), ids, params)
def test_after_any_noise_and_a_pause_a_frame_is_understood(noise, id, data):
    parser = Parser()
    parser.feed(noise, 0.0)
    assert parser.pending <= dxl.MAX_LENGTH + 7
    found = parser.feed(frame(id, dxl.WRITE, data), 1.0)
    assert found and (found[-1].id, found[-1].params, found[-1].intact) == (id, data, True)


@given(ids, params, st.integers(0, 10_000), st.integers(1, 255))
def test_one_damaged_byte_is_noticed(id, data, at, change):
    wire = bytearray(frame(id, dxl.WRITE, data))
    wire[at % len(wire)] ^= change
    assert not any(packet.intact for packet in Parser().feed(bytes(wire), 0.0))


@given(ids, params.filter(lambda data: dxl.HEADER not in data))
def test_the_vendors_client_speaks_the_same(id, data):
    """Without byte stuffing, that is: dynamixel-sdk 4.1 forgets it when it sends."""
    sdk = pytest.importorskip("dynamixel_sdk")
    written = []

    class Port:
        is_using = False
        clearPort = staticmethod(lambda: None)
        writePort = staticmethod(lambda packet: written.append(bytes(packet)) or len(packet))

    packet = [0] * (10 + len(data))
    packet[4], packet[5], packet[6], packet[7] = id, (len(data) + 3) & 0xFF, (len(data) + 3) >> 8, dxl.WRITE
    packet[8 : 8 + len(data)] = data
    assert sdk.PacketHandler(2.0).txPacket(Port, packet) == sdk.COMM_SUCCESS
    assert written == [frame(id, dxl.WRITE, data)]


def make_bus() -> tuple[Bus, FakeClock]:
    clock, arm = FakeClock(10.0), emulated_arm()
    mountings = [Mounting.from_mapping(servo) for servo in arm["servos"]]
    return Bus(ServoArm(arm["mjcf_path"], mountings, clock, arm["home"])), clock


@pytest.fixture(scope="module")
def bus() -> Bus:
    return make_bus()[0]


@settings(max_examples=300, deadline=None)
@given(ids | st.sampled_from([3, 7, 12]), instructions | st.sampled_from([*range(1, 9), 130, 131, 146, 147]), params)
def test_the_bus_answers_any_instruction_with_frames(bus, id, instruction, data):
    for answer in bus.handle(dxl.Packet(id, instruction, data), 10.0):
        (packet,) = Parser().feed(answer, 0.0)
        assert packet.intact and packet.instruction == dxl.STATUS


def hostile(rng: np.random.Generator, count: int):
    """Noise, frames of chance, and true frames with a byte changed, cut off or glued together."""
    real = [wire for wire, _ in MANUAL]
    for _ in range(count):
        kind = rng.integers(5)
        if kind == 0:
            yield rng.bytes(int(rng.integers(1, 40)))
        elif kind == 1:
            yield frame(int(rng.choice([3, 7, 12, 0xFE])), int(rng.integers(256)), rng.bytes(int(rng.integers(0, 24))))
        else:
            wire = bytearray(real[int(rng.integers(len(real)))])
            if kind == 2:
                wire[int(rng.integers(len(wire)))] ^= int(rng.integers(1, 256))
            elif kind == 3:
                wire = wire[: int(rng.integers(1, len(wire)))]
            else:
                wire += real[int(rng.integers(len(real)))]
            yield bytes(wire)


def feed_hostile(count: int) -> int:
    bus, clock = make_bus()
    parser, packets = Parser(), 0
    for wire in hostile(np.random.default_rng(0), count):
        clock.advance(1e-4)
        for packet in parser.feed(wire, clock.now()):
            packets += 1
            for answer in bus.handle(packet, clock.now()):
                assert answer.startswith(dxl.HEADER)
        assert parser.pending <= dxl.MAX_LENGTH + 7
        if packets % 100 == 0:
            bus.arm.advance()
    return packets


def test_hostile_input_does_no_harm():
    assert feed_hostile(3000) > 1500


@pytest.mark.slow
def test_a_million_hostile_inputs_do_no_harm():
    assert feed_hostile(1_000_000) > 500_000
