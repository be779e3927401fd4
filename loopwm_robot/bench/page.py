"""The page of a benchmark, made from its JSON alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..report.quantities import digits, show

MACHINE = {
    "cpu": "processor",
    "cores": "cores",
    "memory_gib": "memory [GiB]",
    "system": "system",
    "busy_cores_before": "busy cores before the run",
}
FOLDED = "details: "
"""Tables whose name starts like this open on a click."""


def page(report: Mapping[str, Any]) -> str:
    """Markdown: claims first, then the tables, then how and where it was measured.

    Args:
        report: content of NAME.json.
    """
    parts = [f"# {report['benchmark']}: {report['about']}"]
    if report["quick"]:
        parts.append("The quick form: it shows that the benchmark works, its numbers are no evidence.")
    parts.append(_claims(report["claims"]))
    parts += report["notes"]
    figures = [(figure["caption"], figure["file"]) for figure in report.get("figures", [])]
    parts += [f"![{caption}]({file})\n\n*{caption}*" for caption, file in figures]
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        tables.setdefault(row["table"], []).append(row)
    for name, rows in tables.items():
        title = name.removeprefix(FOLDED)
        title = f"{title[:1].upper()}{title[1:]}"
        if name.startswith(FOLDED):
            parts.append(f"<details><summary>{title}</summary>\n\n{_rows(rows)}\n\n</details>")
        else:
            parts += [f"## {title}", _rows(rows)]
    parts += ["## Run it again", f"```sh\n{report['command']}\n```", _origin(report)]
    config = json.dumps(report["config"], indent=2, ensure_ascii=False)
    parts.append(f"<details><summary>Settings</summary>\n\n```json\n{config}\n```\n\n</details>")
    return "\n\n".join(parts) + "\n"


def claim_line(claim: Mapping[str, Any]) -> str:
    """One claim on one line."""
    return f"{'met ' if claim['met'] else 'MISS'}  {claim['claim']}: {digits(claim['value'], 4)} ({_target(claim)})"


def _claims(claims: Sequence[Mapping[str, Any]]) -> str:
    if not claims:
        return "No claim was tested."
    rows = [
        [
            claim["claim"],
            digits(claim["value"], 4),
            "" if claim["spread"] is None else digits(claim["spread"], 3),
            _target(claim),
            "yes" if claim["met"] else "**no**",
        ]
        for claim in claims
    ]
    table = _table(["claim", "value", "spread", "target", "met"], rows, left={0})
    return f"{table}\n\nSpread: largest minus smallest over the repeats or seeds."


def _target(claim: Mapping[str, Any]) -> str:
    return f"{'≥' if claim['better'] == 'higher' else '≤'} {digits(claim['target'], 4)}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row if key != "table"))
    cells = [[show(key, row[key]) if key in row else "" for key in keys] for row in rows]
    left = {i for i, key in enumerate(keys) if any(isinstance(row.get(key), str) for row in rows)}
    return _table([_header(key) for key in keys], cells, left)


def _header(key: str) -> str:
    """A column's name; the unit stands beside its numbers."""
    return re.sub(r"_[sm](?=_|$)", "", key).replace("_", " ")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: set[int]) -> str:
    rule = [":--" if i in left else "--:" for i in range(len(header))]
    lines = [header, rule, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _origin(report: Mapping[str, Any]) -> str:
    where = report["machine"]
    hardware = ", ".join(f"{name} {where[key]}" for key, name in MACHINE.items() if key in where)
    software = ", ".join(f"{key} {value}" for key, value in where.items() if key not in MACHINE)
    seeds = ", ".join(map(str, report["seeds"]))
    lines = (
        f"- Machine: {hardware}",
        f"- Software: {software}",
        f"- Commit: {report['commit']}",
        f"- Date: {report['date']}",
        f"- Seeds: {seeds}",
    )
    return "\n".join(lines)
