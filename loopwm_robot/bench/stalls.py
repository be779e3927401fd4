"""How long the machine itself holds up a process with the control loop's priority that only reads the clock."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from hardware.control_process import request_realtime

from .common import BenchmarkError

_STRETCH_S, _REST_S = 0.8e-3, 1.2e-3
"""Time that is watched without a pause, and slept through after it, about as by a control loop at 500 Hz [s]."""

_LEAST_S = 5e-5
"""Shorter gaps are those of reading the clock [s]."""


def stalls(seconds: float, realtime: str, meanwhile: Callable[[], object]) -> tuple[float, NDArray[np.float64]]:
    """Watch the clock in a process of its own: each gap between two looks is a time in which nothing of it ran.

    Args:
        seconds: how long [s].
        realtime: its scheduling: auto, on or off, as for the control process.
        meanwhile: called again and again in this process, for the load.

    Returns:
        time that was watched [s], and the gaps in it above 50 us [s].

    Raises:
        BenchmarkError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    watcher = context.Process(target=_watch, args=(seconds, realtime, there), daemon=True)
    watcher.start()
    there.close()
    while not here.poll():
        meanwhile()
    try:
        watched, gaps = here.recv()
    except EOFError as error:
        raise BenchmarkError("the process that watches the clock died; run again") from error
    watcher.join()
    return watched, np.array(gaps)


def _watch(seconds: float, realtime: str, out: Connection) -> None:
    request_realtime(realtime)
    watched, gaps = 0.0, []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        last = began
        while last - began < _STRETCH_S:
            now = time.monotonic()
            if now - last > _LEAST_S:
                gaps.append(now - last)
            last = now
        watched += last - began
        time.sleep(_REST_S)
    out.send((watched, gaps))
