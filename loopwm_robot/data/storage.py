"""Where the rows of a replay buffer lie: in memory, or past a size in files that are mapped into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = tuple[tuple[int, ...], type[np.generic]]
"""Shape and type of one row."""
GB = 10**9


@dataclass(frozen=True)
class Place:
    """Where arrays lie.

    Attributes:
        memory: bytes of all arrays together from which on they lie in files; None never puts them there.
        folder: for the files, made where it is missing.
    """

    memory: float | None = None
    folder: Path = Path()


IN_MEMORY = Place()


def allocate(rows: int, columns: Mapping[str, Column], place: Place) -> tuple[dict[str, NDArray[Any]], bool]:
    """Arrays of zeros with `rows` rows, and whether they lie in files.

    Memory is taken as rows are filled, space on the disk at once: a full disk is an error here, and no crash later.
    A file has no name once it is mapped: the system frees it with the process, however that ends.

    Raises:
        OSError: there is no space for the files.
    """
    size = rows * sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in columns.values())
    mapped = place.memory is not None and size > place.memory
    if not mapped:
        return {name: np.zeros((rows, *shape), kind) for name, (shape, kind) in columns.items()}, False
    place.folder.mkdir(parents=True, exist_ok=True)
    try:
        return {name: _mapped((rows, *shape), kind, place.folder) for name, (shape, kind) in columns.items()}, True
    except OSError as error:
        raise OSError(
            error.errno,
            f"a replay buffer of {size / GB:.3g} GB does not fit on the disk ({error.strerror}); lower "
            "train.buffer_size, or raise train.replay_memory_gb where there is memory",
            str(place.folder),
        ) from error


def _mapped(shape: tuple[int, ...], kind: type[np.generic], folder: Path) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size == 0:
        return np.zeros(shape, kind)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, kind, "r+", shape=shape).view(np.ndarray)
