"""Train in processes that are killed: run as a program, so that the fork meets a process with a single thread.

python killed_runs.py FOLDER SEED: prints one JSON line for each attempt until the run is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopwm_robot.cli.main import main

SETTINGS = [
    *("model=nano", "planner=cem_fast", "collect.episodes=3", "train.rounds=2", "train.updates_per_round=6"),
    *("train.episodes_per_round=1", "train.held_out=1", "train.update.batch_size=8", "train.gate.updates=5"),
    "train.deterministic=true",
]
LIMIT = 200
"""Attempts after which a run that never ends is given up."""


def after_calls(count: int) -> Callable[[], None]:
    """Die in the midst of writing: at the count-th time that a file is synced, renamed or removed."""

    def arm() -> None:
        left = count

        def counted(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            return call

        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]

    return arm


def after_seconds(delay: float) -> Callable[[], None]:
    """Die after a time, whatever is being done."""

    def arm() -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, delay)

    return arm


def attempt(arguments: list[str], arm: Callable[[], None]) -> int:
    """Train in a process of its own; its status, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 70
        with contextlib.suppress(BaseException), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            arm()
            status = main(arguments)
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_until_done(folder: Path, seed: int) -> None:
    """Kill and resume at random moments until an attempt ends by itself."""
    rng = random.Random(seed)
    started = time.monotonic()
    assert attempt(["train", *SETTINGS, f"out={folder / 'unbroken'}"], lambda: None) == 0
    duration = time.monotonic() - started
    run = folder / "killed"
    for _ in range(LIMIT):
        again = (run / "config.yaml").is_file()
        arguments = ["train", f"resume={run}"] if again else ["train", *SETTINGS, f"out={run}"]
        by_calls = rng.random() < 0.6
        arm = after_calls(rng.randint(1, 40)) if by_calls else after_seconds(rng.uniform(0.02, 0.8) * duration)
        status = attempt(arguments, arm)
        left = sorted(p.relative_to(run).as_posix() for p in run.rglob("*")) if run.exists() else []
        print(json.dumps({"status": status, "resumed": again, "by_calls": by_calls, "left": left}), flush=True)
        if status != -signal.SIGKILL:
            return


if __name__ == "__main__":
    train_until_done(Path(sys.argv[1]), int(sys.argv[2]))
