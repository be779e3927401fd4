"""Run folders: where a command writes, without ever overwriting what an earlier one wrote.

with RunFolder.create("train", out=None) as run:
    run.save_config(config)
    run.log.info("begin")
    run.write_summary({"success_rate": 1.0})
"""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import yaml

from .errors import RequestError
from .files import tidy, whole_file
from .lock import lock
from .schema import plain

LOGGERS = ("loopwm_robot", "envs", "planners", "hardware")
LOG = "log.txt"
REPEATED = ("collect", "identify", "teleop", "evaluate", "deploy", "gallery", "compare", "push", "pull")
"""Commands without `resume`: an interrupted one is run again."""
Number = str | bool | int | float


class RunFolder:
    """The folder of one run. As a context manager it keeps the log, and says how to resume when interrupted.

    Only one process at a time can be inside: the log is locked for as long.

    Attributes:
        path: the folder, absolute.
        command: name of the command.
        resumed: True where an earlier run goes on.
        log: logger of the run; its file is log.txt.
    """

    def __init__(self, path: Path, command: str, resumed: bool = False) -> None:
        self.path = path
        self.command = command
        self.resumed = resumed
        self.log = logging.getLogger("loopwm_robot")
        self._exit = ExitStack()

    @classmethod
    def create(
        cls,
        command: str,
        out: str | Path | None = None,
        resume: str | Path | None = None,
        root: str | Path = "runs",
    ) -> RunFolder:
        """Make a new folder, or open the one to resume.

        Args:
            command: name of the command.
            out: the folder; None makes `root/command/time`.
            resume: folder of an earlier run that goes on.
            root: where folders without `out` go.

        Raises:
            RequestError: `out` holds something already, `resume` is no run folder, or both are given.
            OSError: the folder cannot be made or written to.
        """
        if resume is not None and out is not None:
            raise RequestError(f"out is {out} and resume is {resume}, allowed only one of them")
        if resume is not None:
            path = Path(resume).expanduser().absolute()
            if not (path / "config.yaml").is_file():
                raise RequestError(f"resume is {path}, allowed a run folder with config.yaml")
            _check_writable(path)
            return cls(path, command, resumed=True)
        if out is None:
            path = _new_folder(Path(root).expanduser().absolute() / command)
        else:
            path = Path(out).expanduser().absolute()
            _make_folder(path)
            if any(entry.name != LOG and not entry.name.endswith(".tmp") for entry in path.iterdir()):
                raise RequestError(f"out is {path}, which is not empty; choose a new one, or resume={path}")
        _check_writable(path)
        return cls(path, command)

    def __enter__(self) -> RunFolder:
        with ExitStack() as opened:
            opened.enter_context(lock(self.path / LOG, f"run folder {self.path}"))
            if self.resumed:
                tidy(self.path, LOG)
            self.log = opened.enter_context(open_log(self.path / LOG))
            self._exit = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            if self.command not in REPEATED and (self.path / "config.yaml").is_file():
                error.add_note(f"go on with: loopwm {self.command} resume={shlex.quote(str(self.path))}")
            self.log.info("interrupted")
        elif error is not None:
            self.log.info("failed", exc_info=error)
        self._exit.close()

    def file(self, name: str) -> Path:
        """Path of a file in the folder; its parent folder is made."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save_config(self, config: Any) -> Path:
        """Write the resolved configuration to config.yaml."""
        return save_config(self.path / "config.yaml", config)

    def write_summary(self, summary: Mapping[str, Number]) -> Path:
        """Write summary.json."""
        return write_summary(self.path / "summary.json", summary)


def write_summary(path: Path, summary: Mapping[str, Any]) -> Path:
    """Write results as one flat JSON object, all or nothing.

    Args:
        path: the file; an existing one is replaced in one step.
        summary: flat keys; texts, booleans and finite numbers. A key that does not apply is left out.

    Returns:
        `path`.

    Raises:
        ValueError: a value is not finite, or is not a plain number or text.
    """
    flat: dict[str, Number] = {}
    for key, value in summary.items():
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            value = value.item()
        if not isinstance(value, str | bool | int | float):
            raise ValueError(
                f"summary key '{key}' is {value!r}, allowed a text, a boolean or a finite number"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"summary key '{key}' is {value}, allowed finite numbers; leave the key out")
        flat[str(key)] = value
    return write_text(path, json.dumps(flat, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def save_config(path: Path, config: Any) -> Path:
    """Write a configuration dataclass as YAML; `loopwm_robot.schema.build` makes it again from the file."""
    return write_text(path, yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))


def write_text(path: Path, text: str) -> Path:
    """Write a file in one step: a reader, or a crash, meets the old content or the new one, never a part."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))
    return path


@contextmanager
def open_log(path: Path) -> Iterator[logging.Logger]:
    """Append what this project's packages log to a file; warnings also go to stderr.

    Args:
        path: the file.

    Yields:
        The logger of `loopwm_robot`.
    """
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    to_screen = logging.StreamHandler()
    to_screen.setLevel(logging.WARNING)
    to_screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(to_file)
        logger.addHandler(to_screen)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    try:
        yield loggers[0]
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(to_file)
            logger.removeHandler(to_screen)
            logger.setLevel(level)
        to_file.close()


def _new_folder(parent: Path) -> Path:
    _make_folder(parent)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        path = parent / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            path.mkdir()
            return path
        except FileExistsError:  # another run began in the same second
            continue
        except OSError as error:
            raise _not_writable(path, error) from error
    raise FileExistsError(f"a thousand runs began in the same second in {parent}")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from error


def _check_writable(path: Path) -> None:
    """Find out now rather than after an hour of training."""
    probe = path / f".writable.{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> OSError:
    reason = (error.strerror or str(error)).lower()
    return type(error)(f"output folder {path} cannot be written ({reason}); choose another with out=FOLDER")
