"""The control loop in a process of its own: ``python -m hardware NAME`` (the bridge starts it).

It owns the driver. Nothing that happens to its clients stops it: without plans the arm brakes and holds;
without its owner it brakes, holds for a while, switches the servos off and ends, taking the shared memory
with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .black_box import write_black_box
from .clock import Clock, MonotonicClock
from .errors import BridgeError
from .executor import Executor
from .interface import Mode
from .memory import BridgeMemory, Command, MemorySinkShared, Word
from .timing import Histogram, Ticker

_CHECK_EVERY_S = 0.1


class ControlLoop:
    """Joins executor, shared memory and ticker.

    Args:
        memory: the shared memory.
        clock: where time comes from; a fake clock runs the loop in a test.
        owner_alive: tells whether the process that started the bridge still exists.
    """

    def __init__(self, memory: BridgeMemory, clock: Clock, owner_alive: Callable[[], bool]) -> None:
        self.memory, self.clock, self._owner_alive = memory, clock, owner_alive
        spec = memory.spec
        self.config = spec.config
        sink, guard = MemorySinkShared(memory), spec.guard()
        self.executor = Executor(spec.driver.create(clock), spec.limits, spec.config, sink, guard, clock.now)
        self.ticker = Ticker(clock, spec.config.dt)
        self.cost = Histogram()
        self.orphaned = False
        self._ending: str | None = None
        self._close_after: float | None = None
        self._plan_version = self._speed_version = 0
        self._check_at = 0.0

    def end(self, why: str) -> None:
        """Ask the loop to brake, hold shortly and end."""
        if self._ending is None:
            self._ending = why

    def run(self) -> None:
        """Run until closed. The arm is brought to rest before the driver is let go."""
        executor, clock = self.executor, self.clock
        ahead = self.config.ahead_s if self.memory.word(Word.REALTIME) else 0.0
        self.ticker.restart()
        try:
            while not self._finished():
                tick = self.ticker.wait(ahead, executor.rehearse)
                began = clock.now()
                if self._commands(tick.t):
                    continue
                self._speed()
                self._plan(tick.t)
                executor.tick(tick.t, tick.lateness, tick.skipped)
                self._publish(tick.t)
                self.cost.add(clock.now() - began)
        finally:
            self._let_go()

    # One tick
    # ---------------------------------------------------------------------------------------------------

    def _commands(self, now: float) -> bool:
        """Carry out waiting commands; True when one may have blocked and the grid was restarted."""
        blocked = False
        for command in Command:
            if not self.memory.requested(command):
                continue
            number = self.memory.word(Word.REQUEST + command)
            error: Exception | None = None
            try:
                blocked |= self._carry_out(command, now)
            except BridgeError as raised:
                error = raised
            except Exception as raised:  # a driver that lets a vendor exception out must not end the loop
                error = BridgeError(f"{type(raised).__name__}: {raised}")
                self.executor.note(now, "driver_bug", traceback.format_exc(limit=-2))
            if command is not Command.CLOSE:
                self.memory.finish(command, number, error)
        if blocked:
            self.executor.rehearse()  # the first one may take longer than a tick
            self.ticker.restart()
        return blocked

    def _carry_out(self, command: Command, now: float) -> bool:
        executor = self.executor
        if command is Command.ESTOP:
            executor.estop(now)
        elif command is Command.STOP:
            executor.stop(now)
        elif command is Command.HOLD:
            self._plan_version = self.memory.plan.version  # a plan from before must not start after it
            executor.hold(now)
        elif command is Command.CLOSE:
            self.end("closed by a client")
        elif command is Command.START:
            executor.start(now)
        elif command is Command.CONNECT:
            self.memory.info.write(json.dumps(asdict(executor.connect(now))).encode())
        elif command is Command.RESET:
            executor.reset(now, acknowledge=True)
        elif command is Command.ENABLE:
            executor.enable(now)
        elif command is Command.DISABLE:
            executor.disable(now)
        elif command is Command.FREEDRIVE:
            executor.freedrive(now)
        elif command is Command.END_FREEDRIVE:
            executor.end_freedrive(now)
        return command not in (Command.STOP, Command.HOLD, Command.CLOSE, Command.START)

    def _plan(self, now: float) -> None:
        version = self.memory.plan.version
        if version == self._plan_version or version % 2:
            return  # nothing new, or a client is writing: its plan comes with the next tick
        try:
            plan = self.memory.get_plan()
        except Exception as error:  # whatever stands in the slot
            self._plan_version = version
            self.executor.counts["plans_rejected"] += 1
            self.executor.note(now, "plan_rejected", f"malformed plan: {error}")
            return
        if plan is not None:
            self._plan_version = version
            self.executor.submit(plan, now)

    def _speed(self) -> None:
        version = self.memory.speed.version
        asked = None if version == self._speed_version or version % 2 else self.memory.get_speed()
        if asked is not None:
            self._speed_version = version
            self.executor.speed.ask(*asked)

    def _publish(self, now: float) -> None:
        memory = self.memory
        memory.snapshot.write(self.executor.snapshot_row.tobytes())
        if now >= self._check_at:
            self._check_at = now + _CHECK_EVERY_S
            self._write_metrics()
            gone = None if self.orphaned else self._client_gone()
            if gone is not None:
                self.orphaned = True
                self.executor.note(now, "client_gone", f"{gone}; brakes, holds, ends")
                self.end(gone)

    def _client_gone(self) -> str | None:
        if not self._owner_alive():
            return "the owner of the bridge is gone"
        beat, timeout = self.memory.word(Word.CLIENT_BEAT_NS) * 1e-9, self.config.client_timeout_s
        if timeout > 0.0 and beat > 0.0 and self.clock.now() - beat > timeout:
            return f"no client has called for {timeout:g} s"
        return None

    def _write_metrics(self) -> None:
        ticker = self.ticker
        data = {
            "rate_hz": self.config.rate_hz,
            "realtime": bool(self.memory.word(Word.REALTIME)),
            "deadline_misses": ticker.misses,
            "skipped_ticks": ticker.skipped,
            **ticker.lateness.summary("lateness"),
            **self.cost.summary("cost"),
            **self.executor.filter_cost.summary("filter"),
            **self.executor.counts,
        }
        self.memory.metrics.write(json.dumps(data).encode())

    # The end
    # ----------------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        if self._ending is None:
            return False
        executor, now = self.executor, self.clock.now()
        if not executor.enabled:
            return True
        executor.stop(now)
        if executor.moving or executor.mode is Mode.STOPPING:
            return False
        if self._close_after is None:
            self._close_after = now + (self.config.orphan_hold_s if self.orphaned else 10 * self.config.dt)
        return now >= self._close_after

    def _let_go(self) -> None:
        executor, now = self.executor, self.clock.now()
        if executor.mode is not Mode.CLOSED:
            try:
                if executor.moving:
                    executor.driver.stop()  # only after a crash of this loop: the stream ends in mid-motion
                elif executor.enabled and self.config.on_exit == "disable":
                    executor.disable(now)
                executor.close(now)
            except Exception as error:
                executor.note(now, "close_failed", f"{type(error).__name__}: {error}")
        with contextlib.suppress(Exception):
            executor.publish(now)
            self._write_metrics()
            self.memory.snapshot.write(executor.snapshot_row.tobytes())
        if self.memory.requested(Command.CLOSE):
            self.memory.finish(Command.CLOSE, self.memory.word(Word.REQUEST + Command.CLOSE), None)


def request_realtime(mode: str, priority: int = 20) -> tuple[bool, str]:
    """Ask for SCHED_FIFO.

    Args:
        mode: "auto", "on" or "off".
        priority: 1 to 99; 20 stays below the kernel's own threads.

    Returns:
        whether it was granted, and what to tell people.
    """
    if mode == "off":
        return False, "normal scheduling, as configured"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return False, (
            f"no SCHED_FIFO ({error}): ticks may run late under load; allow it with "
            f"'ulimit -r {priority}' or an rtprio line in /etc/security/limits.conf, or set realtime: off"
        )
    return True, f"SCHED_FIFO priority {priority}"


_LOCK_ALL_ON_FAULT = 1 | 2 | 4
"""MCL_CURRENT, MCL_FUTURE and MCL_ONFAULT of mlockall: what has been used stays in memory."""


def lock_memory() -> str:
    """Keep the pages of this process in memory: one that has to be fetched again is a late tick.

    Only where the system allows it without a limit, since beyond one further memory could not be had.

    Returns:
        what to tell people.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
            return "memory is not locked; allow it with 'ulimit -l unlimited'"
        if ctypes.CDLL(None, use_errno=True).mlockall(_LOCK_ALL_ON_FAULT) != 0:
            return f"memory is not locked ({os.strerror(ctypes.get_errno())})"
    except (ImportError, AttributeError, OSError) as error:
        return f"memory is not locked ({error})"
    return "memory locked"


