"""Runs of a sweep on the machines of a Ray cluster, each a process as on this machine."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .ray_cluster import cluster
from .sweep import Start, start_process

HERE = "local"
"""Stands for a new cluster on this machine."""
LOST = 255
"""Exit status of a run whose machine was lost."""
LOOK_S = 0.1


class Starter:
    """Starts a run where Ray puts it, and watches it."""

    def __init__(self, todo: Sequence[str], log: str) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it, also in what its workers start
        self._process = start_process(todo, Path(log))

    def poll(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


class RayRun:
    """A run on the cluster, to be handled like a `subprocess.Popen`; it waits until a core is free.

    Args:
        starter: the actor class.
        todo: arguments of loopwm.
        log: file for what it says, in a folder that all machines see under this path.
    """

    def __init__(self, starter: Any, todo: Sequence[str], log: Path) -> None:
        self._actor = starter.remote(list(todo), str(log))
        self._asked = self._actor.poll.remote()
        self._status: int | None = None

    def poll(self) -> int | None:
        """Exit status; None while it runs or waits, LOST where its machine was lost."""
        import ray

        if self._status is None and ray.wait([self._asked], timeout=0)[0]:
            try:
                self._status = ray.get(self._asked)
                if self._status is None:
                    self._asked = self._actor.poll.remote()
            except ray.exceptions.RayActorError:
                self._status = LOST
            if self._status is not None:
                ray.kill(self._actor)  # another run gets its core
        return self._status

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        if self._status is None:
            self._actor.signal.remote(number)

    def wait(self, timeout: float | None = None) -> int:
        """Exit status, once there is one.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer [s].
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("loopwm", timeout or 0.0)
            time.sleep(LOOK_S)
        return status

    def kill(self) -> None:
        """End it at once."""
        import ray

        if self._status is None:
            self.send_signal(signal.SIGKILL)
            ray.wait([self._actor.poll.remote()], timeout=5.0)
            ray.kill(self._actor)
            self._status = -signal.SIGKILL


@contextmanager
def ray_start(address: str) -> Iterator[Start]:
    """Begin runs on a cluster.

    Args:
        address: of the cluster, such as auto; HERE starts one on this machine.

    Raises:
        RequestError: ray is not installed, or there is no such cluster.
    """
    with cluster(f"ray={address}", "" if address == HERE else address) as ray:
        starter = ray.remote(num_cpus=1)(Starter)
        yield lambda todo, log: RayRun(starter, todo, log)
