"""Ranges of hidden dynamics in a YAML file: what `loopwm identify` writes and `randomize` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .randomize import DynamicsRanges, ranges_fields


def write_ranges(path: Path, ranges: DynamicsRanges, comment: str = "") -> None:
    """Write ranges without held-out combinations.

    Args:
        path: of the file.
        ranges: what to write.
        comment: lines above them.
    """
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    lines = [f"{name}: [{low!r}, {high!r}]\n" for name in ranges_fields() for low, high in [getattr(ranges, name)]]
    path.write_text(head + "".join(lines), encoding="utf-8")


def read_ranges(path: Path) -> DynamicsRanges:
    """Read ranges: a parameter is a number or [low, high]; what is left out is that of the arm's MJCF.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"randomize: file {path} cannot be read ({error}); write one with loopwm identify") from error
    known = ranges_fields()
    if not isinstance(content, dict) or not content.keys() <= known.keys():
        raise ValueError(f"randomize: file {path} holds {content!r}, allowed the keys {', '.join(known)}")
    values = {name: (number, number) for name, number in known.items()}
    for name, given in content.items():
        ends = given if isinstance(given, list) else [given, given]
        if len(ends) != 2 or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            raise ValueError(f"randomize: {name} in {path} is {given!r}, allowed a number or [low, high]")
        values[name] = (ends[0], ends[1])
    try:
        return DynamicsRanges(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"randomize: file {path}: {error}") from error
