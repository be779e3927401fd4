"""A resumed run takes the settings it was started with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..errors import RequestError
from ..runs import RunFolder
from .compose import load

T = TypeVar("T")


def resumed(config: T, overrides: Sequence[str], folder: RunFolder) -> T:
    """The settings of the run in a resumed folder; `config` where the run is new.

    Raises:
        RequestError: other settings are given beside resume.
    """
    if not folder.resumed:
        return config
    others = [text for text in overrides if not text.startswith("resume=")]
    if others:
        raise RequestError(f"resume goes on with the settings of its run, got also {' '.join(others)}; leave them out")
    return load(folder.path / "config.yaml", type(config))
