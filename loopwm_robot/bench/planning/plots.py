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
from .quality import Key

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
LEAST = 1e-3
"""Excess below which plans count as equally good."""


def draw(overheads: dict[tuple[str, int], Any], above: dict[Key, np.ndarray], path: Path) -> Path:
    """A panel for the overhead and one for each problem; what was not measured is left out."""
    problems = list(dict.fromkeys(problem for _, problem, _ in above))
    panels = bool(overheads) + len(problems)
    with figure(path, 3.1 * panels + 1.6, 3.2) as fig:
        axes = iter(np.atleast_1d(fig.subplots(1, panels)))
        if overheads:
            _overhead(next(axes), overheads)
        for problem in problems:
            _quality(next(axes), problem, above)
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


def _overhead(axes: Axes, overheads: dict[tuple[str, int], Any]) -> None:
    for name in dict.fromkeys(name for name, _ in overheads):
        sizes = sorted(n for other, n in overheads if other == name)
        values = np.array([1000 * np.median(overheads[name, n], axis=1) for n in sizes]).T
        _line(axes, name, sizes, values)
    axes.set(title="overhead of a plan [ms]", xscale="log", yscale="log", xlabel="candidates")
    _plain(axes, sorted({n for _, n in overheads})[::2])


def _quality(axes: Axes, problem: str, above: dict[Key, np.ndarray]) -> None:
    names = dict.fromkeys(name for name, other, _ in above if other == problem)
    for name in names:
        budgets = sorted(e for other, p, e in above if (other, p) == (name, problem))
        _line(axes, name, budgets, np.array([100 * above[name, problem, e].clip(LEAST) for e in budgets]).T)
    axes.set(title=f"{problem}: excess cost [%]", xscale="log", yscale="log", xlabel="evaluations")
    axes.axhline(5, color=FAINT, lw=0.8, ls=(0, (2, 3)))
    _plain(axes, sorted({e for _, p, e in above if p == problem}))


def _line(axes: Axes, name: str, x: list[int], values: np.ndarray) -> None:
    """Median of the repeats or seeds."""
    colour, style = LINES[name]
    marker = "o" if style == "-" else "D"
    axes.plot(x, np.median(values, axis=0), color=colour, ls=style, label=name, marker=marker, ms=3.5, lw=1.5)


def _plain(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ticks)
