"""What the hardware bridge sent to the arm: commands beside measurements, limits, punctuality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hardware import JointLimits

from .style import BLUE, FAINT, GREEN, INK, ORANGE, PALE, PURPLE, VERMILION, figure, note

WINDOW = 6.0
"""Length of the interval shown [s]."""


def bridge_plot(
    records: NDArray[np.void],
    limits: JointLimits,
    path: Path,
    interval: tuple[float, float] | None = None,
    joints: int = 3,
) -> Path:
    """Draw the joints that moved most, speed and acceleration relative to the limits, and the lateness of ticks.

    Args:
        records: one row a control tick, see `hardware.records.record_dtype`.
        limits: what the commands had to keep to.
        path: PNG file.
        interval: part of the run to show [s] since its first tick; None finds the liveliest 6 s. Speed,
            acceleration and lateness are always summed up over the whole run.
        joints: number of joints to show.

    Returns:
        `path`.

    Raises:
        ValueError: there are fewer than three ticks, or the interval holds none.
    """
    if len(records) < 3:
        raise ValueError(f"records has {len(records)} ticks, allowed >= 3; run the bridge first")
    time = records["t"] - records["t"][0]
    begin, end = interval if interval is not None else liveliest(records, time)
    inside = (time >= begin) & (time <= end)
    if not inside.any():
        raise ValueError(f"interval is {begin} to {end} s, allowed parts of 0 to {time[-1]:.3g} s")
    part, t = records[inside], time[inside]
    moved = np.ptp(part["applied"], axis=0)
    chosen = np.sort(np.argsort(-moved, kind="stable")[:joints])
    speed, acceleration = relative_to_limits(records, limits)
    with figure(path, 8.4, 5.6) as fig:
        grid = fig.add_gridspec(max(3, len(chosen)), 2, width_ratios=(1.3, 1))
        first: Axes | None = None
        for row, joint in enumerate(chosen):
            axes = fig.add_subplot(grid[row, 0], sharex=first)
            _joint_panel(axes, part, t, int(joint), limits.names[joint])
            first = first or axes
            if row < len(chosen) - 1:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("time since the start [s]")
        if first is not None:
            first.legend(ncols=3, loc="lower left", bbox_to_anchor=(0.28, 1.0), borderaxespad=0.1, columnspacing=1)
        _limit_panel(fig.add_subplot(grid[0, 1]), t, speed[inside], "Fastest joint", speed, BLUE)
        _limit_panel(fig.add_subplot(grid[1, 1]), t, acceleration[inside], "Hardest acceleration", acceleration, PURPLE)
        _lateness_panel(fig.add_subplot(grid[2, 1]), 1000 * records["lateness"])
    return path


def relative_to_limits(
    records: NDArray[np.void], limits: JointLimits
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest |speed| / limit and |acceleration| / limit of any joint at each tick (ticks,), (ticks,).

    Acceleration is the difference of the applied speeds of successive ticks; NaN where a sequence begins anew.
    """
    speed = np.abs(records["applied_dq"] / limits.dq_max).max(axis=1)
    tick = np.diff(records["tick"])
    dt = float(np.median(np.diff(records["t"])))
    change = np.abs(np.diff(records["applied_dq"], axis=0) / dt / limits.ddq_max).max(axis=1)
    change[(tick != 1) | (np.diff(records["epoch"]) != 0)] = np.nan
    return speed, np.concatenate([[np.nan], change])


def liveliest(records: NDArray[np.void], time: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of `WINDOW` seconds in which the applied command travels furthest, summed over joints."""
    step = np.abs(np.diff(records["applied"], axis=0)).sum(axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(step)])
    ends = np.searchsorted(time, time + WINDOW, side="right") - 1
    best = int(np.argmax(travelled[ends] - travelled))
    return float(time[best]), float(time[best] + WINDOW)


def _joint_panel(axes: Axes, part: NDArray[np.void], t: NDArray[Any], joint: int, name: str) -> None:
    limited = part["reasons"][:, joint] != 0
    axes.fill_between(
        t, 0, 1, where=limited, color=ORANGE, alpha=0.22, lw=0, transform=axes.get_xaxis_transform(), step="mid"
    )
    axes.plot(t, part["requested"][:, joint], color=VERMILION, lw=1.1, ls=(0, (3, 2)), label="requested", zorder=3)
    axes.plot(t, part["applied"][:, joint], color=BLUE, lw=1.8, label="applied")
    axes.plot(t, part["q"][:, joint], color=PALE, lw=4.0, label="measured", zorder=1.5)
    axes.set_title(f"{name} [rad]")
    axes.margins(x=0)


def _limit_panel(
    axes: Axes, t: NDArray[Any], values: NDArray[Any], title: str, whole: NDArray[Any], colour: str
) -> None:
    """Share of the limit over the interval, with the worst of the whole run."""
    axes.fill_between(t, 0, 100 * values, color=colour, alpha=0.25, lw=0)
    axes.plot(t, 100 * values, color=colour, lw=1.2)
    axes.axhline(100, color=INK, lw=1, ls=(0, (4, 3)))
    worst = 100 * float(np.nanmax(whole, initial=0.0))
    axes.set_ylim(0, max(132.0, 1.2 * worst))
    axes.set_yticks([0, 50, 100])
    axes.set_title(f"{title} [% of its limit]")
    axes.margins(x=0)
    note(axes, f"whole run: at most {worst:.3g} %", 0.99, 0.97)


def _lateness_panel(axes: Axes, lateness: NDArray[Any]) -> None:
    """Histogram of how late ticks began [ms], counts logarithmic so that single late ones show."""
    axes.hist(lateness, bins=50, color=GREEN, alpha=0.85)
    axes.set_yscale("log")
    axes.set_ylim(0.6, None)
    p50, p99, worst = (float(x) for x in np.quantile(lateness, (0.5, 0.99, 1.0)))
    axes.set(title="Lateness of control ticks", xlabel="[ms]", ylabel="ticks")
    axes.yaxis.label.set_color(FAINT)
    note(axes, f"median {p50:.2g} ms · 99 % under {p99:.2g} ms\nlatest {worst:.2g} ms", 0.99, 0.97)
