"""What the command lines of emulated controllers share: the first pose, and how their run ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


def pose(n: int) -> Callable[[str], list[float]]:
    """A type for argparse: n numbers [rad] with commas between them."""

    def read(text: str) -> list[float]:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) != n:
            raise argparse.ArgumentTypeError(f"'{text}' has {len(numbers)} numbers, allowed {n}")
        return numbers

    return read


def controller_parser(prog: str, about: str | None, models: list[str], model: str) -> argparse.ArgumentParser:
    """Arguments of every emulated controller.

    Args:
        prog: name of the emulator.
        about: what it is.
        models: arms that it plays.
        model: the one that it plays unless another is named.
    """
    parser = argparse.ArgumentParser(prog=prog, description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; keep it on this machine")
    parser.add_argument("--model", default=model, choices=models, help="the arm")
    parser.add_argument("--mjcf", help="another simulated arm with as many joints instead of the built-in one")
    parser.add_argument("--until-eof", action="store_true", help="end with the standard input")
    return parser


def until_ended(who: str, host: str, serve: Callable[[], None]) -> int:
    """Serve until the end; returns the exit status."""
    try:
        serve()
    except OSError as error:
        print(f"{who} emulator: cannot listen on {host}: {error}; choose another --host 127.0.0.x", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
