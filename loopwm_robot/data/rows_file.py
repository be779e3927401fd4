"""The file that a replay buffer is saved in: npz without pickles, read at once or array by array."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile, is_zipfile
from zlib import error as ZlibError

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

ROWS = ("obs", "achieved", "goal", "action", "reward", "terminated", "remaining", "next")
"""What every file of a buffer holds."""
BLOCK = 1 << 24
"""Bytes that are read at once."""
DAMAGE = (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError, NotImplementedError)


def check_file(path: Path) -> None:
    """There is such a file, and it may be one of ours.

    Raises:
        ValueError: it is missing, or cut.
    """
    if not path.is_file():
        raise ValueError(f"episodes {path} cannot be read (no such file); give the episodes.npz of loopwm collect")
    if not is_zipfile(path):
        raise ValueError(f"episodes {path} cannot be read (damaged, or no npz file); record them again")


def unreadable(path: Path, error: Exception) -> ValueError:
    """What to say of a damaged file."""
    return ValueError(f"episodes {path} cannot be read ({error}); record them again")


def read_rows(path: Path, names: Iterable[str] = ()) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The rows in a file written by `ReplayBuffer.save`, and what it says about their origin.

    Args:
        path: the file.
        names: of rows that must be there, beside those that every buffer has.

    Raises:
        ValueError: the file is missing or damaged.
    """
    check_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in dict.fromkeys((*ROWS, *names, *file.files))}
        about = json.loads(str(arrays.pop("about", "{}")))
    except DAMAGE as error:
        raise unreadable(path, error) from error
    used = len(arrays["remaining"])
    for name in {*arrays} - {"next"}:
        if arrays[name].shape[:1] != (used,):
            raise ValueError(f"episodes {path}: {name} has shape {arrays[name].shape}, allowed {used} rows; record it")
    return arrays, {key: about[key] for key in ("env_id", "control_mode", "ctrl_dt") if key in about}


def shape_of(file: ZipFile, name: str) -> tuple[int, ...]:
    """Shape of an array in the file, without reading it."""
    with file.open(f"{name}.npy") as member:
        return _header(member)[0]


def fill(file: ZipFile, name: str, rows: NDArray[Any]) -> None:
    """Read an array of the shape and type of `rows` into them, a block at a time: it need not fit into memory.

    Raises:
        ValueError, BadZipFile, ...: see DAMAGE; the rows then hold anything.
    """
    with file.open(f"{name}.npy") as member:
        shape, kind = _header(member)
        if (shape, kind) != (rows.shape, rows.dtype):
            raise ValueError(f"{name} is {kind} {shape}, allowed {rows.dtype} {rows.shape}")
        into = rows.reshape(-1).view(np.uint8)
        while len(into):
            block = member.read(min(BLOCK, len(into)))
            if not block:
                raise EOFError(f"{name} ends too early")
            into[: len(block)] = np.frombuffer(block, np.uint8)
            into = into[len(block) :]
        member.read(1)  # the end: only there the checksum is compared


def ages(remaining: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows since the start of each episode, from the transitions that remain in it."""
    rows = np.arange(len(remaining))
    first = np.ones(len(remaining), dtype=bool)
    first[1:] = remaining[1:] != remaining[:-1] - 1
    return rows - np.maximum.accumulate(np.where(first, rows, 0))


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(member)
    shape, fortran, kind = npy.read_array_header_1_0(member) if version == (1, 0) else npy.read_array_header_2_0(member)
    if fortran and len(shape) > 1:
        raise ValueError("an array lies column by column")
    return shape, kind
