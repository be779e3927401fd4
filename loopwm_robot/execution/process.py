"""A planner in a process of its own: asked through a pipe, and never waited for in a control step."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from .interfaces import Actions, Answer, Planning, Situation

_GOODBYE_S = 2.0
"""How long a planner may go on with its last plan when nobody wants it any more [s]."""


class ExecutionError(RuntimeError):
    """The planner's process failed, ended or does not answer."""


class PlannerProcess:
    """Starts the process and talks to it; a context manager, which ends it in any case.

    The process ends by itself when its owner is gone, and leaves Ctrl-C to it.

    Args:
        make: makes the planner there: a function of a module, with small arguments (models travel as files).
        timeout_s: how long the process may take to start, and to answer [s].

    Raises:
        ExecutionError: by every method: the planner raised an error, its process ended, or it took too long.
    """

    def __init__(self, make: Callable[[], Planning], timeout_s: float = 120.0) -> None:
        self._timeout = timeout_s
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make), daemon=True, name="planner")
        self._process.start()
        theirs.close()
        self._asked: float | None = time.monotonic()  # None: no reply is due
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PlannerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self._process.pid

    def reset(self, goal: Actions) -> None:
        if self._asked is not None:
            self._wait()
        self._send(goal)
        self._wait()

    def ask(self, situation: Situation) -> None:
        self._send(situation)

    def answer(self) -> Answer | None:
        """The plan that was asked for, if it is ready; does not wait."""
        if self._asked is None:
            return None
        asked = self._asked
        try:
            if not self._pipe.poll():
                if time.monotonic() - asked > self._timeout:
                    raise ExecutionError(f"the planner has not answered for {self._timeout:g} s; look at its machine")
                return None
            reply: Any = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        self._asked = None
        if isinstance(reply, str):
            raise ExecutionError(f"the planner failed: {reply}")
        actions, ready = reply
        return Answer(actions, ready - asked)

    def close(self) -> None:
        """End the process, within two seconds; idempotent."""
        self._pipe.close()
        self._process.join(_GOODBYE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _wait(self) -> None:
        """Wait for the reply that is due, and drop it."""
        while self.answer() is None:
            with suppress(OSError):
                self._pipe.poll(0.05)

    def _send(self, message: Any) -> None:
        self._asked = time.monotonic()
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> ExecutionError:
        self._process.join(_GOODBYE_S)
        return ExecutionError(f"the planner's process ended with exit code {self._process.exitcode}; begin again")


def _work(pipe: Connection, make: Callable[[], Planning]) -> None:
    """Make the planner, then do what it is told until the owner is gone; each message gets one reply."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        planning = make()
        _reply(pipe, (None, time.monotonic()))
        while (message := _next(pipe)) is not None:
            actions = None
            if isinstance(message, Situation):
                planning.ask(message)
                if (answer := planning.answer()) is not None:
                    actions = answer.actions
            else:
                planning.reset(message)
            _reply(pipe, (actions, time.monotonic()))
    except Exception as error:
        _reply(pipe, f"{type(error).__name__}: {error}")


def _next(pipe: Connection) -> Any:
    with suppress(EOFError, OSError):
        return pipe.recv()
    return None


def _reply(pipe: Connection, reply: Any) -> None:
    with suppress(OSError):
        pipe.send(reply)
