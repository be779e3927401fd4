"""Progress of long work: a bar on a terminal, plain lines with a time stamp elsewhere.

    with progress("train", total=3200) as bar:
        for _ in range(3200):
            bar.advance(1, loss=0.1)

Both go to stderr, so that a command's output can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

LINE_INTERVAL = 5.0  # at most one plain line in this time [s]


class Bar(Protocol):
    """What `progress` yields."""

    def advance(self, n: int = 1, **metrics: float | str) -> None:
        """Report `n` more units of work, and the newest values to show beside them."""

    def write(self, text: str) -> None:
        """Print a line without breaking the bar."""


@contextmanager
def progress(
    name: str,
    total: int | None = None,
    *,
    done: int = 0,
    file: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Bar]:
    """Show the progress of one piece of work. May be nested.

    Args:
        name: what is being done, a word or two.
        total: units of work; None where it is not known.
        done: units finished by an earlier run that this one resumes; they do not count for the rate.
        file: where to show it; None takes stderr.
        clock: time [s].

    Yields:
        A bar to advance.
    """
    stream = sys.stderr if file is None else file
    console = Console(file=stream)
    if not (console.is_terminal and not console.is_dumb_terminal):
        lines = _Lines(name, total, done, stream, clock)
        yield lines
        lines.finish()
        return
    live = _TerminalBar.live
    if live is not None:  # an outer bar owns the screen: one more row
        yield _TerminalBar(live, name, total, done)
        return
    live = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Numbers(),
        console=console,
        refresh_per_second=4,
    )
    _TerminalBar.live = live
    try:
        with live:
            yield _TerminalBar(live, name, total, done)
    finally:
        _TerminalBar.live = None


def status(name: str, done: int, total: int | None, rate: float, metrics: dict[str, float | str]) -> str:
    """Text such as `1200/3200 38%  85.2/s  0:23 left  loss 0.0123`.

    Args:
        name: what is being done; may be empty.
        done: units of work finished.
        total: all units, or None.
        rate: units a second; 0 where it is not known yet.
        metrics: newest values.
    """
    count = f"{done}" if total is None else f"{done}/{total} {100 * done // max(total, 1)}%"
    parts = [f"{name} {count}".strip()]
    if rate > 0:
        parts.append(f"{rate:.3g}/s" if rate >= 0.1 else f"{1 / rate:.3g} s each")
        if total is not None and done < total:
            parts.append(f"{duration((total - done) / rate)} left")
    for key, value in metrics.items():
        parts.append(f"{key} {value}" if isinstance(value, str) else f"{key} {value:.4g}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """A time span [s] as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Lines:
    """A line now and then, with the time of day: for logs and pipes."""

    def __init__(
        self, name: str, total: int | None, done: int, file: TextIO, clock: Callable[[], float]
    ) -> None:
        self.name, self.total, self.done, self.file, self.clock = name, total, done, file, clock
        self.first = done
        self.start = self.last = clock()
        self.metrics: dict[str, float | str] = {}
        self.shown = -1

    def advance(self, n: int = 1, **metrics: float | str) -> None:
        self.done += n
        self.metrics.update(metrics)
        if self.clock() - self.last >= LINE_INTERVAL:
            self._show()

    def write(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self.file, flush=True)

    def finish(self) -> None:
        if self.shown != self.done:
            self._show()

    def _show(self) -> None:
        self.last = self.clock()
        elapsed = self.last - self.start
        rate = (self.done - self.first) / elapsed if elapsed > 0 else 0.0
        self.shown = self.done
        self.write(status(self.name, self.done, self.total, rate, self.metrics))


class _TerminalBar:
    """One row of a live display."""

    live: Progress | None = None

    def __init__(self, live: Progress, name: str, total: int | None, done: int) -> None:
        self.display = live
        self.task: TaskID = live.add_task(name, total=total, completed=done, first=done, metrics={})
        self.metrics: dict[str, float | str] = {}

    def advance(self, n: int = 1, **metrics: float | str) -> None:
        self.metrics.update(metrics)
        self.display.update(self.task, advance=n, metrics=self.metrics)

    def write(self, text: str) -> None:
        self.display.console.print(text, markup=False, highlight=False)


class _Numbers(ProgressColumn):
    """Count, rate, remaining time and metrics."""

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        done = int(task.completed)
        elapsed = task.finished_time or task.elapsed or 0.0
        rate = (done - task.fields["first"]) / elapsed if elapsed > 0 else 0.0
        return Text(status("", done, total, rate, task.fields["metrics"]))
