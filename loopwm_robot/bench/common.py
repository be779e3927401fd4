"""What all benchmarks share: claims, the machine, the commit, and the file with the results."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ..runs import write_text
from ..schema import plain
from .page import page

FOLDER = "docs/benchmarks"
QUIET = 0.2  # busy cores below which nothing else runs
PACKAGES = ("torch", "mujoco", "numpy", "gymnasium")

Row = dict[str, str | bool | int | float]


class BenchmarkError(RuntimeError):
    """The thing to measure did not work."""


@dataclass(frozen=True)
class Claim:
    """One line of a table of targets, and what was measured.

    Attributes:
        claim: what is claimed, with the unit of its numbers.
        value: measured.
        target: bound that the claim sets.
        better: higher (value >= target meets it) or lower (value <= target).
        spread: largest minus smallest over repeats or seeds; None for a single measurement.
    """

    claim: str
    value: float
    target: float
    better: Literal["higher", "lower"]
    spread: float | None = None

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"claim '{self.claim}' is better '{self.better}', allowed higher, lower")
        for name in ("value", "target", "spread"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"claim '{self.claim}' has {name} {number}, allowed finite; leave the claim out")

    @classmethod
    def over(
        cls,
        claim: str,
        values: Sequence[float],
        target: float,
        better: Literal["higher", "lower"],
        pick: Callable[[Sequence[float]], float] = statistics.median,
    ) -> Claim:
        """A claim on several measurements.

        Args:
            claim: see the class.
            values: one for each repeat or seed, at least one.
            target: see the class.
            better: see the class.
            pick: makes the claimed number from the values, e.g. min for the worst success.
        """
        spread = max(values) - min(values) if len(values) > 1 else None
        return cls(claim, pick(values), target, better, spread)

    @property
    def met(self) -> bool:
        """Whether the value meets the target."""
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def plain(self) -> dict[str, Any]:
        """As it stands in the file."""
        keys = ("claim", "value", "spread", "target", "better", "met")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class Figure:
    """A picture on the page.

    Attributes:
        name: of the file, without the name of the benchmark.
        caption: what it shows.
        draw: writes it to a PNG file.
    """

    name: str
    caption: str
    draw: Callable[[Path], Any]


@dataclass(frozen=True)
class Findings:
    """What a benchmark gives back.

    Attributes:
        seeds: that were used.
        rows: of all tables; `table` names the table of a row, the other keys are its columns.
        claims: the claims that were tested; one that was not run is left out.
        notes: sentences that a reader of the numbers has to know.
        config: settings of the thing measured, beside those of the benchmark.
        commit: of the code that was measured, where results of an earlier run are used.
        figures: pictures on the page, in order.
    """

    seeds: list[int]
    rows: list[Row]
    claims: list[Claim]
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    figures: list[Figure] = field(default_factory=list)


def machine() -> dict[str, Any]:
    """This machine without anything that names it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": cpu_model(),
        "cores": cores,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "busy_cores_before": round(busy_cores(), 2),
    }


def busy_cores(span: float = 1.0, stat: Path = Path("/proc/stat")) -> float:
    """Cores that work on something while this process waits for a while.

    Args:
        span: how long to look [s].
        stat: counters of the kernel; a machine without them tells its load of the last minute instead.
    """
    if not stat.is_file():
        return os.getloadavg()[0]
    before = _ticks(stat)
    time.sleep(span)
    idle, total = (new - old for new, old in zip(_ticks(stat), before, strict=True))
    return (os.cpu_count() or 1) * (1 - idle / total) if total > 0 else 0.0


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor, as well as it can be found."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _ticks(stat: Path) -> tuple[int, int]:
    """Idle and all ticks of all cores since the start."""
    counts = [int(word) for word in stat.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    return counts[3] + counts[4], sum(counts)  # idle and waiting for a disk


def commit(root: Path | None = None) -> str:
    """Commit of this project's clone, with "+dirty" where files differ from it; "unknown" without a clone.

    Args:
        root: folder of the clone; None takes the one that holds this package.
    """
    root = (root or Path(__file__).resolve().parents[2]).resolve()
    try:
        # An installed package may lie inside somebody else's repository.
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", ".", f":(exclude){FOLDER}")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+dirty" if changed else head


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def result_name(name: str, quick: bool) -> str:
    """Stem of the files: quick results never replace the full ones."""
    return f"{name}_quick" if quick else name


def make_report(
    name: str, about: str, command: str, quick: bool, config: Any, findings: Findings, where: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that goes into the file.

    Args:
        name: of the benchmark.
        about: what it measures.
        command: that repeats it.
        quick: the short form.
        config: settings of the benchmark.
        findings: what came out.
        where: the machine, taken before the measurement.
    """
    notes = list(findings.notes)
    if where["busy_cores_before"] > QUIET:
        notes.append("The machine was doing other work as well: the times are upper bounds.")
    return {
        "benchmark": name,
        "about": about,
        "quick": quick,
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": dict(where),
        "commit": findings.commit or commit(),
        "config": _portable({**plain(config), **findings.config}),
        "seeds": list(findings.seeds),
        "notes": notes,
        "figures": [{"file": figure_file(name, quick, f), "caption": f.caption} for f in findings.figures],
        "rows": [_rounded(row) for row in findings.rows],
        "claims": [claim.plain() for claim in findings.claims],
    }


def figure_file(name: str, quick: bool, figure: Figure) -> str:
    """Where a figure lies, relative to the page."""
    return f"images/{result_name(name, quick)}_{figure.name}.png"


def write_report(report: Mapping[str, Any], folder: Path, figures: Sequence[Figure] = ()) -> Path:
    """Write NAME.json, the figures and the page made from it; each file is replaced in one step.

    Returns:
        Path of the page.
    """
    name = result_name(report["benchmark"], report["quick"])
    for figure in figures:
        figure.draw(folder / figure_file(report["benchmark"], report["quick"], figure))
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(folder / f"{name}.json", text + "\n")
    return write_text(folder / f"{name}.md", page(json.loads(text)))


def portable_path(text: str) -> str:
    """A path that says nothing of this machine: relative to the working folder, or its last name."""
    path = Path(text).expanduser()
    if not path.is_absolute():
        return text
    cwd = Path.cwd()
    return path.relative_to(cwd).as_posix() if path.is_relative_to(cwd) else path.name


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_portable(entry) for entry in value]
    return portable_path(value) if isinstance(value, str) and value.startswith(("/", "~")) else value


def _rounded(row: Row) -> Row:
    """Six digits are more than any of these measurements has."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
