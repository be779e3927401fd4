"""Shared memory between one writer and many readers: a mapped file, seqlock slots and rings of bytes.

No locks that a killed process could keep, no pickles. Every block carries a checksum beside its counter, so
that a torn read is noticed on machines that reorder memory accesses as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import secrets
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ControlProcessError

_PREFIX = "loopwm-bridge"
_ALIGN = 64
_POLL_S = 2e-4

PATIENCE_S = 0.25
"""How long a reader waits for a writer that was held up in the middle of a block: a virtual machine stops a process for
milliseconds, wherever it is [s]."""


def aligned(size: int) -> int:
    """Round a size [bytes] up to a cache line."""
    return -(-size // _ALIGN) * _ALIGN


def segment_folder() -> Path:
    """Folder of the mapped files: memory-backed on Linux, the temporary folder elsewhere."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def process_alive(pid: int) -> bool:
    """Whether a process exists (a zombie counts as gone where /proc can tell)."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


class Segment:
    """A named, mapped file. ``multiprocessing.shared_memory`` is not used: its resource tracker, up to Python
    3.12, unlinks a segment as soon as any process that merely attached to it ends.
    """

    def __init__(self, path: Path, size: int, create: bool) -> None:
        self.path = path
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        try:
            self._fd = os.open(path, flags, 0o600)
        except FileNotFoundError as error:
            raise ControlProcessError(
                f"bridge '{path.name}' does not exist; start it first, or check the name"
            ) from error
        try:
            if create:
                os.ftruncate(self._fd, size)
                if hasattr(os, "posix_fallocate"):  # a full disk must show here, not as SIGBUS in mid-motion
                    os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size)
        except (OSError, ValueError) as error:
            os.close(self._fd)
            if create:
                path.unlink(missing_ok=True)
            raise ControlProcessError(
                f"cannot map {size} bytes at {path}: {error}; free some memory"
            ) from error
        self.buffer = memoryview(self._map)

    @classmethod
    def create(cls, size: int) -> Segment:
        """Create a zeroed segment under a fresh name that tells the creator's pid."""
        name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
        return cls(segment_folder() / name, size, create=True)

    @classmethod
    def attach(cls, name: str) -> Segment:
        """Map an existing segment."""
        if not re.fullmatch(rf"{_PREFIX}-[0-9]+-[0-9a-f]+", name):
            raise ControlProcessError(f"bridge name '{name}' is malformed, expected {_PREFIX}-<pid>-<token>")
        return cls(segment_folder() / name, 0, create=False)

    @property
    def name(self) -> str:
        """Name to attach by."""
        return self.path.name

    def array(self, offset: int, count: int, dtype: type) -> NDArray[np.generic]:
        """View numbers at an offset [bytes]."""
        return np.frombuffer(self.buffer, dtype=dtype, count=count, offset=offset)

    @contextlib.contextmanager
    def writer_lock(self, timeout: float = 0.1) -> Iterator[None]:
        """Hold the file's lock, for slots with several possible writers; a killed holder releases it."""
        give_up = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ControlProcessError(
                        f"bridge '{self.name}': another client blocks the plan slot"
                    ) from None
                time.sleep(0.0005)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Drop the mapping; views that still exist keep the memory alive until they go."""
        if self._fd < 0:
            return
        with contextlib.suppress(BufferError):
            self.buffer.release()
            self._map.close()
        os.close(self._fd)
        self._fd = -1

    def unlink(self) -> None:
        """Remove the name; mappings stay valid."""
        self.path.unlink(missing_ok=True)


def remove_leftovers() -> list[str]:
    """Remove segments whose creator and control process were both killed; return their names.

    The second word of a segment is the pid of the control process (see ``memory``).
    """
    removed = []
    for path in segment_folder().glob(f"{_PREFIX}-*"):
        match = re.fullmatch(rf"{_PREFIX}-([0-9]+)-[0-9a-f]+", path.name)
        if match is None or process_alive(int(match[1])):
            continue
        try:
            with path.open("rb") as file:
                head = file.read(16)
            if len(head) == 16 and process_alive(int.from_bytes(head[8:], "little")):
                continue
            path.unlink()
            removed.append(path.name)
        except OSError:
            continue
    return removed


class Slot:
    """A seqlock: one block of bytes, the latest wins, readers never block the writer.

    Layout: counter u64 (odd while writing), length u32, CRC-32 u32, payload.
    """

    HEAD = 16

    def __init__(self, segment: Segment, offset: int, capacity: int) -> None:
        self.capacity = capacity
        self._counter = segment.array(offset, 1, np.uint64)
        self._meta = segment.array(offset + 8, 2, np.uint32)
        self._payload = segment.buffer[offset + self.HEAD : offset + self.HEAD + capacity]

    @classmethod
    def size(cls, capacity: int) -> int:
        """Bytes that a slot takes."""
        return aligned(cls.HEAD + capacity)

    @property
    def version(self) -> int:
        """Changes with every write; 0 before the first."""
        return int(self._counter[0])

    def write(self, data: bytes) -> None:
        """Replace the content."""
        if len(data) > self.capacity:
            raise ValueError(f"{len(data)} bytes do not fit into a slot of {self.capacity} bytes")
        # A writer killed half-way leaves an odd counter: stay odd and move on, so that no reader takes its
        # remains.
        start = int(self._counter[0])
        start += 1 if start % 2 == 0 else 2
        self._counter[0] = start
        self._meta[0], self._meta[1] = len(data), zlib.crc32(data)
        self._payload[: len(data)] = data
        self._counter[0] = start + 1

    def read(self, patience_s: float = PATIENCE_S) -> bytes | None:
        """Return the content, or None when nothing was written or the writer does not finish in time.

        Args:
            patience_s: how long to wait for a writer that was held up half-way; 0 for one that must not wait [s].
        """
        give_up = time.monotonic() + patience_s
        while True:
            for _ in range(4):
                before = int(self._counter[0])
                if before == 0:
                    return None
                if before % 2 == 0:
                    length, crc = int(self._meta[0]), int(self._meta[1])
                    data = bytes(self._payload[: min(length, self.capacity)])
                    if int(self._counter[0]) == before and len(data) == length and zlib.crc32(data) == crc:
                        return data
            if time.monotonic() >= give_up:
                return None
            time.sleep(_POLL_S)

    def release(self) -> None:
        """Let go of the memory."""
        self._payload.release()


class Ring:
    """A ring of equal blocks: one writer that never waits, readers with their own cursor that learn what they
    missed.

    Layout: number of blocks written u64, then per block CRC-32 u32, pad u32, number u64, payload.
    """

    HEAD = 64
    BLOCK_HEAD = 16

    def __init__(self, segment: Segment, offset: int, itemsize: int, capacity: int) -> None:
        self.itemsize, self.capacity = itemsize, capacity
        self._stride = self.stride(itemsize)
        self._head = segment.array(offset, 1, np.uint64)
        self._data = segment.buffer[offset + self.HEAD : offset + self.HEAD + self._stride * capacity]

    @classmethod
    def stride(cls, itemsize: int) -> int:
        """Bytes from block to block."""
        return -(-(cls.BLOCK_HEAD + itemsize) // 8) * 8

    @classmethod
    def size(cls, itemsize: int, capacity: int) -> int:
        """Bytes that a ring takes."""
        return aligned(cls.HEAD + cls.stride(itemsize) * capacity)

    @property
    def head(self) -> int:
        """Number of blocks written so far."""
        return int(self._head[0])

    def push(self, data: bytes) -> None:
        """Append one block, overwriting the oldest."""
        number = int(self._head[0])
        tail = number.to_bytes(8, "little") + data
        start = (number % self.capacity) * self._stride
        self._data[start : start + 8 + len(tail)] = zlib.crc32(tail).to_bytes(8, "little") + tail
        self._head[0] = number + 1

    def read(self, cursor: int) -> tuple[list[bytes], int, int]:
        """Return the blocks from a cursor on, the new cursor, and how many had been overwritten."""
        head = self.head
        first = max(cursor, head - self.capacity + 1, 0)
        blocks: list[bytes] = []
        lost = first - cursor
        for number in range(first, head):
            start = (number % self.capacity) * self._stride
            block = bytes(self._data[start : start + self.BLOCK_HEAD + self.itemsize])
            tail = block[8:]
            if (
                int.from_bytes(tail[:8], "little") == number
                and zlib.crc32(tail).to_bytes(8, "little") == block[:8]
            ):
                blocks.append(tail[8:])
            else:  # overwritten while we were reading
                lost += 1
        return blocks, head, lost

    def release(self) -> None:
        """Let go of the memory."""
        self._data.release()
