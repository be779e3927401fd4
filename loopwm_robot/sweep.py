"""Several runs of a command with different settings, some at a time, in one folder that can be resumed.

A loop of our own: hydra's multirun belongs to `hydra.main`, which this command line does not use, and its joblib
launcher had its last release in May 2022.
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .progress import progress

POLL = 0.2
"""Time between two looks at the processes [s]."""
PATIENCE = 15.0
"""Time that an interrupted run gets to leave a state that can be resumed [s]."""


class Process(Protocol):
    """A run that was begun, as `subprocess.Popen` has it."""

    def poll(self) -> int | None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


Start = Callable[[Sequence[str], Path], Process]
"""Begins a run with arguments, its output in a file."""


class SweepError(RuntimeError):
    """Some of the runs failed."""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep does, as its config.yaml keeps it.

    Attributes:
        command: train or demo.
        settings: overrides of each run, by the name of its folder.
        jobs: runs at a time, at least 1.
    """

    command: str
    settings: dict[str, list[str]] = field(default_factory=dict)
    jobs: int = 1


def combinations(choices: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """All combinations of settings, each with the name of its folder: a number, and what the others have otherwise.

    Args:
        choices: for each key the overrides to choose from, KEY=VALUE.
    """
    found: dict[str, list[str]] = {}
    product = list(itertools.product(*choices))
    width = len(str(len(product) - 1))
    for i, overrides in enumerate(product):
        varied = [text for text, options in zip(overrides, choices, strict=True) if len(options) > 1]
        words = [re.sub(r"[^\w.-]+", "-", text) for text in varied]
        found["_".join([f"{i:0{width}}", *words])[:120]] = list(overrides)
    return found


def arguments(plan: SweepPlan, folder: Path, name: str) -> list[str] | None:
    """What is left to do for a run, as arguments of loopwm; None where it is finished."""
    run = folder / name
    if (run / "summary.json").is_file():
        return None
    if (run / "config.yaml").is_file():
        return [plan.command, f"resume={run}"]
    return [plan.command, *plan.settings[name], f"out={run}"]


def run_sweep(plan: SweepPlan, folder: Path, start: Start | None = None) -> list[Path]:
    """Do what is left of a sweep; what a run says goes to NAME.log.

    Args:
        plan: what is to be done.
        folder: gets a folder for each run.
        start: begins a run with arguments, its output in a file.

    Returns:
        the run folders, all finished.

    Raises:
        SweepError: runs failed; the others are finished, and the same sweep resumed tries the failed ones again.
    """
    start = start or start_process
    left = [(name, todo) for name in plan.settings if (todo := arguments(plan, folder, name)) is not None]
    done = len(plan.settings) - len(left)
    failed: list[str] = []
    running: dict[str, Process] = {}
    with progress("runs", len(plan.settings), done=done) as bar:
        try:
            while left or running:
                while left and len(running) < plan.jobs:
                    name, todo = left.pop(0)
                    running[name] = start(todo, folder / f"{name}.log")
                time.sleep(POLL)
                for name, process in list(running.items()):
                    status = process.poll()
                    if status is not None:
                        del running[name]
                        bar.advance()
                        if status != 0:
                            failed.append(name)
                            bar.write(f"{name} failed: {last_line(folder / f'{name}.log')}")
        except BaseException:
            _end(running)
            raise
    if failed:
        reason = last_line(folder / f"{failed[0]}.log")
        raise SweepError(
            f"{len(failed)} of {len(plan.settings)} runs failed, first {failed[0]} ({reason}); "
            f"see the .log files in {folder}, then go on with resume={folder}"
        )
    return [folder / name for name in plan.settings]


def start_process(todo: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Begin a run in a process of its own."""
    command = [sys.executable, "-m", "loopwm_robot.cli.main", *todo]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)


def last_line(log: Path) -> str:
    """The last line that a run said; empty where it said nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "")


def _end(running: dict[str, Process]) -> None:
    """Let the runs leave a state that can be resumed; one that goes on nevertheless, or a second Ctrl-C, ends them."""
    until = time.monotonic() + PATIENCE
    for process in running.values():
        process.send_signal(signal.SIGINT)  # a terminal has interrupted them already, others have not
    try:
        for process in running.values():
            process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in running.values():
            process.kill()
            process.wait()
