"""The figures of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator, ScalarFormatter

from ...report.style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILION, figure
from ..common import Figure
from .chunks import CHUNKS
from .config import HORIZONS
from .efficiency import FAMILIES, curve
from .results import Result, Results
from .tables import every
from .variants import EQUAL_FLOPS, EQUAL_PARAMETERS

COLOURS = {
    "loopwm": BLUE,
    "one_pass_noise": VERMILION,
    "one_pass": ORANGE,
    "untied": GREEN,
    "mlp": PURPLE,
    "rssm": SKY,
    "ensemble": GREY,
}
NAMES = {
    "loopwm": "LoopWM",
    "one_pass": "one pass",
    "one_pass_noise": "one pass, noise",
    "untied": "untied stack",
    "mlp": "latent MLP",
    "rssm": "RSSM",
    "ensemble": "ensemble",
}
PANEL = 2.75  # width of a panel [inch]
LEAST_SPAN = 0.1
"""Share of the error that the axis of a dial spans at least: what differs by less looks flat."""
WORST_SHOWN = 3.0
"""Errors beyond this many standard deviations leave the axes."""


def figures(results: Results) -> list[Figure]:
    """All figures for which there are results."""
    found = []
    if shown := [d for d in results.datasets() if len(results.variants(d)) > 1 and results.of(d, "mlp")]:
        text = (
            "Open-loop error by horizon, in standard deviations of the data: median and range of the seeds. Above at "
            "equal parameters, below at equal operations a transition."
        )
        found.append(Figure("error", text, partial(draw_error, results, shown)))
    if shown := _with(results, "loops"):
        text = "20-step error of the same weights read out at more and fewer loops; dotted: the mean depth in training."
        found.append(Figure("loops", text, partial(draw_loops, results, shown)))
    if shown := [d for d in results.datasets() if any(r.measures.get("chunks") for r in results.of(d, "chunks"))]:
        text = (
            "24-step error of step-consistent loops by loops and by the control steps of a transition: median and "
            "range of the seeds; dotted: the mean depth in training."
        )
        found.append(Figure("chunks", text, partial(draw_chunks, results, shown)))
    if shown := [d for d in results.datasets() if all(curve(results, d, f) for f in FAMILIES)]:
        text = "20-step error by parameters: median and range of the seeds."
        found.append(Figure("parameters", text, partial(draw_parameters, results, shown)))
    if shown := [d for d in _with(results, "exits") if _difficulty(results.of(d, "loopwm"))]:
        text = "Loops that LoopWM uses in contact and in free motion, exit rules calibrated to 1 % added error."
        found.append(Figure("depth", text, partial(draw_depth, results, shown)))
    if shown := _with(results, "context", ["hidden"]):
        text = "Errors on unseen dynamics by the transitions seen before: median and range of the seeds."
        found.append(Figure("context", text, partial(draw_context, results)))
    if shown := _with(results, "long"):
        text = "Error of long rollouts along recorded actions; dashed: predicting the mean of the data. Worst seed."
        found.append(Figure("long", text, partial(draw_long, results, shown)))
    return found


def draw_error(results: Results, shown: Sequence[str], path: Path) -> Path:
    """Error by horizon: a column for each data set, a row for each comparison."""
    with figure(path, PANEL * len(shown) + 1.5, 5.4) as fig:
        panels = fig.subplots(2, len(shown), sharex=True, sharey="col", squeeze=False)
        comparisons = (("equal parameters", EQUAL_PARAMETERS), ("equal operations", EQUAL_FLOPS))
        for row, (text, group) in enumerate(comparisons):
            for axes, dataset in zip(panels[row], shown, strict=True):
                for variant in (*group, "loopwm"):
                    _curve(axes, results.of(dataset, variant), variant)
                axes.set_title(f"{dataset}, {text}")
                axes.set_ylim(0, min(axes.get_ylim()[1], WORST_SHOWN))
                axes.set_xticks([1, 10, 20, 30, 40, 50])
                if row:
                    axes.set_xlabel("steps ahead")
        panels[0][0].set_ylabel("error")
        panels[1][0].set_ylabel("error")
        _legend(fig, panels.flat)
    return path


def draw_loops(results: Results, shown: Sequence[str], path: Path) -> Path:
    """20-step error by loops at inference."""
    entries = [entry for entry in every(results, "loops") if entry[1] not in ("blind", "told", "deferred", "chunks")]
    others = [v for v in dict.fromkeys(variant for _, variant, _ in entries) if v != "loopwm"]
    colours = dict(zip(others, (ORANGE, GREEN, PURPLE, SKY, VERMILION, GREY, INK), strict=False))
    with figure(path, PANEL * len(shown) + 1.8, 3.0) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(shown)))
        for axes, dataset in zip(panels, shown, strict=True):
            for _, variant, chosen in (entry for entry in entries if entry[0] == dataset):
                loops = [int(t) for t in chosen[0].measures["loops"]]
                values = np.array([[r.measures["loops"][str(t)]["h20"] for t in loops] for r in chosen])
                main = variant == "loopwm"
                name = NAMES.get(variant, variant.replace("_", " "))
                _band(axes, loops, values, BLUE if main else colours[variant], name, main)
                if main:
                    axes.axvline(chosen[0].measures["mean_loops"], color=PALE, ls=(0, (2, 3)))
            axes.set_title(dataset)
            axes.set_xscale("log", base=2)
            _plain_ticks(axes.xaxis, [1, 2, 4, 8, 16])
            axes.set_xlabel("loops")
            low, high = axes.get_ylim()
            room = max(0.0, LEAST_SPAN * (low + high) / 2 - (high - low)) / 2
            axes.set_ylim(low - room, high + room)
        panels[0].set_ylabel("20-step error")
        _legend(fig, panels)
    return path


def draw_chunks(results: Results, shown: Sequence[str], path: Path) -> Path:
    """24-step error by loops, a line for each length of a transition."""
    with figure(path, 3.4 * len(shown) + 1.6, 3.2) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(shown)))
        for axes, dataset in zip(panels, shown, strict=True):
            chosen = [r for r in results.of(dataset, "chunks") if r.measures.get("chunks")]
            for chunk, colour in zip(CHUNKS, (SKY, GREEN, ORANGE, VERMILION), strict=True):
                loops = [int(t) for t in chosen[0].measures["chunks"][str(chunk)]]
                values = [[r.measures["chunks"][str(chunk)][str(t)]["h24"] for t in loops] for r in chosen]
                name = f"{chunk} control step{'s' * (chunk > 1)}"
                _band(axes, loops, np.array(values), colour, name, False, marker="o")
            axes.axvline(chosen[0].measures["mean_loops"], color=PALE, ls=(0, (2, 3)))
            axes.set(title=dataset, xscale="log", xlabel="loops of a transition")
            axes.set_ylim(0, None)
            _plain_ticks(axes.xaxis, [1, 2, 4, 8, 16])
        panels[0].set_ylabel("24-step error")
        _legend(fig, panels)
    return path


def draw_parameters(results: Results, shown: Sequence[str], path: Path) -> Path:
    """20-step error by parameters."""
    with figure(path, 3.4 * len(shown) + 0.6, 3.2) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(shown)))
        for axes, dataset in zip(panels, shown, strict=True):
            for family in FAMILIES:
                points = curve(results, dataset, family)
                values = np.array([point.errors for point in points]).T
                sizes = [point.parameters for point in points]
                _band(axes, sizes, values, COLOURS[family], NAMES[family], family == "loopwm", marker="o")
            axes.set(title=dataset, xscale="log", yscale="log", xlabel="parameters")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        panels[0].set_ylabel("20-step error")
        panels[0].legend()
    return path


def draw_depth(results: Results, shown: Sequence[str], path: Path) -> Path:
    """Loops in contact and in free motion."""
    with figure(path, 3.6 * len(shown) + 0.4, 3.0) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(shown), sharey=True))
        for axes, dataset in zip(panels, shown, strict=True):
            chosen = results.of(dataset, "loopwm")
            rules = list(chosen[0].measures["exits"])
            for side, (key, colour, label) in enumerate(
                (("loops_free", SKY, "free motion"), ("loops_contact", VERMILION, "in contact"))
            ):
                values = np.array([[r.measures["exits"][rule][key] for rule in rules] for r in chosen])
                at = np.arange(len(rules)) + 0.36 * side
                axes.bar(at, np.median(values, 0), 0.34, color=colour, label=label)
                axes.vlines(at, values.min(0), values.max(0), color=INK, lw=1)
            correlation = [np.median([r.measures["exits"][x]["correlation_error"] for r in chosen]) for x in rules]
            names = [f"{x.replace('_', ' ')}\nrank corr. {c:.2f}" for x, c in zip(rules, correlation, strict=True)]
            axes.set_xticks(np.arange(len(rules)) + 0.18, names)
            axes.set_title(dataset)
        panels[0].set_ylim(0, 1.25 * max(axes.dataLim.y1 for axes in panels))
        panels[0].set_ylabel("loops")
        panels[0].legend(ncols=2, loc="upper right")
    return path


def draw_context(results: Results, path: Path) -> Path:
    """1-step and 20-step errors by context and loops."""
    with figure(path, 7.4, 3.2) as fig:
        for axes, h in zip(fig.subplots(1, 2), (1, 20), strict=True):
            for variant, label, colour in (("blind", "no context", GREY), ("told", "told the truth", INK)):
                if errors := results.errors("hidden", variant, h):
                    middle = float(np.median(errors))
                    axes.axhspan(min(errors), max(errors), color=colour, alpha=0.15, lw=0)
                    axes.axhline(middle, color=colour, lw=1.2, ls=(0, (4, 2)))
                    where = axes.get_yaxis_transform()
                    axes.text(0.99, middle, label, transform=where, ha="right", va="bottom", fontsize=8, color=colour)
            chosen = [r for r in results.of("hidden", "loopwm") if "context" in r.measures]
            table = chosen[0].measures["context"]
            seen = [int(s) for s in table]
            for loops, colour in zip(table[str(seen[0])], (SKY, BLUE, PURPLE), strict=False):
                values = np.array([[r.measures["context"][str(s)][loops][f"h{h}"] for s in seen] for r in chosen])
                _band(axes, seen, values, colour, f"{loops} loop{'s' * (loops != '1')}", False, marker="o")
            axes.set(title=f"hidden, {h}-step error", xscale="log", xlabel="transitions seen before")
            _plain_ticks(axes.xaxis, seen)
        axes.legend(loc="center right")
    return path


def draw_long(results: Results, shown: Sequence[str], path: Path) -> Path:
    """Error of long rollouts."""
    with figure(path, PANEL * len(shown) + 1.5, 3.0) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(shown)))
        for axes, dataset in zip(panels, shown, strict=True):
            for _, variant, chosen in (entry for entry in every(results, "long") if entry[0] == dataset):
                found = [r.measures["long"]["long_explore"] for r in chosen]
                worst = np.max([f["errors"] for f in found], axis=0)
                width = 2.2 if variant == "loopwm" else 1.4
                axes.plot(found[0]["steps"], worst, color=COLOURS[variant], label=NAMES[variant], lw=width)
            axes.plot(found[0]["steps"], found[0]["mean_errors"], color=FAINT, ls=(0, (4, 2)), lw=1.2)
            axes.set(title=dataset, xscale="log", xlabel="steps ahead")
            axes.set_ylim(0, min(axes.get_ylim()[1], WORST_SHOWN))
            _plain_ticks(axes.xaxis, [1, 10, 100, 1000])
        panels[0].set_ylabel("error")
        _legend(fig, panels)
    return path


def _curve(axes: Axes, chosen: Sequence[Result], variant: str) -> None:
    """Error at every step up to the longest horizon."""
    if chosen:
        stem = variant.removesuffix("_wide").removesuffix("_narrow")
        values = np.array([r.measures["open_loop"]["test"]["curve"] for r in chosen])[:, : max(HORIZONS)]
        _band(axes, range(1, values.shape[1] + 1), values, COLOURS[stem], NAMES[stem], stem == "loopwm")


def _band(
    axes: Axes, x: Iterable[float], values: np.ndarray, colour: str, label: str, thick: bool, marker: str = ""
) -> None:
    """Median of the seeds (seeds, x) as a line, their range as a band."""
    at = np.array(list(x))
    axes.fill_between(at, values.min(0), values.max(0), color=colour, alpha=0.16, lw=0)
    axes.plot(at, np.median(values, 0), color=colour, label=label, lw=2.3 if thick else 1.4, marker=marker, ms=4)


def _legend(fig: MplFigure, panels: Iterable[Axes]) -> None:
    """One legend for all panels, LoopWM first."""
    handles: dict[str, Artist] = {}
    for axes in panels:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [n for n in NAMES.values() if n in handles] + [n for n in handles if n not in NAMES.values()]
    fig.legend([handles[name] for name in order], order, loc="outside right upper")


def _plain_ticks(axis: object, ticks: Sequence[int]) -> None:
    axis.set_major_formatter(ScalarFormatter())  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]
    axis.set_ticks(list(ticks))  # type: ignore[attr-defined]


def _with(results: Results, key: str, among: Sequence[str] | None = None) -> list[str]:
    """Data sets on which something was measured for LoopWM."""
    names = (d for d in results.datasets() if among is None or d in among)
    return [d for d in names if any(r.measures.get(key) for r in results.of(d, "loopwm"))]


def _difficulty(chosen: Sequence[Result]) -> bool:
    return bool(chosen) and all("loops_contact" in about for r in chosen for about in r.measures["exits"].values())


