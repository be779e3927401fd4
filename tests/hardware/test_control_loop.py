"""The loop of the control process, run in this process on a fake clock, with a script for the clients."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from hardware import ArmPlan, BridgeConfig, DriverSpec, FakeClock, Mode, audit, braking_time, control_process
from hardware.control_process import ControlLoop, request_realtime
from hardware.memory import BridgeMemory, BridgeSpec, Command, Word
from hardware.records import Snapshot
from hardware.timing import Histogram, Ticker

DT = 1 / 250


class ScriptedClock(FakeClock):
    """Runs functions when their time comes, and may wake up late."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__(start)
        self.script: list[tuple[float, object]] = []
        self.late_by: dict[float, float] = {}

    def at(self, t: float, action) -> None:
        self.script.append((t, action))
        self.script.sort(key=lambda item: item[0])

    def sleep_until(self, t: float) -> None:
        while self.script and self.script[0][0] <= t:
            when, action = self.script.pop(0)
            super().sleep_until(when)
            action()
        super().sleep_until(t)
        for when in [w for w in self.late_by if w <= t]:
            self.advance(self.late_by.pop(when))


@pytest.fixture
def stage(spec, limits):
    """(memory, clock, loop): the memory of a bridge, and the loop that would serve it."""
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(orphan_hold_s=0.2)))
    clock = ScriptedClock(10.0)
    alive = {"owner": True}
    loop = ControlLoop(memory, clock, lambda: alive["owner"])
    loop.alive = alive
    yield memory, clock, loop
    memory.segment.unlink()
    memory.close()


def events(memory):
    return [event.kind for event in memory.read_events(0)[0]]


def sweep(memory, plan_id, t0, validity=0.4, speed=0.6):
    row = memory.read_snapshot()
    t = np.arange(21) * 0.05
    v0, q0 = row["record"]["applied_dq"], row["record"]["applied"]
    v = v0 + np.minimum(t / 0.3, 1.0)[:, None] * (speed - v0)
    q = q0 + np.concatenate([np.zeros((1, 3)), np.cumsum((v[1:] + v[:-1]) / 2 * 0.05, axis=0)])
    memory.put_plan(ArmPlan(plan_id, t0, 0.05, q, t0 + validity, memory.spec.limits.names, v))


def go(memory, clock, *commands, start=10.1):
    for i, command in enumerate(commands):
        clock.at(start + 0.02 * i, lambda c=command: memory.request(c))


def test_from_connecting_to_closing(stage, limits):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: sweep(memory, 1, 10.2))
    clock.at(10.3, lambda: memory.request(Command.HOLD))
    clock.at(10.5, lambda: sweep(memory, 2, 10.5))
    clock.at(10.7, lambda: memory.request(Command.STOP))
    clock.at(11.0, lambda: memory.request(Command.DISABLE))
    clock.at(11.1, lambda: memory.request(Command.ENABLE))
    clock.at(11.2, lambda: memory.request(Command.FREEDRIVE))
    clock.at(11.25, lambda: memory.request(Command.END_FREEDRIVE))
    clock.at(11.5, lambda: memory.request(Command.ESTOP))
    clock.at(11.6, lambda: memory.request(Command.RESET))
    clock.at(11.8, lambda: memory.request(Command.CLOSE))
    loop.run()
    assert " ".join(events(memory)) == (
        "connected enabled started running held running stopping stopped disabled enabled guided guided_to "
        "estop reset disabled closed"
    )
    assert all(memory.result(c) == ("", "") for c in Command)
    records, _, lost = memory.read_records(0)
    assert lost == 0 and audit(records, limits, DT).limit_violations == 0
    assert json.loads(memory.info.read())["joint_names"] == list(limits.names)
    metrics = memory.read_metrics()
    assert metrics["plans_accepted"] == 2 and metrics["deadline_misses"] == 0 and metrics["faults"] == 1


def test_clients_may_vanish_the_owner_may_not(stage, limits):
    """Without plans: brake, hold, go on. Without the owner: brake, hold, switch off, end."""
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: sweep(memory, 1, 10.2))
    clock.at(11.5, lambda: sweep(memory, 2, 11.5, validity=1.0))
    clock.at(12.0, lambda: loop.alive.update(owner=False))
    loop.run()
    log = memory.read_events(0)[0]
    kinds = " ".join(event.kind for event in log)
    assert kinds.endswith("running client_gone stopping stopped disabled closed")
    records = memory.read_records(0)[0]
    assert audit(records, limits, DT).limit_violations == 0
    held = records[(records["t"] > 11.2) & (records["t"] < 11.5)]
    assert len(held) > 50 and (held["mode"] == Mode.HOLDING).all() and not held["applied_dq"].any()
    gone, closed = (next(e.t for e in log if e.kind == k) for k in ("client_gone", "closed"))
    assert gone <= 12.0 + 0.1 + 2 * DT
    assert closed - gone >= 0.2 and closed - gone <= 0.2 + braking_time(1.5, 7.5) + 0.5
    assert loop.orphaned


