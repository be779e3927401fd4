"""Runs of `loopwm` that a benchmark starts: a process each, as a user would, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .common import BenchmarkError, portable_path

Runner = Callable[[Sequence[str]], None]
"""Runs a `loopwm` command line to its end."""
Look = Callable[[], bool]
"""Is called again and again while a run works; False stops the run."""
WatchedRunner = Callable[[Sequence[str], Look], bool]
"""Runs a `loopwm` command line and looks after it; False where the look stopped it."""
LOOKS_S = 0.1
"""Time between two looks [s]."""
STOP_S = 15.0
"""What a run may take to stop [s]."""


class RunFailed(BenchmarkError):
    """A run ended with an error: `status` 2 refused its request, 1 failed at work."""

    def __init__(self, arguments: Sequence[str], status: int) -> None:
        super().__init__(f"loopwm {' '.join(arguments)} ended with status {status}; see its messages above")
        self.status = status


def run_process(arguments: Sequence[str]) -> None:
    """Run `loopwm` as a user does, with its progress on the screen.

    Raises:
        RunFailed: it failed.
    """
    run_watched(arguments, None)


def run_watched(arguments: Sequence[str], look: Look | None) -> bool:
    """Run `loopwm` as a user does, and look after it.

    Args:
        arguments: the command line.
        look: see `Look`; None lets it run to its end.

    Returns:
        True when it ran to its end, False when it was stopped.

    Raises:
        RunFailed: it failed.
    """
    return _run([sys.executable, "-m", "loopwm_robot.cli.main", *arguments], arguments, look)


def run_processes(count: int, arguments: Sequence[str]) -> None:
    """Run `loopwm` in so many processes of torchrun.

    Raises:
        RunFailed: it failed.
    """
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    _run([sys.executable, *launcher, "-m", "loopwm_robot.cli.main", *arguments], arguments, None)


def _run(command: Sequence[str], arguments: Sequence[str], look: Look | None) -> bool:
    """Run a command to its end, or until the look stops it."""
    with subprocess.Popen(command) as process:
        try:
            if look is not None and not _watched(process, look):
                return False
            status = process.wait()
        except KeyboardInterrupt as error:  # the terminal interrupts the child as well: let it leave a resumable run
            _end(process, gently=True)
            error.add_note("go on with: the same command")
            raise
        except BaseException:
            _end(process)
            raise
    if status != 0:
        raise RunFailed(arguments, status)
    return True


def _watched(process: subprocess.Popen[bytes], look: Look) -> bool:
    """Look until the process has ended, or stop it."""
    while process.poll() is None:
        if not look():
            _end(process)
            return False
        time.sleep(LOOKS_S)
    look()
    return True


def _end(process: subprocess.Popen[bytes], gently: bool = False) -> None:
    """Wait for the end of a process that was interrupted (gently), or end it."""
    if not gently:
        process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.terminate() if gently else process.kill()


def read_json(path: Path) -> dict[str, Any]:
    """The values of a JSON file, none where there is no file.

    Raises:
        BenchmarkError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchmarkError(f"{portable_path(str(path))} is damaged ({error}); move its run folder away") from error
    return values


def attempt(folder: Path, done: str) -> Path:
    """The folder of a run that begins anew when it is interrupted: that of the finished one, or a new one.

    Args:
        folder: of the first attempt; later ones get a number.
        done: file that a finished run has.
    """
    found, number = folder, 1
    while found.exists() and not (found / done).is_file():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found
