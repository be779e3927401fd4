"""The bridge with a control process of its own, in real time, and what is left when processes are killed.

No assertion depends on this machine being fast: times are compared inside the record of the control process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hardware import ArmBridge, ArmInfo, BridgeConfig, JointLimits, Mode, braking_time
from hardware.errors import BridgeError, ControlProcessError, DriverUnavailable, ModeError, SafetyStop
from hardware.link import ProcessLink
from hardware.memory import BridgeMemory, BridgeSpec, Command, Word
from hardware.records import snapshot_dtype
from hardware.shm import process_alive, segment_folder

ROOT = Path(__file__).parents[2]
DT = 1 / 250

PLANNER = """
import sys, time
import numpy as np
from hardware import ArmBridge, Mode

bridge = ArmBridge.attach(sys.argv[1])
validity = float(sys.argv[2])
start, t = bridge.snapshot().applied.applied, np.arange(21) * 0.05
t_first = t_next = bridge.now()
while True:
    now = bridge.now()
    s = (t + now - t_first)[:, None]  # a slow swing that never ends
    bridge.submit(bridge.make_plan(
        start + 0.5 * (1 - np.cos(1.6 * s)) * np.ones(3), 0.8 * np.sin(1.6 * s) * np.ones(3),
        dt=0.05, t0=now, validity=validity,
    ))
    t_next = max(t_next + 0.05, now)
    bridge.sleep_until(t_next)
"""

OWNER = """
import json, sys
from hardware import ArmBridge, DriverSpec, JointLimits

driver, limits = json.loads(sys.argv[1]), json.loads(sys.argv[2])
limits = JointLimits.from_mapping(limits)
bridge = ArmBridge(DriverSpec("sim", driver), limits, orphan_hold_s=0.2, realtime="off")
bridge.connect(); bridge.enable(); bridge.start()
start = bridge.snapshot().applied.applied
bridge.submit(bridge.make_plan([start, start + 1.0], dt=8.0, validity=8.0))
print(bridge.name, flush=True)
if sys.argv[3] == "leave":
    sys.exit(0)  # without closing
