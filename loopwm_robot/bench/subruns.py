"""Runs of `loopwm` that a benchmark starts: a process each, as a user would, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .common import BenchmarkError, portable_path

Runner = Callable[[Sequence[str]], None]
"""Runs a `loopwm` command line to its end."""


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
    command = [sys.executable, "-m", "loopwm_robot.cli.main", *arguments]
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt as error:  # the terminal interrupts the child as well: let it leave a resumable run
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.terminate()
            error.add_note("go on with: the same command")
            raise
    if status != 0:
        raise RunFailed(arguments, status)


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
