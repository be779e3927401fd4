"""Files that appear whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_FOLDER_SYNC = {errno.EINVAL, errno.EACCES, errno.EBADF, errno.ENOTSUP}
"""What file systems answer that cannot write a folder's entries out; there the rename alone must do."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file through a neighbour: a reader, or a crash at any moment, meets the old content or the new one.

    Args:
        path: the file; an existing one is replaced in one step, and only when nothing failed.

    Yields:
        The open file to write to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)  # the rename itself lies in the folder, not in the file
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the entries of a folder to the disk, where its file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def tidy(folder: Path, other: str) -> None:
    """Remove what killed processes left half-written below a folder that nobody else writes to.

    Args:
        folder: is searched with all below it.
        other: file that marks a folder below as somebody else's, who may be writing there.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(parent) / name / other).exists()]
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                (Path(parent) / name).unlink(missing_ok=True)
