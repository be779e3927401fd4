"""Work in several processes, each with one thread of torch."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from ...progress import Bar


def run_parallel(
    work: Callable[..., dict[str, Any]], calls: Sequence[tuple[Any, ...]], jobs: int, bar: Bar
) -> list[dict[str, Any]]:
    """Call `work` with each tuple of arguments in processes of their own; results in the order of the calls."""
    results: dict[Future[dict[str, Any]], dict[str, Any]] = {}
    if jobs == 1 or len(calls) < 2:
        found = []
        for call in calls:
            found.append(work(*call))
            bar.advance(1)
        return found
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(calls)), context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        futures = [pool.submit(work, *call) for call in calls]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                results[future] = future.result()
                bar.advance(1)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # what it works on begins anew next time
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[future] for future in futures]
