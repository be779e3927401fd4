"""The side channel of an emulator: commands on standard input, answers on standard output, one a line.

A command is a word with settings, ``freeze duration_s=0.5``, or the same as JSON,
``{"do": "freeze", "duration_s": 0.5}``. The answer is one JSON object; ``{"error": text}`` when the command is
wrong, which changes nothing. The first line of the output, ``{"ready": {...}}``, says where to connect.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
from collections.abc import Callable
from typing import Any

Handler = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out a command (word, settings) and returns the answer; ValueError becomes an error answer."""

_MAX_LINE = 65536


class Console:
    """Reads commands without blocking. Watch ``fileno()`` with select, then call ``poll()``.

    Args:
        handle: carries out commands.
        until_eof: whether the end of the input ends the emulator, so that it never outlives a test.
        file: descriptor to read from.
    """

    def __init__(self, handle: Handler, until_eof: bool = False, file: int = 0) -> None:
        self._handle, self._until_eof, self._file = handle, until_eof, file
        self._buffer = b""
        self.open = _can_be_watched(file)
        self.ended = until_eof and not self.open

    def fileno(self) -> int:
        """The descriptor to watch while ``open``."""
        return self._file

    def ready(self, **facts: Any) -> None:
        """Tell that the emulator can be connected to, and where."""
        self._answer({"ready": facts})

    def poll(self) -> None:
        """Read what is there and carry out complete lines. Call it only when there is input."""
        try:
            data = os.read(self._file, _MAX_LINE)
        except OSError:
            data = b""
        if not data:
            self.open, self.ended = False, self._until_eof
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _MAX_LINE:
            self._buffer = b""
            self._answer({"error": f"a line is longer than {_MAX_LINE} bytes"})
        for line in lines:
            if line.strip():
                self._answer(self.carry_out(line.decode(errors="replace")))

    def carry_out(self, line: str) -> dict[str, Any]:
        """Carry out one line and return the answer."""
        try:
            word, settings = parse(line)
            if word == "quit":
                self.ended = True
                return {"ok": True}
            return self._handle(word, settings)
        except (ValueError, TypeError) as error:
            return {"error": str(error)}

    def _answer(self, answer: dict[str, Any]) -> None:
        try:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # nobody listens any more
            self.ended = True


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """Split a line into a word and its settings.

    Raises:
        ValueError: it is neither JSON with the key "do" nor a word with key=value pairs.
    """
    text = line.strip()
    if text.startswith("{"):
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"command {text[:80]!r} is no JSON object: {error}") from error
        word = data.pop("do", None)
        if not isinstance(word, str):
            raise ValueError('a JSON command needs the key "do" with a word')
        return word, data
    word, *pairs = text.split()
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ValueError(f"'{pair}' in '{text[:80]}' is no key=value pair")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return word, settings


def _can_be_watched(file: int) -> bool:
    """Whether something may come yet: nothing does from /dev/null, the input of a program in the background."""
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(file, selectors.EVENT_READ)
        except (OSError, ValueError):  # no pipe and no terminal, or closed
            return False
    return True
