"""Processes are killed, links freeze, clocks are set: the end state of each, in real time over the emulated wire.

Bounds are those of the settings; nothing depends on this machine being fast.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hardware import ArmBridge, DriverSpec, Mode
from hardware.conformance.dynamixel_rig import CALIBRATION, DynamixelRig
from hardware.conformance.ur_rig import UrRig
from hardware.errors import ControlProcessError, StaleState
from hardware.memory import Word
from hardware.shm import process_alive

from .test_bridge_process import wait_for

STEPPING_CLOCK = """
import itertools, threading, time

real, real_ns, steps = time.time, time.time_ns, itertools.cycle((0.0, 3600.0, -7200.0))
offset = 0.0

def step():
    global offset
    while True:
        offset = next(steps)
        time.sleep(0.03)

time.time = lambda: real() + offset
time.time_ns = lambda: real_ns() + int(offset * 1e9)
threading.Thread(target=step, daemon=True).start()
"""


class Wire:
    """A bridge to an emulated arm, moving slowly for eight seconds; the truth beside it."""

    def __init__(self, name: str, **settings: float) -> None:
        if name == "dynamixel":
            pytest.importorskip("dynamixel_sdk")
            self.rig: DynamixelRig | UrRig = DynamixelRig()
            kwargs = {"port": self.rig.emulator.ready["port"], "calibration": CALIBRATION, "watchdog_s": 0.5}
        else:
            pytest.importorskip("rtde_control")
            self.rig = UrRig()
            kwargs = {"host": self.rig.host, "frequency_hz": 125.0, "watchdog_s": 0.5, "lookahead_s": 0.08}
        bridge = {**self.rig.config.to_mapping(), "realtime": "off", "on_exit": "hold", **settings}
        self.bridge = ArmBridge(DriverSpec(name, kwargs), self.rig.limits, **bridge)

    def __enter__(self) -> Wire:
        self.rig.__enter__()
        bridge = self.bridge
        bridge.connect()
        bridge.enable()
        bridge.start()
        start = bridge.snapshot().applied.applied
        bridge.submit(bridge.make_plan([start, start + 0.8], dt=8.0, validity=8.0))
        before = self.rig.truth()
        wait_for(lambda: np.abs(self.rig.truth() - before).max() > 0.02, what="motion")
        return self

    def __exit__(self, *error: object) -> None:
        self.bridge.close()
        self.rig.__exit__(None, None, None)

    @property
    def control(self) -> int:
        return self.bridge._link.memory.word(Word.CONTROL_PID)

    def rests(self) -> bool:
        """The true arm stands still."""
        before = self.rig.truth()
        time.sleep(0.25)  # 0.8 rad in 8 s would be 25 mrad
        return bool(np.abs(self.rig.truth() - before).max() < self.rig.settle_rad)


def wires(*slow: str) -> list:
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in ("dynamixel", "ur")]


@pytest.fixture
def wire(request):
    with Wire(request.param) as wire:
        yield wire


@pytest.mark.parametrize("wire", wires("ur"), indirect=True)
def test_a_killed_control_process_leaves_the_stop_to_the_device(wire):
    os.kill(wire.control, signal.SIGKILL)
    wait_for(lambda: not wire.bridge._link.alive(), what="death")
    wait_for(wire.rests, what="rest by the device's own watchdog")
    assert wire.rests()  # and it stays
    with pytest.raises(ControlProcessError, match="has ended"):
        wire.bridge.start()
    records = wire.bridge.records()
    assert len(records) > 10 and wire.bridge.audit().limit_violations == 0


@pytest.mark.parametrize("wire", wires("dynamixel", "ur"), indirect=True)
def test_a_killed_device_is_a_latched_fault_and_a_braked_command(wire):
    wire.rig.emulator.kill()
    config = wire.bridge.config
    wait_for(lambda: wire.bridge.mode is Mode.FAULT, what="fault")
    assert wire.bridge.fault.startswith(("disconnected: ", "write_failed: "))
    wait_for(lambda: not wire.bridge.snapshot().applied.dq.any(), what="a command at rest")
    records, found = wire.bridge.records(), wire.bridge.audit()
    moving = records[records["mode"] == Mode.RUNNING]
    assert found.limit_violations == 0 and (moving["state_age"] <= config.disconnect_after_s).all()
    assert process_alive(wire.control)  # the loop goes on, for an operator


@pytest.mark.parametrize("wire", wires("dynamixel", "ur"), indirect=True)
def test_a_frozen_device_is_stale_then_lost_and_stays_latched_when_it_comes_back(wire):
    wire.rig.emulator.suspend()
    try:
        wait_for(lambda: wire.bridge.mode is Mode.FAULT, what="fault")
    finally:
        wire.rig.emulator.resume()
    events, config = wire.bridge.events(), wire.bridge.config
    kinds = [event.kind for event in events]
    assert "stale" in kinds and kinds.index("stale") < kinds.index("fault")
    records = wire.bridge.records()
    assert (records["state_age"][records["mode"] == Mode.RUNNING] <= config.stale_s).all()
    wait_for(wire.rests, what="rest")
    assert wire.bridge.mode is Mode.FAULT and wire.rests()


def test_a_frozen_control_process_is_told_and_goes_on_within_the_limits(spec, limits):
    with ArmBridge(spec, limits, realtime="off") as bridge:
        bridge.enable()
        bridge.start()
        start = bridge.snapshot().applied.applied
        bridge.submit(bridge.make_plan([start, start + 0.4], dt=1.0, validity=1.0))
        wait_for(lambda: np.abs(bridge.snapshot().applied.dq).max() > 0.1, what="motion")
        control = bridge._link.memory.word(Word.CONTROL_PID)
        os.kill(control, signal.SIGSTOP)
        try:
            time.sleep(1.2)  # beyond the expiry of the plan
            with pytest.raises(StaleState, match="control loop silent"):
                bridge.observe()
        finally:
            os.kill(control, signal.SIGCONT)
        wait_for(lambda: bridge.mode is Mode.HOLDING and not bridge.snapshot().applied.dq.any(), what="rest")
        found = bridge.audit()
        assert found.limit_violations == 0 and found.skipped_ticks > 100
        assert "plan_expired" in {event.kind for event in bridge.events()}


@pytest.mark.parametrize("name", wires("ur"))
def test_steps_of_the_wall_clock_change_nothing(name, tmp_path, monkeypatch):
    """In the control process and in what it starts, the vendor's client included, the date jumps by hours.

    A wait on the wall clock would last hours after a step back.
    """
    (tmp_path / "sitecustomize.py").write_text(STEPPING_CLOCK)
    probe = "import time; t = [time.sleep(0.01) or time.time() for _ in range(20)]; print(max(t) - min(t) > 3000)"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path), *sys.path])
        with Wire(name, stale_after_s=0.5, disconnect_after_s=1.5) as wire:
            assert _run(probe, str(tmp_path)) == "True"
            wire.bridge.advance(1.0)
            told = [event.kind for event in wire.bridge.events()]
            assert wire.bridge.mode is Mode.RUNNING
            assert not {"fault", "stale", "plan_rejected", "plan_expired"} & set(told)
            wire.bridge.stop()
            records = wire.bridge.records()
            assert wire.bridge.audit().limit_violations == 0 and (np.diff(records["t"]) > 0.0).all()


def _run(code: str, path: str) -> str:
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip()
