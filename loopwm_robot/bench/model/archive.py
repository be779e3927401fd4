"""Finished runs in one file of text, so that a benchmark of hours can go on in another checkout.

A line holds what is kept beside a checkpoint (record, measures, times), not the checkpoint itself, which only a further
measurement would need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import RequestError
from ...runs import write_text
from .evaluate import MEASURES, read_figures
from .train import RECORD, Job

TIMES = "times.json"
FILES = {"record": RECORD, "measures": MEASURES, "times": TIMES}
DIGITS = 6
"""Significant digits that are kept of a measured number."""


def name_of(job: Job) -> str:
    """Of a run in the archive."""
    return f"{job.dataset}/{job.variant.name}/seed_{job.seed}"


def unpack(archive: Path, jobs: Iterable[Job]) -> None:
    """Put archived runs into their folders, where those hold none.

    Raises:
        RequestError: the archive is damaged.
    """
    known = _read(archive)
    for job in jobs:
        found = known.get(name_of(job))
        if found is None or (job.folder / RECORD).is_file():
            continue
        job.folder.mkdir(parents=True, exist_ok=True)
        for part in reversed(FILES):  # the record last: it says that the run is finished
            if part in found:
                write_text(job.folder / FILES[part], json.dumps(found[part], allow_nan=False))


def pack(archive: Path, jobs: Iterable[Job]) -> None:
    """Add the finished runs to the archive, in place of older ones of the same name.

    A run is finished when it is measured, or when its training diverged.

    Raises:
        RequestError: the archive is damaged.
    """
    known = _read(archive)
    before = dict(known)
    for job in jobs:
        parts = {part: read_figures(job.folder / file) for part, file in FILES.items()}
        record = parts["record"]
        if record and (parts["measures"] or "failed" in record):
            found = {part: content for part, content in parts.items() if content}
            known[name_of(job)] = found | {
                part: _rounded(found[part]) for part in ("measures", "times") if part in found
            }
    if known != before:
        lines = [json.dumps({"run": name, **known[name]}, allow_nan=False) for name in sorted(known)]
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_text(archive, "\n".join(lines) + "\n")


def _read(archive: Path) -> dict[str, dict[str, Any]]:
    """The runs by name; none where there is no file."""
    if not archive.is_file():
        return {}
    runs = {}
    for number, line in enumerate(archive.read_text(encoding="utf-8").splitlines(), 1):
        try:
            run = json.loads(line)
            runs[run.pop("run")] = run
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RequestError(
                f"{archive}, line {number}, is damaged ({error}); restore the file, or choose another with archive=FILE"
            ) from error
    return runs


def _rounded(value: Any) -> Any:
    """The same with all its fractions rounded."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value