def test_clients_that_fall_silent_count_as_gone_when_asked_for(spec, limits):
    config = BridgeConfig(client_timeout_s=0.5, orphan_hold_s=0.1)
    memory, clock = BridgeMemory.create(BridgeSpec(spec, limits, config)), ScriptedClock(10.0)
    loop = ControlLoop(memory, clock, lambda: True)
    go(memory, clock, Command.CONNECT, Command.ENABLE)
    clock.at(10.3, lambda: memory.words.__setitem__(Word.CLIENT_BEAT_NS, int(10.3e9)))
    loop.run()
    gone = next(e for e in memory.read_events(0)[0] if e.kind == "client_gone")
    assert 10.8 <= gone.t <= 10.95 and "0.5 s" in gone.text and loop.executor.mode is Mode.CLOSED
    memory.segment.unlink()
    memory.close()


def test_late_ticks_are_counted_and_made_up_for_within_reason(stage, limits):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: sweep(memory, 1, 10.2, validity=1.0))
    clock.late_by = {10.5: 0.001, 10.6: 0.019, 10.8: 0.1}
    clock.at(11.5, lambda: memory.request(Command.CLOSE))
    loop.run()
    metrics = memory.read_metrics()
    assert metrics["deadline_misses"] == 2 and metrics["skipped_ticks"] == 4 + 24
    assert metrics["lateness_s_max"] == pytest.approx(0.1, abs=0.004)
    records = memory.read_records(0)[0]
    found = audit(records, limits, DT)
    assert found.limit_violations == 0 and found.skipped_ticks == 4 + 24
    assert (~records["sent"]).sum() == 4 + 5  # 20 ms are made up for
    # A short delay leaves no trace in the command, a long one is caught up with within the limits.
    before = records["t"] < 10.8
    assert (records["applied"] == records["requested"])[before & (records["mode"] == Mode.RUNNING)].all()
    gap = np.abs(records["applied"] - records["requested"]).max(1)[records["mode"] == Mode.RUNNING]
    assert found.interventions > 0 and gap[-1] < 0.5 * gap.max()
    # The grid does not drift: nominal times are whole periods apart.
    steps = np.diff(records["t"]) / DT
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


@pytest.mark.parametrize(
    ("realtime", "early_s", "ahead_s"), [(1, 5e-4, 5e-4), (1, 0.01, DT / 4), (1, 0.0, 0.0), (0, 5e-4, 0.0)]
)
def test_in_real_time_each_tick_is_rehearsed_ahead_of_it(spec, limits, realtime, early_s, ahead_s):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(early_s=early_s)))
    try:
        memory.words[Word.REALTIME] = realtime
        clock = ScriptedClock(10.0)
        loop = ControlLoop(memory, clock, lambda: True)
        began, rehearse = [], loop.executor.rehearse
        loop.executor.rehearse = lambda: (began.append((clock.now() - 10.0) / DT % 1.0 * DT), rehearse())
        go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
        clock.at(10.2, lambda: sweep(memory, 1, 10.21))
        clock.at(10.9, lambda: memory.request(Command.CLOSE))
        loop.run()
        found = memory.read_records(0)[0]
        on_time = np.isclose(began, DT - ahead_s, atol=1e-6).sum() if ahead_s else 0
        assert (on_time > 180) == (ahead_s > 0.0)
        assert 1 <= len(began) - on_time <= 3  # those after commands that may block
        assert audit(found, limits, DT).limit_violations == 0 and np.abs(np.diff(found["applied"][:, 0])).max() > 0
        assert np.abs(found["lateness"]).max() < 1e-9
    finally:
        memory.segment.unlink()
        memory.close()


def test_errors_of_commands_reach_the_client(stage):
    memory, clock, loop = stage
    go(memory, clock, Command.ENABLE, Command.CONNECT, Command.START)
    clock.at(10.3, lambda: memory.request(Command.CLOSE))
    loop.run()
    assert memory.result(Command.ENABLE)[0] == "ModeError"
    assert (
        memory.result(Command.START)[0] == "ModeError" and "needs ENABLED" in memory.result(Command.START)[1]
    )
    assert events(memory) == ["connected", "closed"]


def test_a_driver_bug_is_reported_not_fatal(stage, monkeypatch):
    memory, clock, loop = stage
    monkeypatch.setattr(loop.executor.driver, "enable", lambda: 1 / 0)
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.CLOSE)
    loop.run()
    assert memory.result(Command.ENABLE) == ("BridgeError", "ZeroDivisionError: division by zero")
    assert "driver_bug" in events(memory) and events(memory)[-1] == "closed"


