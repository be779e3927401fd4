"""What was measured before: rows and claims of each finished unit of work, kept beside the trained models.

A unit is a part of the benchmark, or a piece of one that takes minutes by itself. A unit that was measured by the same
code with the same settings is not measured again; the page is made from all that is there. Where units take hours,
those of other code count as well: the page names the commit of each. An archive, a file of text with a unit in each
line, carries them to another checkout; the trained models stay behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..runs import write_text
from .common import Claim, Row, busy_cores, commit, cpu_model


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
        processor: that it ran on.
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
    processor: str = ""


Measured = tuple[list[Row], list[Claim], list[str]]


class Shelf:
    """Units in a folder, one file each, and in an archive.

    Args:
        folder: is made when the first unit is finished.
        any_commit: units that other code measured are not measured again either.
        archive: file of further units, to which those that are asked for are added; empty is none. On the page the
            folder's count, where it has them as well.
    """

    def __init__(self, folder: Path, any_commit: bool = False, archive: str = "") -> None:
        self.folder, self.commit, self.any_commit = folder, commit(), any_commit
        self.archive = Path(archive).expanduser() if archive else None
        self._archived()  # one that is damaged is told before anything is measured

    def measure(
        self, part: str, name: str, settings: dict[str, Any], make: Callable[[], Measured], any_commit: bool = False
    ) -> Unit:
        """The unit from the folder or the archive, or made and put there.

        Args:
            part, name, settings: see `Unit`.
            make: measures it.
            any_commit: of this unit, see the class.
        """
        settings = json.loads(json.dumps(settings))
        file = self.folder / f"{part}{'_' if name else ''}{name}.json"
        there = [self._read(file) if file.is_file() else None, self._archived().get((part, name))]
        usable = [
            unit
            for unit in there
            if unit is not None
            and unit.settings == settings
            and (any_commit or self.any_commit or unit.commit == self.commit)
        ]
        unit = max(usable, key=lambda unit: unit.date, default=None)  # the folder's, where both are of one day
        if unit is None:
            busy, begun = busy_cores(0.2), time.perf_counter()
            rows, claims, notes = make()
            minutes = (time.perf_counter() - begun) / 60
            date = time.strftime("%Y-%m-%d", time.gmtime())
            unit = Unit(part, name, settings, self.commit, date, busy, minutes, rows, claims, notes, cpu_model())
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(asdict(unit), indent=1) + "\n")
        if self.archive is not None:
            units = {**self._archived(), (part, name): unit}
            lines = [json.dumps(asdict(units[key]), ensure_ascii=False) + "\n" for key in sorted(units)]
            write_text(self.archive, "".join(lines))
        return unit

    def all(self, part: str) -> list[Unit]:
        """Every unit of a part that is there, by name."""
        files = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        found = {**self._archived(), **{(unit.part, unit.name): unit for unit in map(self._read, files)}}
        return [found[key] for key in sorted(found) if key[0] == part]

    def _archived(self) -> dict[tuple[str, str], Unit]:
        if self.archive is None or not self.archive.is_file():
            return {}
        lines = self.archive.read_text(encoding="utf-8").split("\n")
        units = [self._unit(line, f"line {n} of {self.archive}") for n, line in enumerate(lines, 1) if line]
        return {(unit.part, unit.name): unit for unit in units}

    def _read(self, file: Path) -> Unit:
        return self._unit(file.read_text(encoding="utf-8"), str(file))

    @staticmethod
    def _unit(text: str, where: str) -> Unit:
        try:
            values = json.loads(text)
            return Unit(**{**values, "claims": [Claim(**claim) for claim in values["claims"]]})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{where} is not what the benchmark wrote ({error}); remove it to measure anew") from error


def origin_rows(units: list[Unit]) -> list[Row]:
    """Where each unit comes from."""
    return [
        {
            "table": "details: where the numbers come from",
            "part": unit.part,
            "unit": unit.name or "all",
            "commit": unit.commit[:12],
            "date": unit.date,
            "processor": unit.processor,
            "minutes": unit.minutes,
            "busy cores before": unit.busy_cores,
        }
        for unit in units
    ]
