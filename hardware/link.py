"""Two ways from a client to the executor: shared memory to the control process, or lock-step in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .clock import FakeClock, MonotonicClock
from .errors import BridgeError, ControlProcessError, error_class
from .executor import Executor
from .interface import ArmInfo, ArmPlan, Mode
from .memory import BridgeMemory, BridgeSpec, Command, Word
from .records import Event, MemorySink, Snapshot, record_dtype
from .shm import process_alive, remove_leftovers

_POLL_S = 0.0005
_START_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 15.0


class Link(Protocol):
    """What ``ArmBridge`` needs from either way."""

    name: str
    spec: BridgeSpec

    def connect(self) -> ArmInfo: ...
    def now(self) -> float: ...
    def sleep_until(self, t: float) -> None: ...
    def command(self, command: Command, timeout: float) -> None: ...
    def submit(self, plan: ArmPlan) -> None: ...
    def slow(self, scale: float, t: float) -> None: ...
    def snapshot(self) -> Snapshot | None: ...
    def events(self) -> list[Event]: ...
    def records(self, clear: bool) -> NDArray[np.void]: ...
    def metrics(self) -> dict[str, Any]: ...
    def lost(self) -> int: ...
    def close(self) -> None: ...


class LocalLink:
    """Runs the executor in this process, tick by tick, as far as the fake clock is moved."""

    name = ""

    def __init__(self, spec: BridgeSpec, clock: FakeClock) -> None:
        self.spec, self.clock = spec, clock
        self.sink = MemorySink()
        self.executor = Executor(
            spec.driver.create(clock), spec.limits, spec.config, self.sink, spec.guard()
        )
        self._start, self._k = clock.now(), 0

    def connect(self) -> ArmInfo:
        """Open the driver."""
        self._start, self._k = self.clock.now(), 0
        return self.executor.connect(self.clock.now())

    def now(self) -> float:
        """Return the fake time [s]."""
        return self.clock.now()

    def sleep_until(self, t: float) -> None:
        """Run all ticks up to time t [s]."""
        while (deadline := self._start + (self._k + 1) * self.spec.config.dt) <= t + 1e-9:
            self._k += 1
            self.clock.sleep_until(deadline)
            self.executor.tick(deadline)
        self.clock.sleep_until(t)

    def command(self, command: Command, timeout: float) -> None:
        """Carry out a command at once."""
        del timeout
        now, executor = self.clock.now(), self.executor
        if command is Command.RESET:
            executor.reset(now, acknowledge=True)
        else:
            getattr(executor, command.name.lower())(now)
        executor.publish(now)

    def submit(self, plan: ArmPlan) -> None:
        """Offer a plan."""
        self.executor.submit(plan, self.clock.now())

    def slow(self, scale: float, t: float) -> None:
        """Ask for a share of the speed limits."""
        self.executor.speed.ask(scale, t)

    def snapshot(self) -> Snapshot | None:
        """Return the last tick, with the mode as it is now."""
        return self.executor.snapshot() if self.executor.counts["ticks"] else None

    def events(self) -> list[Event]:
        """Return all events."""
        return list(self.sink.events)

    def records(self, clear: bool) -> NDArray[np.void]:
        """Return the records."""
        table = self.sink.table(self.spec.limits.n)
        if clear:
            self.sink.rows.clear()
        return table

    def metrics(self) -> dict[str, Any]:
        """Return the counters; in lock-step no tick is ever late."""
        zero = {f"{k}_s_{p}": 0.0 for k in ("lateness", "cost", "filter") for p in ("p50", "p99", "max")}
        timing = {
            "rate_hz": self.spec.config.rate_hz,
            "realtime": False,
            "deadline_misses": 0,
            "skipped_ticks": 0,
        }
        return {**timing, **zero, **self.executor.counts}

    def lost(self) -> int:
        """Nothing is lost in lock-step."""
        return 0

    def close(self) -> None:
        """Brake to rest, switch off as configured, close the driver."""
        executor = self.executor
        executor.stop(self.now())
        give_up = self.now() + 60.0
        while (executor.moving or executor.mode is Mode.STOPPING) and self.now() < give_up:
            self.sleep_until(self.now() + self.spec.config.dt)
        if executor.enabled and self.spec.config.on_exit == "disable":
            executor.disable(self.now())
        executor.close(self.now())


class ProcessLink:
    """Talks to a control process; starts it when this is the owner.

    Args:
        memory: shared memory of the bridge.
        owner: whether this link starts and ends the control process.
    """

    def __init__(self, memory: BridgeMemory, owner: bool) -> None:
        self.memory, self.owner = memory, owner
        self.name, self.spec = memory.name, memory.spec
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = MonotonicClock()
        self._event_cursor = self._record_cursor = self._lost = 0
        self._events: list[Event] = []
        self._chunks: list[NDArray[np.void]] = []
        self._last_metrics: dict[str, Any] = {}
        self._last_snapshot: Snapshot | None = None
        self._closed = False

    @classmethod
    def create(cls, spec: BridgeSpec) -> ProcessLink:
        """Create the shared memory of a new bridge."""
        remove_leftovers()
        return cls(BridgeMemory.create(spec), owner=True)

    @classmethod
    def attach(cls, name: str) -> ProcessLink:
        """Join a running bridge as one more client."""
        link = cls(BridgeMemory.attach(name), owner=False)
        link._record_cursor = link.memory.records.head
        return link

    def connect(self) -> ArmInfo:
        """Start the control process and let it open the driver."""
        self.memory.request(Command.CONNECT)
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        # A bare interpreter instead of multiprocessing's spawn: the latter would run the client's main script
        # again, and with it import torch into the control process.
        package = __name__.rpartition(".")[0]
        self._process = subprocess.Popen([sys.executable, "-P", "-m", package, self.name], env=env)
        self._await(Command.CONNECT, self.memory.word(Word.REQUEST + Command.CONNECT), _START_TIMEOUT_S)
        if self.spec.config.realtime == "on" and not self.memory.word(Word.REALTIME):
            warnings.warn(
                f"bridge '{self.name}': realtime is 'on', but the system refused SCHED_FIFO: ticks may run late "
                "under load; the event 'realtime_refused' tells how to allow it",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.info()

    def info(self) -> ArmInfo:
        """Return what the driver told on connecting."""
        data = self.memory.info.read()
        if data is None:
            raise ControlProcessError(f"bridge '{self.name}' has no arm information yet; is it connected?")
        return ArmInfo.from_mapping(json.loads(data))

    def now(self) -> float:
        """Return CLOCK_MONOTONIC [s]."""
        return self._clock.now()

    def sleep_until(self, t: float) -> None:
        """Sleep until time t [s]."""
        self._clock.sleep_until(t)

    def command(self, command: Command, timeout: float) -> None:
        """Ask the control process and wait for its answer."""
        self._check_open()
        self._await(command, self.memory.request(command), timeout)

    def submit(self, plan: ArmPlan) -> None:
        """Leave a plan in the slot; the control process takes it with its next tick."""
        self._check_open()
        self._beat()
        self.memory.put_plan(plan)

    def slow(self, scale: float, t: float) -> None:
        """Leave a share of the speed limits for the control process."""
        self._check_open()
        self._beat()
        self.memory.put_speed(scale, t)

    def snapshot(self) -> Snapshot | None:
        """Return the last tick of the control process."""
        if self._closed:
            return self._last_snapshot
        self._beat()
        if self.memory.records.head - self._record_cursor > self.memory.records.capacity // 2:
            self._drain()
        row = self.memory.read_snapshot()
        if row is not None:
            self._last_snapshot = Snapshot.from_row(row)
        return self._last_snapshot

    def events(self) -> list[Event]:
        """Return all events so far."""
        self._drain()
        return list(self._events)

    def records(self, clear: bool) -> NDArray[np.void]:
        """Return the records so far."""
        self._drain()
        empty = np.empty(0, dtype=record_dtype(self.spec.limits.n))
        table = np.concatenate([empty, *self._chunks])
        self._chunks = [] if clear else [table]
        return table

    def metrics(self) -> dict[str, Any]:
        """Return the counters as of the last tenth of a second."""
        if not self._closed:
            self._last_metrics = self.memory.read_metrics() or self._last_metrics
        return dict(self._last_metrics)

    def lost(self) -> int:
        """Number of records and events that were overwritten before this client read them."""
        return self._lost

    def alive(self) -> bool:
        """Whether the control process exists."""
        if self._process is not None:
            return self._process.poll() is None
        return process_alive(self.memory.word(Word.CONTROL_PID))

    def close(self) -> None:
        """Owner: bring the arm to rest, end the control process, remove the memory. Others: just let go."""
        if self._closed:
            return
        if self.owner and self._process is not None:
            if self.alive():
                self.memory.request(Command.CLOSE)
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._drain()
        self.metrics()
        self.snapshot()
        self._closed = True
        if self.owner:
            self.memory.segment.unlink()
        self.memory.close()

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _await(self, command: Command, number: int, timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while self.memory.word(Word.DONE + command) < number:
            if not self.alive():
                time.sleep(_POLL_S)  # its last words may have come between the two looks
                if self.memory.word(Word.DONE + command) >= number:
                    break
                raise ControlProcessError(
                    f"{command.name.lower()}: the control process of '{self.name}' has ended"
                )
            if time.monotonic() > give_up:
                raise ControlProcessError(
                    f"{command.name.lower()}: no answer from '{self.name}' within {timeout:g} s"
                )
            self._beat()
            time.sleep(_POLL_S)
        kind, text = self.memory.result(command)
        if kind:
            raise error_class(kind)(text)

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeError(f"bridge '{self.name}' is closed; connect a new one")
        if not self.alive():
            raise ControlProcessError(
                f"the control process of '{self.name}' has ended; the arm's own servos hold it"
            )

    def _beat(self) -> None:
        self.memory.words[Word.CLIENT_BEAT_NS] = time.monotonic_ns()

    def _drain(self) -> None:
        if self._closed:
            return
        events, self._event_cursor, lost = self.memory.read_events(self._event_cursor)
        self._events += events
        rows, self._record_cursor, lost_rows = self.memory.read_records(self._record_cursor)
        if rows.size:
            self._chunks.append(rows)
        self._lost += lost + lost_rows
