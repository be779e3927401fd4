"""The driver's side of the wire: the vendor's client with our deadlines, on answers of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware.drivers.dynamixel import registers as reg
from hardware.emulators.dynamixel.packets import ALERT, HEADER, frame, status
from hardware.errors import BridgeError, CommandRejected, DriverUnavailable, HardwareFault, TransportTimeout

sdk = pytest.importorskip("dynamixel_sdk")

from hardware.drivers.dynamixel import bus as bus_module  # noqa: E402
from hardware.drivers.dynamixel.bus import DynamixelBus  # noqa: E402
from hardware.drivers.dynamixel.port import PastDeadline  # noqa: E402


class Wire(sdk.PortHandler):
    """A port whose answers are made up beforehand; time stands still until they are used up."""

    def __init__(self, answer: bytes = b"", babbling: bool = False) -> None:
        super().__init__("made up")
        self.answer, self.babbling, self.sent, self.deadline, self.reads = answer, babbling, [], 0.0, 0

    def clearPort(self):
        pass

    def closePort(self):
        self.is_open = False

    def writePort(self, packet):
        self.sent.append(bytes(packet))
        return len(packet)

    def setPacketTimeout(self, packet_length):
        pass

    def isPacketTimeout(self):
        return not self.answer

    def readPort(self, length):
        self.reads += 1
        if self.babbling and self.reads > 1000:
            raise PastDeadline
        data, self.answer = self.answer[:length], self.answer[length:]
        return data + bytes(length - len(data)) if self.babbling else data


@pytest.fixture
def wired(monkeypatch):
    def wired(answer: bytes = b"", **kwargs) -> DynamixelBus:
        monkeypatch.setattr(bus_module, "open_port", lambda name, baudrate: Wire(answer, **kwargs))
        return DynamixelBus("made up", 1_000_000)

    return wired


data16 = st.binary(min_size=16, max_size=16) | st.lists(
    st.sampled_from([0xFF, 0xFD, 0x00]), min_size=16, max_size=16
).map(bytes)
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(data16, min_size=3, max_size=3), st.booleans())
def test_any_data_arrives_as_it_was_sent(wired, data, alert):
    """Also with patterns of byte stuffing one after another, which the vendor's client mixes up."""
    error = ALERT if alert else 0
    bus = wired(b"".join(status(id, error, part) for id, part in zip((3, 7, 12), data, strict=True)))
    answers = bus.sync_read((3, 7, 12), *reg.STATE, 0.0)
    assert [answers[id].data for id in (3, 7, 12)] == data
    assert all(answer.alert is alert and answer.error == 0 for answer in answers.values())


@quick
@given(st.binary(max_size=200), data16)
def test_noise_gives_an_error_of_ours_or_the_true_answer(wired, noise, data):
    bus = wired(noise + status(3, 0, data))
    try:
        answer = bus.sync_read((3,), *reg.STATE, 0.0)[3]
    except TransportTimeout:
        return
    assert answer.data == data


def hostile(rng: np.random.Generator, count: int):
    for _ in range(count):
        kind, wire = rng.integers(5), bytearray(status(3, int(rng.choice([0, 128])), rng.bytes(16)))
        if kind == 0:
            wire = bytearray(rng.bytes(int(rng.integers(0, 60))))
        elif kind == 1:
            wire[int(rng.integers(len(wire)))] ^= int(rng.integers(1, 256))
        elif kind == 2:
            wire = wire[: int(rng.integers(len(wire)))]
        elif kind == 3:
            wire = bytearray(frame(int(rng.integers(254)), int(rng.integers(256)), rng.bytes(int(rng.integers(20)))))
        else:
            wire = bytearray(status(3, int(rng.integers(256)), rng.bytes(int(rng.integers(40)))))
        yield bytes(wire)


def read_hostile(wired, count: int) -> int:
    bus, understood = wired(), 0
    for wire in hostile(np.random.default_rng(1), count):
        bus._port.answer = wire
        try:
            answer = bus.sync_read((3,), *reg.STATE, 0.0)[3]
        except TransportTimeout:
            continue
        assert answer.error or len(answer.data) == 16
        understood += 1
    return understood


def test_hostile_answers_do_no_harm(wired):
    assert read_hostile(wired, 2000) > 20


@pytest.mark.slow
def test_a_million_hostile_answers_do_no_harm(wired):
    assert read_hostile(wired, 1_000_000) > 10_000


def test_a_line_that_never_falls_silent_ends_at_the_deadline(wired):
    with pytest.raises(TransportTimeout, match="noise"):
        wired(babbling=True).sync_read((3,), *reg.STATE, 0.0)


def test_a_late_answer_to_another_question_is_passed_over(wired):
    late = status(3, 0, bytes(35)) + status(7, 0, bytes(16))
    bus = wired(late + status(3, 0, b"\x05" * 16))
    assert bus.sync_read((3,), *reg.STATE, 0.0)[3].data == b"\x05" * 16


def test_what_the_servo_refuses_is_said_in_words(wired):
    with pytest.raises(HardwareFault, match=r"refuses to write 4 to Operating Mode \(11\): .* the torque is on"):
        wired(status(3, 7)).set(3, reg.OPERATING_MODE, 4)
    with pytest.raises(HardwareFault, match="out of range"):
        wired(status(3, 4)).get(3, reg.DRIVE_MODE)
    with pytest.raises(HardwareFault, match="error 99"):
        wired(status(3, 99)).set(3, reg.DRIVE_MODE, 4)


def test_one_lost_confirmation_is_asked_for_again(wired):
    bus = wired()
    with pytest.raises(TransportTimeout, match=r"servo 3 on 'made up'.*no status packet"):
        bus.get(3, reg.DRIVE_MODE)
    assert len(bus._port.sent) == bus_module.TRIES


def test_negative_numbers_and_pings(wired):
    assert wired(status(3, 0, b"\xfe\xff\xff\xff")).get(3, reg.PRESENT_POSITION, signed=True) == -2
    assert wired(status(3, 0, b"\xfc\x03\x2e")).ping(3) == (1020, 46)
    assert bus_module.scan(wired(status(3, 0, b"\xfc\x03\x2e")), [3, 4]) == {3: (1020, 46)}


def test_what_the_client_cannot_send_is_refused(wired):
    bus = wired()
    value = int.from_bytes(HEADER + b"\xff", "little", signed=True)
    for send in (lambda: bus.sync_write(reg.GOAL_POSITION, {3: value}), lambda: bus.set(3, reg.GOAL_POSITION, value)):
        with pytest.raises(CommandRejected, match="32 turns"):
            send()
    assert not bus._port.sent


def test_a_port_that_takes_no_bytes_is_a_lost_packet(wired, monkeypatch):
    bus = wired()
    monkeypatch.setattr(Wire, "writePort", lambda self, packet: 0)
    with pytest.raises(TransportTimeout, match="Failed transmit"):
        bus.sync_write(reg.GOAL_POSITION, {3: 5})


def test_a_closed_bus_says_so(wired):
    bus = wired()
    bus.close()
    bus.close()
    with pytest.raises(BridgeError, match="not open"):
        bus.sync_read((3,), *reg.STATE, 0.0)


def test_without_the_vendors_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dynamixel_sdk", None)
    with pytest.raises(DriverUnavailable, match=r"loopwm-robot\[dynamixel\]"):
        DynamixelBus("made up", 1_000_000)


def test_words_for_hardware_errors():
    assert reg.hardware_error_text(0x24) == "overheated, overload"
    assert reg.hardware_error_text(0x42) == "unknown bits 0x42"
