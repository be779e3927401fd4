"""The picture of the page: what planners cost, and how good their plans are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator, ScalarFormatter

from ...report.style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, figure
from ..common import Row

LINES: dict[str, tuple[str, str]] = {
    "cem": (BLUE, "-"),
    "icem": (GREEN, "-"),
    "mppi": (ORANGE, "-"),
    "cma_es": (INK, "-"),
    "sep_cma_es": (PURPLE, "-"),
    "gradient": (SKY, "-"),
    "predictive_sampling": (VERMILION, "-"),
    "random_shooting": (GREY, "-"),
    "pytorch_mppi": (ORANGE, "--"),
    "pytorch_icem": (GREEN, "--"),
}
"""Colour and line of each planner: an algorithm has one colour, other packages are dashed, with diamonds."""
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
LEAST = 1e-5
"""Excess below which plans count as equally good, and overhead that is none [s]."""


def draw(overheads: Sequence[Row], quality: Sequence[Row], path: Path) -> Path:
    """A panel for the overhead and one for each problem; what was not measured is left out."""
    problems = list(dict.fromkeys(str(row["table"]) for row in quality))
    panels = bool(overheads) + len(problems)
    with figure(path, 3.1 * panels + 1.6, 3.2) as fig:
        axes = iter(np.atleast_1d(fig.subplots(1, panels)))
        if overheads:
            panel = next(axes)
            _lines(panel, overheads, "candidates", "overhead_s_median", 1000)
            panel.set(title="overhead of a plan [ms]", xscale="log", yscale="log", xlabel="candidates")
            _plain(panel, sorted({float(row["candidates"]) for row in overheads})[::2])
        for problem in problems:
            panel, rows = next(axes), [row for row in quality if row["table"] == problem]
            _lines(panel, rows, "evaluations", "median", 100)
            title = f"{problem.partition(':')[0]}: excess cost [%]"
            panel.set(title=title, xscale="log", yscale="log", xlabel="evaluations")
            panel.axhline(5, color=FAINT, lw=0.8, ls=(0, (2, 3)))
            _plain(panel, sorted({float(row["evaluations"]) for row in rows}))
        handles: dict[str, Any] = {}
        for panel in fig.axes:
            handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        order = [name for name in LINES if name in handles]
        fig.legend([handles[name] for name in order], order, loc="outside right upper")
    return path


def draw_rates(rows: Sequence[Row], path: Path) -> Path:
    """Success against control rate: one colour for each kind of model, dashed within the control period."""
    with figure(path, 5.2, 3.2) as fig:
        axes = fig.subplots()
        for kind, colour in zip(dict.fromkeys(str(row["model"]) for row in rows), COLOURS, strict=False):
            for limited, style in ((False, "-"), (True, "--")):
                here = [r for r in rows if r["model"] == kind and (r["deadline_s"] != "none") == limited]
                rates = sorted({float(row["control_rate_hz"]) for row in here})
                values = [[float(r["success"]) for r in here if r["control_rate_hz"] == rate] for rate in rates]
                mean = [float(np.mean(v)) for v in values]
                axes.fill_between(rates, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15)
                label = f"{kind}, within the period" if limited else f"{kind}, unlimited"
                axes.plot(rates, mean, style, color=colour, marker="o", markersize=3, label=label)
        axes.set(title="success", xscale="log", xlabel="control rate [Hz]", ylim=(-0.02, 1.02))
        _plain(axes, sorted({float(row["control_rate_hz"]) for row in rows}))
        axes.legend(loc="lower left")
    return path


def _lines(axes: Axes, rows: Sequence[Row], x: str, y: str, scale: float) -> None:
    """A line for each planner."""
    for name in dict.fromkeys(str(row["planner"]) for row in rows):
        mine = sorted((float(r[x]), scale * max(LEAST, float(r[y]))) for r in rows if r["planner"] == name)
        colour, style = LINES[name]
        marker = "o" if style == "-" else "D"
        axes.plot(*zip(*mine, strict=True), color=colour, ls=style, label=name, marker=marker, ms=3.5, lw=1.5)


def _plain(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ticks)