bridge.advance(60.0)
"""


def wait_for(condition, timeout: float = 30.0, what: str = "condition") -> None:
    give_up = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < give_up, f"{what} not reached within {timeout} s"
        time.sleep(0.005)


def python(code: str, *args: str, **kwargs) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=ROOT, **kwargs)


@pytest.fixture
def live(spec, limits):
    """A bridge in real time, ready for plans. Normal scheduling: the machine is shared with other tests."""
    with ArmBridge(spec, limits, realtime="off") as bridge:
        bridge.enable()
        bridge.start()
        yield bridge


def test_a_second_of_motion_in_real_time(live, limits):
    state = live.observe(max_age=10.0)
    start, t = live.snapshot().applied.applied, np.arange(41) * 0.05
    q, dq = start + 0.3 * (1 - np.cos(2 * t))[:, None] * np.ones(3), 0.6 * np.sin(2 * t)[:, None] * np.ones(3)
    live.submit(live.make_plan(q, dq, dt=0.05, obs_seq=state.seq, validity=1.0))
    wait_for(lambda: live.mode is Mode.RUNNING)
    wait_for(lambda: live.mode is Mode.HOLDING)
    live.stop()
    assert live.mode is Mode.ENABLED
    records, found, metrics = live.records(), live.audit(), live.metrics()
    running = records[records["mode"] == Mode.RUNNING]
    assert len(running) + found.skipped_ticks >= 200 and found.limit_violations == 0
    if found.skipped_ticks == 0:
        assert (running["requested"] == running["applied"]).all()
    assert np.abs(running["applied"][-1] - start).max() > 0.3
    assert metrics["rate_hz"] == 250.0 and metrics["lost_records"] == 0 and metrics["lateness_s_max"] > 0.0
    # Each missed deadline leaves out at least one period, and there is one exactly when a tick was that late.
    assert (metrics["deadline_misses"] > 0) == (metrics["lateness_s_max"] > DT)
    assert metrics["skipped_ticks"] >= metrics["deadline_misses"] and not metrics["realtime"]
    assert {"connected", "enabled", "started", "running", "plan_expired", "stopped"} <= {
        e.kind for e in live.events()
    }
    name, mode = live.name, live.mode
    live.close()
    assert not (segment_folder() / name).exists() and mode is Mode.ENABLED
    assert (
        live.mode is Mode.CLOSED
        and live.events()[-1].kind == "closed"
        and live.records().size >= len(records)
    )
    with pytest.raises(BridgeError, match="closed"):
        live.hold()


def test_killing_the_planner_in_mid_motion_brings_the_arm_to_rest_in_time(live, limits):
    validity = 0.3
    planner = python(PLANNER, live.name, str(validity))
    try:
        wait_for(lambda: np.abs(live.snapshot().applied.dq).max() > 0.4, what="motion")
    finally:
        planner.kill()  # SIGKILL
        planner.wait()
    killed = time.monotonic()
    wait_for(lambda: live.now() > killed + validity + 1.0 and live.mode is Mode.HOLDING, what="hold")
    records = live.records()
    holding = (
        np.flatnonzero((records["mode"][1:] == Mode.HOLDING) & (records["mode"][:-1] == Mode.RUNNING))[-1] + 1
    )
    rest = holding + int(np.argmax(np.abs(records["applied_dq"][holding:]).max(1) < 1e-6))
    speed = np.abs(records["applied_dq"][holding - 1])
    stop = braking_time(speed, limits.ddq_max, DT)
    assert speed.max() > 0.1 and stop > 0.0
    # Periods that a busy machine left out lengthen the stop by just as much.
    left_out = np.diff(records["t"]) - DT
    slack = 2 * DT + left_out[np.maximum(holding - 2, 0) : rest].clip(0.0).sum()
    assert records["t"][holding] <= killed + validity + slack
    assert records["t"][rest] <= killed + validity + stop + slack
    assert rest - holding <= round(stop / DT)
    # At rest means the arm, not only the command; and it goes on holding.
    assert np.abs(records["dq"][-1]).max() < 0.01 and not records["applied_dq"][rest + 1 :].any()
    assert live.audit().limit_violations == 0 and live.mode is Mode.HOLDING
    # The next planner just goes on.
    planner = python(PLANNER, live.name, str(validity))
    try:
        wait_for(lambda: np.abs(live.snapshot().applied.dq).max() > 0.1, what="second motion")
    finally:
        planner.kill()
        planner.wait()
    assert live.audit().limit_violations == 0


def start_owner(spec, limits: JointLimits, how: str):
    owner = python(
        OWNER,
        json.dumps(spec.kwargs),
        json.dumps(limits.to_mapping()),
        how,
        stdout=subprocess.PIPE,
        text=True,
    )
    return owner, owner.stdout.readline().strip()


def test_killing_the_owner_ends_the_control_process_after_a_stop(spec, limits):
    owner, name = start_owner(spec, limits, "stay")
    witness = ArmBridge.attach(name)
    try:
        wait_for(lambda: np.abs(witness.snapshot().applied.dq).max() > 0.1, what="motion")
        control = witness._link.memory.word(1)
        assert control != owner.pid and process_alive(control)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    wait_for(lambda: not process_alive(control), what="end of the control process")
    kinds = [e.kind for e in witness.events()]
    assert kinds[-4:] == ["stopping", "stopped", "disabled", "closed"] and "client_gone" in kinds
    assert not (segment_folder() / name).exists()
    assert not witness.records()["applied_dq"][-1].any() and witness.audit().limit_violations == 0
    with pytest.raises(ControlProcessError, match="has ended"):
        witness.start()
    witness.close()


def test_an_owner_that_just_leaves_still_stops_the_arm(spec, limits):
    owner, name = start_owner(spec, limits, "leave")
    assert owner.wait(60) == 0
    owner.stdout.close()
    assert not (segment_folder() / name).exists()


def test_killing_the_control_process_is_loud(live):
    control = live._link.memory.word(1)
    os.kill(control, 9)
    wait_for(lambda: not live._link.alive(), what="death")
    start = live.snapshot().applied.applied
    with pytest.raises(ControlProcessError, match="has ended"):
        live.submit(live.make_plan([start], dt=0.05, validity=5.0))
    with pytest.raises(BridgeError, match="control loop silent"):
        time.sleep(0.2)
        live.observe()
    live.close()
    assert not (segment_folder() / live.name).exists()


def test_errors_come_back_as_what_they_are(live):
    with pytest.raises(ModeError, match="needs CONNECTED"):
        live.enable()
    with pytest.raises(SafetyStop):
        live.reset()
    live.reset(acknowledge=True)
    here = live.snapshot().applied.applied
    live.submit(live.make_plan([here, here + 0.5], dt=5.0, validity=5.0))
    wait_for(lambda: np.abs(live.snapshot().applied.dq).max() > 0.01)
    with pytest.raises(ModeError, match="stop"):
        live.disable()


def test_a_driver_that_does_not_open_leaves_nothing_behind(spec, limits):
    from hardware import DriverSpec

    before = set(segment_folder().glob("loopwm-bridge-*"))
    broken = DriverSpec("sim", {**spec.kwargs, "mjcf_path": "/no/such/arm.xml"})
    with pytest.raises(DriverUnavailable, match="not a file"):
        ArmBridge(broken, limits).connect()
    unknown = DriverSpec("sim", {**spec.kwargs, "no_such": 1})
    with pytest.raises(DriverUnavailable, match="check the arguments"):
        ArmBridge(unknown, limits).connect()
    assert set(segment_folder().glob(f"loopwm-bridge-{os.getpid()}-*")) <= before


@pytest.mark.parametrize("granted", [False, True])
def test_realtime_that_was_demanded_and_refused_is_a_warning(spec, limits, monkeypatch, granted):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(realtime="on")))

    class Control:
        """Stands for the control process: answers at once."""

        def __init__(self, *_, **__):
            memory.words[Word.REALTIME] = granted
            memory.info.write(json.dumps(asdict(ArmInfo("arm", limits.names, 250.0))).encode())
            memory.finish(Command.CONNECT, memory.word(Word.REQUEST + Command.CONNECT), None)

        def poll(self):
            return None

        def wait(self, timeout=None):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Control)
    link = ProcessLink(memory, owner=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert link.connect().model == "arm"
    told = [str(w.message) for w in caught if w.category is RuntimeWarning]
    assert len(told) == (not granted) and all("SCHED_FIFO" in text for text in told)
    link.close()


def test_the_last_tick_stays_readable_when_the_control_process_died_while_writing_one(spec, limits):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig()))
    link = ProcessLink(memory, owner=True)
    assert link.snapshot() is None
    row = np.zeros(1, snapshot_dtype(limits.n))
    row["record"]["t"] = 12.5
    memory.snapshot.write(row.tobytes())
    assert link.snapshot().t == 12.5
    memory.snapshot._counter[0] += 1
    assert link.snapshot().t == 12.5
    link.close()
    assert link.snapshot().t == 12.5


def test_attaching_needs_a_running_bridge():
    with pytest.raises(ControlProcessError, match="does not exist"):
        ArmBridge.attach("loopwm-bridge-1-00000000")


def test_the_command_line_of_the_control_process_explains_itself():
    done = subprocess.run([sys.executable, "-m", "hardware"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "ArmBridge.connect" in done.stderr
