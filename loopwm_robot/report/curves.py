"""How training went: losses by gradient update, planner-made episodes by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import BLUE, FAINT, GREEN, ORANGE, PALE, PURPLE, VERMILION, figure, note

Point = Mapping[str, float]

LOSSES = (("loss", "total", BLUE), ("obs", "observation", ORANGE), ("reward", "reward", PURPLE))
VALIDATION = (
    ("val_rmse_h1", "held out, 1 step ahead", "o"),
    ("val_rmse_h5", "held out, 5 steps ahead", "s"),
    ("val_old_rmse_h5", "old motion, 5 steps ahead", "^"),
)


def learning_curve(history: Sequence[Point], path: Path) -> Path:
    """Draw losses (logarithmic) with held-out errors, and beside them success and final distance by round.

    Args:
        history: points in order; `update` and any of `loss`, `obs`, `reward`, `val_rmse_h1`, `val_rmse_h5`, `round`,
            `success_rate`, `final_distance_m_median`, `wall_time_s`. A point may leave keys out.
        path: PNG file.

    Returns:
        `path`.

    Raises:
        ValueError: no point has a loss.
    """
    if not any("loss" in point for point in history):
        raise ValueError(f"history has {len(history)} points and none with a loss, allowed >= 1; train first")
    rounds = [point for point in history if "success_rate" in point or "final_distance_m_median" in point]
    with figure(path, 8.4 if rounds else 5.4, 3.3) as fig:
        if rounds:
            left, right = fig.subplots(1, 2, width_ratios=(1.45, 1))
            _rounds(right, rounds)
        else:
            left = fig.subplots()
        _losses(left, history)
    return path


def _series(history: Sequence[Point], x: str, y: str) -> tuple[list[float], list[float]]:
    points = [(float(p[x]), float(p[y])) for p in history if x in p and y in p]
    return [a for a, _ in points], [b for _, b in points]


def _losses(axes: Axes, history: Sequence[Point]) -> None:
    axes.set_title("Training loss and held-out error")
    ends = {point["round"]: point["update"] for point in history if "round" in point}
    for update in list(ends.values())[:-1]:
        axes.axvline(update, color=PALE, lw=0.8, ls=(0, (2, 3)))
    for key, label, colour in LOSSES:
        x, y = _series(history, "update", key)
        if len(x) and max(y) > 0:
            axes.plot(x, y, color=colour, label=label, lw=1.9 if key == "loss" else 1.2)
    for key, label, marker in VALIDATION:
        x, y = _series(history, "update", key)
        if len(x):
            axes.plot(x, y, marker, ms=5, mfc="white", mew=1.4, color=VERMILION, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("gradient updates (dotted: the planner collects new episodes)")
    axes.legend(ncols=2, loc="upper right", columnspacing=1.2)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.16)  # room for the legend
    times = [float(point["wall_time_s"]) for point in history if "wall_time_s" in point]
    if times:
        note(axes, f"{times[-1] - min(0.0, times[0]):.0f} s in all", 0.02, 0.04)


def _rounds(axes: Axes, rounds: Sequence[Point]) -> None:
    axes.set_title("The planner's episodes by round")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    x, success = _series(rounds, "round", "success_rate")
    if x:
        axes.bar(x, [100 * s for s in success], width=0.62, color=GREEN, alpha=0.4)
        for at, value in zip(x, success, strict=True):
            axes.text(at, 100 * value + 1.5, f"{100 * value:.0f}", ha="center", fontsize=8, color=GREEN)
    axes.set_ylim(0, 112)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_ylabel("success [%]", color=GREEN)
    x, distance = _series(rounds, "round", "final_distance_m_median")
    if x:
        beside = axes.twinx()
        beside.grid(False)
        beside.plot(x, [100 * d for d in distance], "o-", color=VERMILION, ms=4.5, mfc="white", mew=1.5)
        beside.set_ylim(0, max(100 * max(distance) * 1.25, 1.0))
        beside.set_ylabel("median final distance [cm]", color=VERMILION)
        beside.tick_params(colors=FAINT)
