"""How controllers did in closed loop: distances to the goal, and the time a control step takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ..closed_loop import ClosedLoopResult
from .style import BLUE, CYCLE, FAINT, GREY, INK, VERMILION, band, controller_colour, controller_name, figure, note

THRESHOLD = 0.05
"""Radius of success [m]."""
SLACK = "#E9EDF1"
LABELLED_SHARE = 0.045
"""Share of the bar from which a part is wide enough to carry its name."""


def distances(result: ClosedLoopResult) -> np.ndarray:
    """Distance to the goal over time (E, T+1) [m]; NaN after the end of a shorter episode."""
    curves = [np.linalg.norm(e.achieved - e.goal, axis=-1) for e in result.episodes]
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    return table


def distance_plot(results: Mapping[str, ClosedLoopResult], path: Path, threshold: float = THRESHOLD) -> Path:
    """Draw the distance to the goal over time for each controller, and where each episode ended.

    Args:
        results: by name of the controller, in the order to show.
        path: PNG file.
        threshold: radius of success [m].

    Returns:
        `path`.

    Raises:
        ValueError: there is no result, or one has no episodes.
    """
    if not results or not all(r.episodes for r in results.values()):
        raise ValueError("no controller, or one without episodes, allowed at least one of each; evaluate first")
    with figure(path, 8.4, 3.4) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
        for index, (name, result) in enumerate(results.items()):
            curves = 100 * distances(result)
            low, median, high = band(curves)
            time = result.ctrl_dt * np.arange(curves.shape[1])
            colour = controller_colour(name, index)
            left.fill_between(time, low, high, color=colour, alpha=0.13, lw=0)
            left.plot(time, median, color=colour, lw=2, label=controller_name(name))
        left.axhline(100 * threshold, color=INK, lw=1, ls=(0, (4, 3)))
        left.set_ylim(0, None)
        left.set(title="Distance to the goal [cm]: median, 80 % band", xlabel="time [s]")
        left.legend(loc="upper right")
        _final_strips(right, results, threshold)
    return path


def _final_strips(axes: Axes, results: Mapping[str, ClosedLoopResult], threshold: float) -> None:
    """One dot an episode, on a logarithmic axis; the offsets only keep dots apart."""
    axes.set_title("Final distance of every episode [cm]")
    names = list(results)
    for index, name in enumerate(names):
        final = np.maximum(100 * np.asarray(results[name].final_distance), 1e-2)
        row = len(names) - 1 - index
        golden = (np.arange(len(final)) * 0.6180339887) % 1.0  # an even spread without random numbers
        colour = controller_colour(name, index)
        axes.plot(final, row + 0.5 * (golden - 0.5), "o", ms=4, mew=0, color=colour, alpha=0.55)
        median = float(np.median(final))
        axes.plot([median, median], [row - 0.33, row + 0.33], color=INK, lw=1.8)
        inside = f"{int(np.sum(final < 100 * threshold))} of {len(final)} within"
        axes.text(1.0, row + 0.42, inside, transform=axes.get_yaxis_transform(), ha="right", fontsize=8, color=FAINT)
    axes.axvline(100 * threshold, color=INK, lw=1, ls=(0, (4, 3)))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_yticks(range(len(names)), labels=[controller_name(name) for name in names[::-1]])
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.set_xlabel(f"median: bar · success: under {100 * threshold:g} cm (dashed)")


def timing_plot(plan_time: np.ndarray, ctrl_dt: float, parts: Mapping[str, float], path: Path) -> Path:
    """Draw how long planning took beside the deadline, and what the time of one control step is spent on.

    Args:
        plan_time: duration of each control step's planning (K,) [s].
        ctrl_dt: control interval, the deadline [s].
        parts: typical duration of each part of a control step [s]; may be empty.
        path: PNG file.

    Returns:
        `path`.

    Raises:
        ValueError: there are no plan times, or a part is negative.
    """
    times = 1000 * np.asarray(plan_time, np.float64)
    if times.size == 0:
        raise ValueError("plan_time is empty, allowed >= 1 control steps; evaluate a planner first")
    for name, seconds in parts.items():
        if not seconds >= 0:
            raise ValueError(f"part '{name}' took {seconds} s, allowed >= 0 s")
    with figure(path, 8.4, 3.9 if parts else 2.6) as fig:
        if parts:
            top, bottom = fig.subplots(2, 1, height_ratios=(2.1, 1))
            _parts_bar(bottom, parts, 1000 * ctrl_dt)
        else:
            top = fig.subplots()
        _histogram(top, times, 1000 * ctrl_dt)
    return path


def _histogram(axes: Axes, times: np.ndarray, deadline: float) -> None:
    """Histogram of times [ms]; what lies beyond the last bin is counted in words."""
    end = max(1.15 * deadline, min(float(times.max()), 1.5 * float(np.quantile(times, 0.995))))
    axes.hist(times[times <= end], bins=np.linspace(0, end, 90).tolist(), color=BLUE, alpha=0.85)
    axes.axvline(deadline, color=VERMILION, lw=1.8)
    axes.text(deadline, 1.0, " deadline", color=VERMILION, transform=axes.get_xaxis_transform(), va="top", fontsize=8.5)
    axes.set_xlim(0, end)
    axes.set(title="Planning time of every control step", xlabel="[ms]", ylabel="steps")
    p50, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99))
    met = 100 * float((times <= deadline).mean())
    text = f"median {p50:.1f} ms\n95 % under {p95:.1f} ms\n99 % under {p99:.1f} ms\ndeadline met {met:.4g} %"
    beyond = int((times > end).sum())
    text += f"\n{beyond} beyond the axis" if beyond else ""
    note(axes, text, 0.02 if p50 > end / 2 else 0.85)  # where the histogram is not


def _parts_bar(axes: Axes, parts: Mapping[str, float], deadline: float) -> None:
    """One stacked bar [ms] up to the deadline; the rest is slack."""
    total = 1000 * sum(parts.values())
    length = max(total, deadline)
    at = 0.0
    for index, (name, seconds) in enumerate(sorted(parts.items(), key=lambda item: -item[1])):
        width = 1000 * seconds
        colour = (*CYCLE, GREY)[index % (len(CYCLE) + 1)]
        wide = width >= LABELLED_SHARE * length
        axes.barh(0, width, left=at, height=0.7, color=colour, label=f"{name} {width:.2g} ms")
        if wide:
            axes.text(at + width / 2, 0, f"{width:.2g}", ha="center", va="center", color="white", fontsize=8.5)
        at += width
    if deadline > total:
        axes.barh(0, deadline - total, left=total, height=0.7, color=SLACK, label=f"to spare {deadline - total:.2g} ms")
    axes.axvline(deadline, color=VERMILION, lw=1.8)
    axes.set_xlim(0, 1.02 * length)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"One control step, part by part: {total:.3g} ms")
    below = (0.0, -0.32)
    axes.legend(ncols=4, loc="upper left", bbox_to_anchor=below, borderaxespad=0, handlelength=1, columnspacing=1.4)