def test_a_crash_of_the_loop_asks_the_device_to_stop(stage, monkeypatch):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: sweep(memory, 1, 10.2))
    stops = []
    monkeypatch.setattr(loop.executor.driver, "stop", lambda: stops.append(clock.now()))
    clock.at(10.5, lambda: monkeypatch.setattr(loop.executor.filter, "step", lambda *_: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert len(stops) == 1 and loop.executor.mode is Mode.CLOSED


def test_a_crash_in_the_plans_brakes_and_latches_instead(stage, monkeypatch, limits):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: sweep(memory, 1, 10.2))
    clock.at(10.5, lambda: monkeypatch.setattr(loop.executor.plans, "target", lambda now: 1 / 0))
    clock.at(11.0, lambda: memory.request(Command.CLOSE))
    loop.run()
    assert "fault" in events(memory) and events(memory)[-1] == "closed"
    records = memory.read_records(0)[0]
    after = records[records["t"] > 10.501]
    assert (after["mode"] == Mode.FAULT).all() and np.abs(after["applied_dq"][0]).max() > 0.1
    assert not after["applied_dq"][-1].any() and audit(records, limits, DT).limit_violations == 0


def test_absurd_plans_end_in_a_refusal_not_in_a_crash(stage):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    names = memory.spec.limits.names
    clock.at(10.2, lambda: sweep(memory, 1, 10.2, validity=1.0))
    knots = np.tile([0.2, -0.4, 0.3], (2, 1))
    for i, (t0, dt) in enumerate([(-1e308, 0.05), (10.2, 5e-324), (10.2, 1e308), (-50.0, 59.0)]):
        plan = ArmPlan(2 + i, t0, dt, knots, 11.5, names)
        clock.at(10.3 + 0.02 * i, lambda plan=plan: memory.put_plan(plan))
    clock.at(10.5, lambda: memory.request(Command.CLOSE))
    loop.run()
    log = [e.text for e in memory.read_events(0)[0] if e.kind == "plan_rejected"]
    assert len(log) == 4 and "spaced by" in log[1] and "spaced by" in log[2]
    assert "started" in log[0] and "started" in log[3]
    assert "fault" not in events(memory) and events(memory)[-1] == "closed"


def test_a_plan_from_before_a_hold_does_not_start_after_it(stage):
    """The planner's plan and the operator's hold arrive within one tick."""
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.3, lambda: (sweep(memory, 1, 10.3), memory.request(Command.HOLD)))
    clock.at(10.5, lambda: sweep(memory, 2, 10.5))
    clock.at(10.7, lambda: memory.request(Command.CLOSE))
    loop.run()
    records = memory.read_records(0)[0]
    assert not records[records["t"] < 10.49]["applied_dq"].any() and (records["plan_id"] == 2).any()


def test_a_device_that_cannot_be_let_go_is_reported(stage, monkeypatch):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.CLOSE)
    monkeypatch.setattr(loop.executor.driver, "disable", lambda: 1 / 0)
    loop.run()
    assert events(memory)[-1] == "close_failed"


def test_damaged_plans_are_refused(stage):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)

    def poison(data: bytes):
        memory.plan.write(data)

    good = ArmPlan(1, 10.2, 0.05, np.zeros((2, 3)), 11.0, memory.spec.limits.names)
    clock.at(10.2, lambda: poison(b"short"))
    clock.at(
        10.22, lambda: (memory.put_plan(good), poison(memory.plan.read()[:-8] + np.float64(np.nan).tobytes()))
    )
    clock.at(10.24, lambda: memory.plan._counter.__iadd__(np.uint64(1)))  # a client killed while writing
    clock.at(10.4, lambda: memory.request(Command.CLOSE))
    loop.run()
    log = [e.text for e in memory.read_events(0)[0] if e.kind == "plan_rejected"]
    assert len(log) == 2 and all("malformed" in text for text in log) and "non-finite" in log[1]
    assert memory.read_metrics()["plans_rejected"] == 2


def test_a_fault_is_reset_through_the_command_word(stage):
    memory, clock, loop = stage
    go(memory, clock, Command.CONNECT, Command.ENABLE, Command.START)
    clock.at(10.2, lambda: loop.executor.driver.inject(kind="device_fault"))
    modes = []
    clock.at(10.3, lambda: modes.append(Snapshot.from_row(memory.read_snapshot()).mode))
    clock.at(10.3, lambda: memory.request(Command.RESET))
    clock.at(10.4, lambda: modes.append(Snapshot.from_row(memory.read_snapshot()).mode))
    clock.at(10.5, lambda: memory.request(Command.CLOSE))
    loop.run()
    assert modes == [Mode.FAULT, Mode.ENABLED]


