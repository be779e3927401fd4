"""Functions compiled to machine code by Numba: the arithmetic of every joint, pair and pose at every tick.

Machine code is kept on disk. Numba takes it as long as the file of the function itself is unchanged, whatever became
of the functions that it calls in other files; hence a folder for each state of all the files that have such functions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable)

FILES = ("compiled.py", "geometry.py", "joint_law.py", "tick.py", "trajectory.py")
"""Files of this package with compiled functions."""


def stamp(folder: Path) -> str:
    """What tells one state of FILES in a folder from another."""
    return hashlib.sha256(b"\0".join((folder / name).read_bytes() for name in FILES)).hexdigest()[:16]


def cache_folder() -> Path | None:
    """Where machine code is kept: NUMBA_CACHE_DIR, beside the sources, or in the home; None: nowhere can be written."""
    here, config = Path(__file__).parent, cast(Any, numba.config)
    chosen = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    for base in (*chosen, here / "__pycache__", Path("~/.cache/loopwm-robot").expanduser()):
        folder = base / f"numba-{stamp(here)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_FOLDER = cache_folder()


def compiled(function: F) -> F:
    """Compile a function when it is first called with arguments of some types.

    Floating point as in Python, but a division by zero is no error.
    """
    if _FOLDER is None:
        return cast(F, numba.njit(error_model="numpy")(function))
    config = cast(Any, numba.config)
    before, config.CACHE_DIR = config.CACHE_DIR, str(_FOLDER)
    try:
        return cast(F, numba.njit(cache=True, error_model="numpy")(function))
    finally:
        config.CACHE_DIR = before
