"""Exit statuses: 0 done; 1 the work failed; 2 the request is wrong; 130 interrupted.

Expected failures give one line on stderr. LOOPWM_DEBUG=1 adds the traceback. A bug always shows its own.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from ..errors import RequestError

__all__ = ["RequestError", "one_line", "run_guarded"]

FAILED = 1
WRONG_REQUEST = 2
MAX_LINE = 1000  # characters of an error message
INTERRUPTED = 130  # as a shell reports SIGINT


def run_guarded(work: Callable[[], int]) -> int:
    """Run a command and turn its failures into an exit status and one line.

    Args:
        work: does the command and returns its exit status.

    Returns:
        The exit status.
    """
    try:
        return work()
    except RequestError as error:
        return _report(error, WRONG_REQUEST)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", []) or ["nothing to resume"]:
            print(f"\nloopwm: interrupted; {note}", file=sys.stderr)
        if debugging():
            traceback.print_exc()
        return INTERRUPTED
    except Exception as error:
        if _is_expected(error):
            return _report(error, FAILED)
        traceback.print_exc()
        print(f"loopwm: this is a bug: {one_line(error)}", file=sys.stderr)
        return FAILED


def debugging() -> bool:
    """True when LOOPWM_DEBUG asks for tracebacks."""
    return os.environ.get("LOOPWM_DEBUG", "") not in ("", "0")


def one_line(error: BaseException) -> str:
    """The message of an error, with its notes, on one line; never empty."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    else:
        text = str(error) or type(error).__name__
    return " ".join("; ".join([text, *getattr(error, "__notes__", [])]).split())


def _is_expected(error: Exception) -> bool:
    """Failures of the work rather than of the code.

    The packages below each have a family of errors of their own, such as a latched fault of the arm or
    training that diverged; a bare RuntimeError, TypeError or KeyError is a bug.
    """
    if isinstance(error, OSError | ValueError | ImportError | MemoryError):
        return True
    kind = type(error)
    own = kind.__module__.partition(".")[0] in ("loopwm_robot", "envs", "planners", "hardware")
    # By name, for importing torch here would cost seconds; safetensors reports a full disk in its own way.
    return own or kind.__name__ in ("OutOfMemoryError", "SafetensorError")


def _shortened(line: str) -> str:
    """A line that fits a screen: the ends of a message say more than a list of fifty tensors between them."""
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE * 3 // 4]} ... {line[-MAX_LINE // 4 :]}"


def _report(error: BaseException, status: int) -> int:
    if debugging():
        traceback.print_exc()
    print(f"loopwm: error: {_shortened(one_line(error))}", file=sys.stderr)
    return status
