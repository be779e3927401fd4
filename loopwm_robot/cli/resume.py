"""A resumed run takes the settings it was started with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..errors import RequestError
from ..runs import RunFolder
from ..schema import field_types
from .compose import load, read

T = TypeVar("T")

NEWER = {"device", "interact", "init", "old_data", "film_episodes", "envs"}
"""Settings that the runs of earlier versions do not have."""


def resumed(config: T, overrides: Sequence[str], folder: RunFolder) -> T:
    """The settings of the run in a resumed folder; `config` where the run is new.

    Raises:
        RequestError: other settings are given beside resume, or the folder is of another command.
    """
    if not folder.resumed:
        return config
    others = [text for text in overrides if not text.startswith("resume=")]
    if others:
        raise RequestError(f"resume goes on with the settings of its run, got also {' '.join(others)}; leave them out")
    file = folder.path / "config.yaml"
    # Another command may share keys with this one, and all others have defaults: only the whole set tells them apart.
    if set(read(file)) | NEWER != set(field_types(type(config))) | NEWER:
        raise RequestError(f"resume is {folder.path}, which is no run of loopwm {folder.command}; take one of its runs")
    return load(file, type(config))
