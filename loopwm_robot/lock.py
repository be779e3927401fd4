"""One process at a time: a lock that the system takes back by itself when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RequestError

log = logging.getLogger(__name__)


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock on a file, which is made if need be; its content stays as it is.

    Args:
        path: the file that stands for what is locked.
        what: names that in the message.

    Raises:
        RequestError: another process, or another part of this one, holds it.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"{what} is in use by another process, allowed one at a time; wait until that has ended, or stop it"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            log.warning("%s cannot be locked (%s): make sure that nobody else writes there", what, error.strerror)
        yield
