"""What was measured before: rows and claims of each finished unit of work, kept beside the trained models.

A unit is a part of the benchmark, or a piece of one that takes minutes by itself. A unit that was measured by the same
code with the same settings is not measured again; the page is made from all that is there. Where units take hours,
those of other code count as well: the page names the commit of each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..runs import write_text
from .common import Claim, Row, busy_cores, commit


@dataclass(frozen=True)
class Unit:
    """A finished piece of work.

    Attributes:
        part: of the benchmark.
        name: of the unit in its part; empty where the part is one.
        settings: that it depends on.
        commit: of the code.
        date: when it was finished.
        busy_cores: what else the machine did before it.
        minutes: that it took.
        rows, claims: what came out.
        notes: what a reader has to know.
    """

    part: str
    name: str
    settings: dict[str, Any]
    commit: str
    date: str
    busy_cores: float
    minutes: float
    rows: list[Row]
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Measured = tuple[list[Row], list[Claim], list[str]]


class Shelf:
    """Units in a folder, one file each.

    Args:
        folder: is made when the first unit is finished.
        any_commit: units that other code measured are not measured again either.
    """

    def __init__(self, folder: Path, any_commit: bool = False) -> None:
        self.folder, self.commit, self.any_commit = folder, commit(), any_commit

    def measure(self, part: str, name: str, settings: dict[str, Any], make: Callable[[], Measured]) -> Unit:
        """The unit from the folder, or made and put there."""
        settings = json.loads(json.dumps(settings))
        file = self.folder / f"{part}{'_' if name else ''}{name}.json"
        found = self._read(file) if file.is_file() else None
        if found is not None and found.settings == settings and (self.any_commit or found.commit == self.commit):
            return found
        busy, begun = busy_cores(0.2), time.perf_counter()
        rows, claims, notes = make()
        minutes = (time.perf_counter() - begun) / 60
        date = time.strftime("%Y-%m-%d", time.gmtime())
        unit = Unit(part, name, settings, self.commit, date, busy, minutes, rows, claims, notes)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asdict(unit), indent=1) + "\n")
        return unit

    def all(self, part: str) -> list[Unit]:
        """Every unit of a part that is there, by name."""
        files = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        return [unit for file in files if (unit := self._read(file)).part == part]

    @staticmethod
    def _read(file: Path) -> Unit:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return Unit(**{**values, "claims": [Claim(**claim) for claim in values["claims"]]})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is not what the benchmark wrote ({error}); remove it to measure anew") from error


def origin_rows(units: list[Unit]) -> list[Row]:
    """Where each unit comes from."""
    return [
        {
            "table": "details: where the numbers come from",
            "part": unit.part,
            "unit": unit.name or "all",
            "commit": unit.commit[:12],
            "date": unit.date,
            "minutes": unit.minutes,
            "busy cores before": unit.busy_cores,
        }
        for unit in units
    ]