@pytest.fixture
def main_in_process(monkeypatch):
    """Keep ``main`` away from the signals, the scheduler and the garbage collector of the test process."""
    handlers = {}
    monkeypatch.setattr(signal, "signal", lambda number, action: handlers.update({number: action}))
    monkeypatch.setattr(control_process, "request_realtime", lambda mode: (False, "not in a test"))
    for name in ("collect", "freeze", "disable"):
        monkeypatch.setattr(control_process.gc, name, lambda: None)
    return handlers


def test_main_runs_until_terminated_and_removes_the_memory_of_a_dead_owner(
    spec, limits, main_in_process, monkeypatch
):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(orphan_hold_s=0.01)))
    memory.request(Command.CONNECT)
    clock = ScriptedClock()
    clock.at(0.1, lambda: main_in_process[signal.SIGTERM](signal.SIGTERM, None))
    monkeypatch.setattr(control_process, "MonotonicClock", lambda: clock)
    assert control_process.main(memory.name) == 0  # the owner is not the parent here: as good as dead
    assert events(memory)[0] == "no_realtime" and events(memory)[-1] == "closed"
    assert memory.word(Word.CONTROL_PID) == os.getpid() and not memory.segment.path.exists()
    memory.close()


def test_main_reports_a_driver_that_cannot_be_made(limits, main_in_process):
    spec = DriverSpec("no_such_module:Arm")
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig()))
    memory.request(Command.CONNECT)
    assert control_process.main(memory.name) == 1
    assert memory.result(Command.CONNECT)[0] == "DriverUnavailable"
    memory.segment.unlink()
    memory.close()


def test_main_survives_to_tell_of_a_crash(spec, limits, main_in_process, monkeypatch, capsys):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig()))
    monkeypatch.setattr(ControlLoop, "run", lambda self: 1 / 0)
    assert control_process.main(memory.name) == 1
    assert events(memory)[-1] == "crashed" and "ZeroDivisionError" in capsys.readouterr().err
    memory.segment.unlink()
    memory.close()


def test_realtime_falls_back_with_advice(monkeypatch):
    def refuse(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    granted, text = request_realtime("auto")
    assert not granted and "ulimit -r" in text
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    assert request_realtime("on") == (True, "SCHED_FIFO priority 20")
    assert request_realtime("off")[0] is False


@pytest.mark.parametrize(("mode", "kind"), [("on", "realtime_refused"), ("auto", "no_realtime")])
def test_a_refusal_of_what_was_demanded_has_its_own_event(spec, limits, main_in_process, monkeypatch, mode, kind):
    memory = BridgeMemory.create(BridgeSpec(spec, limits, BridgeConfig(realtime=mode)))
    monkeypatch.setattr(ControlLoop, "run", lambda self: None)
    assert control_process.main(memory.name) == 0
    assert events(memory) == [kind]
    memory.segment.unlink()
    memory.close()


def test_ticker_and_histogram():
    clock = ScriptedClock()
    ticker = Ticker(clock, 0.01)
    assert [round(ticker.wait().t, 9) for _ in range(3)] == [0.01, 0.02, 0.03]
    clock.advance(0.035)
    tick = ticker.wait()
    assert tick.t == pytest.approx(0.06) and tick.skipped == 2 and tick.lateness == pytest.approx(0.025)
    assert ticker.wait().t == pytest.approx(0.07) and ticker.misses == 1
    rehearsed: list[float] = []
    assert ticker.wait(0.002, lambda: rehearsed.append(clock.now())).lateness == pytest.approx(0.0)
    clock.advance(0.011)
    assert ticker.wait(0.002, lambda: rehearsed.append(clock.now())).t == pytest.approx(0.09)
    assert rehearsed == [pytest.approx(0.078)]  # a late tick has no time for it
    h = Histogram()
    assert h.percentile(50) == 0.0
    samples = np.random.default_rng(0).lognormal(-9.0, 1.0, 5000)
    for s in samples:
        h.add(float(s))
    for p in (50, 99):
        assert h.percentile(p) == pytest.approx(np.percentile(samples, p), rel=0.13)
    assert h.percentile(100) == h.max == samples.max()
    h.add(1e9)
    h.add(0.0)
    assert h.summary("x")["x_s_max"] == 1e9


def test_what_was_used_stays_in_memory_where_the_system_allows_it(monkeypatch):
    code = (
        "from hardware.control_process import lock_memory\n"
        "print(lock_memory())\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmLck')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    told, locked = done.stdout.strip().splitlines()
    assert (told == "memory locked") == (int(locked.split()[1]) > 10_000)
    monkeypatch.setattr(control_process.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    assert "ulimit -l unlimited" in control_process.lock_memory()
