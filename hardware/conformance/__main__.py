"""``python -m hardware.conformance [NAME ...] [--out FILE]``: run all checks and write the table of drivers and checks.

Without names, drivers whose package is not installed are left out, and told. Exit status 0 when every check holds, 1
when one is broken, 2 when the request is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import DriverUnavailable
from . import ALL_CHECKS, RIGS, make_rig
from .rig import NotApplicable

HEAD = """# Conformance of the drivers

Made by `python -m hardware.conformance`; do not edit. Each driver runs on its emulator through the vendor's own client;
the simulated arm has no wire. What stands behind a check: `hardware/conformance/checks.py` and `failures.py`.
**ok**: holds. **-**: does not apply (the emulator cannot fail in this way). **FAILED**: see below.

Emulators show what a driver makes of a protocol. They say nothing about a motor, a gear or a cable.
"""


def run_check(name: str, check: str) -> tuple[str, str]:
    """Run one check on a fresh rig.

    Returns:
        the cell of the table, and what went wrong or does not apply.
    """
    try:
        with make_rig(name) as rig:
            ALL_CHECKS[check](rig)
    except NotApplicable as reason:
        return "-", str(reason)
    except Exception as error:  # whatever a driver lets out breaks the contract
        return "FAILED", f"{type(error).__name__}: {error}"
    return "ok", ""


def unavailable(name: str) -> str:
    """What a driver needs that is not installed; empty where nothing is missing."""
    try:
        with make_rig(name):
            return ""
    except DriverUnavailable as error:
        return str(error)


def summary(check: str) -> str:
    """First paragraph of a check's docstring."""
    return " ".join((ALL_CHECKS[check].__doc__ or check).strip().split("\n\n")[0].split())


def table(results: dict[str, dict[str, tuple[str, str]]]) -> str:
    """Write the page.

    Args:
        results: driver -> check -> cell and text.
    """
    names = list(results)
    lines = [HEAD, "| Check | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for check in ALL_CHECKS:
        cells = [results[name][check][0] for name in names]
        lines.append(f"| {summary(check)} | " + " | ".join(cells) + " |")
    failed = [(n, c, text) for n in names for c, (cell, text) in results[n].items() if cell == "FAILED"]
    if failed:
        lines += ["", "## Failed", "", *(f"- {n}, `{c}`: {text}" for n, c, text in failed)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run the checks."""
    parser = argparse.ArgumentParser(prog="python -m hardware.conformance", description="Check drivers on emulators.")
    parser.add_argument("names", nargs="*", help=f"drivers, all when left out; known: {', '.join(RIGS)}")
    parser.add_argument("--out", type=Path, help="write the table into this file, such as docs/hardware/conformance.md")
    options = parser.parse_args(list(arguments))
    unknown = [name for name in options.names if name not in RIGS]
    if unknown:
        parser.error(f"driver '{unknown[0]}' is unknown; known: {', '.join(RIGS)}")
    missing = {name: text for name in options.names or RIGS if (text := unavailable(name))}
    if missing and (options.names or options.out is not None):  # a page without one of them would be another page
        parser.error(next(iter(missing.values())))
    for name, text in missing.items():
        print(f"{name:10} left out: {text}", flush=True)
    results: dict[str, dict[str, tuple[str, str]]] = {}
    for name in (name for name in options.names or RIGS if name not in missing):
        results[name] = {}
        for check in ALL_CHECKS:
            began = time.monotonic()
            cell, text = run_check(name, check)
            results[name][check] = cell, text
            print(f"{name:10} {check:42} {cell:6} {time.monotonic() - began:6.1f} s  {text}", flush=True)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(table(results), encoding="utf-8")
    return int(any(cell == "FAILED" for row in results.values() for cell, _ in row.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
