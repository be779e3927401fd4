"""A bus of Dynamixel servos (Protocol 2.0) on a pseudo-terminal, over the simulated arm."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...clock import MonotonicClock
from ...errors import BridgeError
from .arm import Mounting, ServoArm
from .server import Server

__all__ = ["Mounting", "Server", "ServoArm", "main"]


def main(arguments: Sequence[str]) -> int:
    """Run the emulator until its side channel says quit, it is interrupted, or its input ends (--until-eof)."""
    parser = argparse.ArgumentParser(
        prog="loopwm emulate dynamixel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arm",
        required=True,
        help='JSON or a file with it: {"mjcf_path": .., "home": .., "servos": [{"joint": .., "id": .., "sign": 1, '
        '"zero": 2048, "model": "xm430-w350"}, ..]}',
    )
    parser.add_argument("--link", help="symbolic link to make to the pseudo-terminal")
    parser.add_argument("--until-eof", action="store_true", help="end with the input")
    options = parser.parse_args(list(arguments))
    clock = MonotonicClock()
    try:
        settings = _settings(options.arm)
        mountings = [Mounting.from_mapping(item) for item in settings["servos"]]
        arm = ServoArm(settings["mjcf_path"], mountings, clock, settings.get("home"))
    except KeyError as error:
        parser.error(f"--arm: the key {error} is missing")
    except TypeError as error:
        parser.error(f"--arm: {error}")
    except (ValueError, OSError, BridgeError) as error:
        parser.error(f"--arm: {error}")
    try:
        server = Server(arm, clock, options.link, options.until_eof)
    except OSError as error:
        parser.error(f"no pseudo-terminal, or no link to it: {error}")
    signal.signal(signal.SIGTERM, _end)
    try:
        server.run()
    except KeyboardInterrupt:
        return 130
    return 0


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # the link to the terminal is taken away on the way out


def _settings(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        text = Path(text).read_text(encoding="utf-8")
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    return data