def main(name: str) -> int:
    """Run the control loop of a bridge until it is closed; returns the exit status."""
    memory = BridgeMemory.attach(name)
    owner = memory.word(Word.OWNER_PID)
    memory.words[Word.CONTROL_PID] = os.getpid()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the client decides what it means
    status = 0
    try:
        try:
            loop = ControlLoop(memory, MonotonicClock(), lambda: os.getppid() == owner)
        except Exception as error:
            memory.finish(
                Command.CONNECT, memory.word(Word.REQUEST + Command.CONNECT), _as_bridge_error(error)
            )
            return 1
        signal.signal(signal.SIGTERM, lambda *_: loop.end("SIGTERM"))
        granted, text = request_realtime(memory.spec.config.realtime)
        text += f", {lock_memory()}" if granted else ""
        memory.words[Word.REALTIME] = int(granted)
        demanded = memory.spec.config.realtime == "on"
        refused = "realtime_refused" if demanded else "no_realtime"
        loop.executor.note(time.monotonic(), "realtime" if granted else refused, text)
        gc.collect()
        gc.freeze()
        gc.disable()  # a tick makes no reference cycles; a collection would be jitter
        try:
            loop.run()
        except Exception as error:
            loop.executor.note(time.monotonic(), "crashed", f"{type(error).__name__}: {error}")
            traceback.print_exc()
            status = 1
        if os.getppid() != owner:  # nobody else is left to do it
            memory.segment.unlink()
            _keep(memory)
    finally:
        memory.close()
    return status


def _keep(memory: BridgeMemory) -> None:
    folder = memory.spec.config.black_box
    if not folder:
        return
    try:
        write_black_box(memory, Path(folder))
    except OSError as error:
        print(f"the black box of '{memory.name}' cannot be written: {error}", file=sys.stderr)


def _as_bridge_error(error: Exception) -> BridgeError:
    return error if isinstance(error, BridgeError) else BridgeError(f"{type(error).__name__}: {error}")
