"""Shared memory: the latest wins, no torn reads, nothing left behind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hardware import BridgeConfig, DriverSpec
from hardware.errors import ControlProcessError
from hardware.interface import ArmPlan
from hardware.memory import BridgeMemory, BridgeSpec, Command, MemorySinkShared, Word
from hardware.records import Event
from hardware.shm import Ring, Segment, Slot, process_alive, remove_leftovers, segment_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def segment():
    segment = Segment.create(1 << 20)
    yield segment
    segment.close()
    segment.unlink()


def test_memory_that_cannot_be_had_is_refused_and_leaves_nothing():
    """The kernel refuses files beyond a size, as it does on a full /dev/shm."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), set(segment_folder().glob("loopwm-bridge-*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(ControlProcessError, match=r"cannot map 1048576 bytes .*free some memory"):
            Segment.create(1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    mine = f"loopwm-bridge-{os.getpid()}-"
    assert {path for path in segment_folder().glob(f"{mine}*")} <= before


def gone_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_slot_holds_the_latest(segment):
    slot = Slot(segment, 0, 100)
    assert slot.read() is None and slot.version == 0
    slot.write(b"one")
    slot.write(b"three")
    assert slot.read() == b"three" and slot.version == 4
    with pytest.raises(ValueError, match="101 bytes do not fit into a slot of 100"):
        slot.write(b"x" * 101)


def test_a_slot_whose_writer_died_is_silent_until_the_next_write(segment):
    slot = Slot(segment, 0, 100)
    slot.write(b"good")
    slot._counter[0] += 1  # killed between the two counter updates
    slot._payload[:2] = b"xx"
    assert slot.read(patience_s=0.0) is None and slot.read(patience_s=0.01) is None
    slot.write(b"new")
    assert slot.read() == b"new" and slot.version % 2 == 0


def test_a_writer_that_is_held_up_half_way_is_waited_for(segment):
    """A virtual machine stops a process for milliseconds, wherever it is."""
    slot = Slot(segment, 0, 100)
    slot.write(b"good")
    slot._counter[0] += 1
    resumed = threading.Timer(0.05, slot.write, (b"new",))
    resumed.start()
    assert slot.read(patience_s=0.0) is None
    assert slot.read() == b"new"
    resumed.join()


def test_a_damaged_block_is_never_returned(segment):
    slot = Slot(segment, 0, 100)
    slot.write(b"good")
    slot._payload[0:1] = b"x"
    assert slot.read() is None


def test_ring_keeps_order_and_tells_what_was_lost(segment):
    ring = Ring(segment, 0, 8, 4)
    blocks, cursor, lost = ring.read(0)
    assert (blocks, cursor, lost) == ([], 0, 0)
    for i in range(3):
        ring.push(i.to_bytes(8, "little"))
    blocks, cursor, lost = ring.read(0)
    assert [int.from_bytes(b, "little") for b in blocks] == [0, 1, 2] and lost == 0
    for i in range(3, 10):
        ring.push(i.to_bytes(8, "little"))
    blocks, cursor, lost = ring.read(cursor)
    assert [int.from_bytes(b, "little") for b in blocks] == [7, 8, 9] and lost == 4 and cursor == 10
    ring._data[Ring.BLOCK_HEAD] ^= 1  # as if block 8 were being overwritten while we read
    assert ring.read(7)[2] == 1


WRITER = """
import sys, numpy as np
from hardware.shm import Ring, Segment, Slot
segment = Segment.attach(sys.argv[1])
slot, ring = Slot(segment, 0, 1 << 16), Ring(segment, 1 << 17, 800, 32)
stop = segment.array((1 << 20) - 64, 1, np.uint64)
i = 0
while not stop[0]:
    i += 1
    slot.write(np.full(100 + i % 5000, i, dtype=np.float64).tobytes())
    ring.push(np.full(100, i - 1, dtype=np.int64).tobytes())
"""


def test_no_torn_read_beside_a_writer_at_full_speed(segment):
    slot, ring = Slot(segment, 0, 1 << 16), Ring(segment, 1 << 17, 800, 32)
    stop = segment.array((1 << 20) - 64, 1, np.uint64)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, segment.name], cwd=ROOT)
    try:
        give_up, seen, cursor, previous, blocks_seen = time.monotonic() + 30.0, 0, 0, -1, 0
        while (seen < 2000 or blocks_seen < 2000) and time.monotonic() < give_up:
            data = slot.read()
            if data is not None:
                values = np.frombuffer(data)
                assert (values == values[0]).all() and values.size == 100 + int(values[0]) % 5000
                seen += 1
            blocks, cursor, _ = ring.read(cursor)
            for block in blocks:
                numbers = np.frombuffer(block, dtype=np.int64)
                assert (numbers == numbers[0]).all() and numbers[0] > previous
                previous = numbers[0]
            blocks_seen += len(blocks)
        assert seen > 100 and blocks_seen > 100
    finally:
        stop[0] = 1
        assert writer.wait(30) == 0


