"""Settings as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def refuse_unknown(kind: type, data: Mapping[str, Any], what: str, error: type[Exception] = ValueError) -> None:
    """Check the keys of plain data against the fields of a dataclass.

    Args:
        kind: the dataclass.
        data: keys are names of its fields.
        what: how the message begins, such as "bridge settings".
        error: what is raised.

    Raises:
        error: a key is unknown; lists the known ones.
    """
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise error(f"{what} {', '.join(unknown)} are unknown; known: {', '.join(known)}")