def test_segments_are_private_named_and_removable(segment):
    assert (segment.path.stat().st_mode & 0o777) == 0o600 and str(os.getpid()) in segment.name
    other = Segment.attach(segment.name)
    other.array(0, 1, np.uint64)[0] = 7
    assert segment.array(0, 1, np.uint64)[0] == 7
    other.close()
    other.close()
    with pytest.raises(ControlProcessError, match="malformed"):
        Segment.attach("../../etc/passwd")
    with pytest.raises(ControlProcessError, match="does not exist"):
        Segment.attach("loopwm-bridge-1-ffffffff")
    with pytest.raises(ControlProcessError, match="cannot map"):
        Segment.create(1 << 60)


def test_only_leftovers_of_dead_processes_are_removed(segment):
    def left(pid: int, control: int, name: str) -> Path:
        path = segment_folder() / f"loopwm-bridge-{pid}-{name}"
        path.write_bytes(pid.to_bytes(8, "little") + control.to_bytes(8, "little") + bytes(48))
        return path

    dead = gone_pid()
    stale, held = left(dead, dead, "aaaa0001"), left(dead, os.getpid(), "aaaa0002")
    try:
        assert stale.name in remove_leftovers()
        assert not stale.exists() and held.exists() and segment.path.exists()
    finally:
        held.unlink()
    assert (
        process_alive(os.getpid()) and not process_alive(dead) and not process_alive(0) and process_alive(1)
    )


def test_the_plan_slot_is_locked_against_a_second_writer(segment):
    other = Segment.attach(segment.name)
    refused = pytest.raises(ControlProcessError, match="another client")
    with other.writer_lock(), refused, segment.writer_lock(timeout=0.01):
        pass
    with segment.writer_lock():
        pass
    other.close()


@pytest.fixture
def memory(limits):
    memory = BridgeMemory.create(BridgeSpec(DriverSpec("sim", {"x": 1}), limits, BridgeConfig(max_horizon=8)))
    yield memory
    memory.segment.unlink()
    memory.close()


def test_everything_survives_the_trip_through_memory(memory, limits):
    other = BridgeMemory.attach(memory.name)
    assert other.spec.driver == memory.spec.driver and other.spec.config == memory.spec.config
    assert other.spec.limits.to_mapping() == limits.to_mapping()
    assert memory.get_plan() is None and memory.read_snapshot() is None and memory.read_metrics() == {}
    rng = np.random.default_rng(0)
    for dq in (None, rng.normal(size=(8, 3))):
        plan = ArmPlan(3, 1.5, 0.05, rng.normal(size=(8, 3)), 2.5, limits.names, dq, obs_seq=9)
        memory.put_plan(plan)
        back = other.get_plan()
        assert (back.plan_id, back.obs_seq, back.t0, back.dt, back.valid_until) == (3, 9, 1.5, 0.05, 2.5)
        np.testing.assert_array_equal(back.q, plan.q)
        assert (back.dq is None) if dq is None else (back.dq == plan.dq).all()
    sink = MemorySinkShared(memory)
    sink.event(Event(0, 1.0, "kind", "ü" * 300, 4.0))
    events, cursor, lost = other.read_events(0)
    assert events[0].kind == "kind" and set(events[0].text) == {"ü"} and (cursor, lost) == (1, 0)
    other.close()


def test_commands_are_counted_and_answered(memory):
    assert not memory.requested(Command.STOP)
    number = memory.request(Command.STOP)
    assert memory.requested(Command.STOP) and not memory.requested(Command.HOLD)
    memory.finish(Command.STOP, number, ValueError("x" * 5000))
    assert not memory.requested(Command.STOP)
    kind, text = memory.result(Command.STOP)
    assert kind == "ValueError" and 0 < len(text) < 1000
    memory.finish(Command.STOP, memory.request(Command.STOP), None)
    assert memory.result(Command.STOP) == ("", "")
    assert memory.result(Command.HOLD)[0] == "ControlProcessError"


def test_another_layout_is_refused(memory):
    memory.words[Word.VERSION] = 99
    with pytest.raises(ControlProcessError, match="version 99"):
        BridgeMemory.attach(memory.name)


def test_a_huge_specification_is_refused(limits):
    with pytest.raises(ControlProcessError, match="bytes"):
        BridgeMemory.create(BridgeSpec(DriverSpec("sim", {"x": "y" * 100_000}), limits, BridgeConfig()))
