"""Learning curves of the race."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...report.style import BLUE, CYCLE, GREY, ORANGE, PURPLE, figure
from ..common import Row
from .races import NAMES, OURS, RACES, SAC, TDMPC2

COLOURS = {NAMES[OURS]: BLUE, NAMES[SAC]: ORANGE, f"{NAMES[SAC]} + HER": ORANGE, NAMES[TDMPC2]: PURPLE}

ACROSS = {"time_s": "time [s]", "steps": "control steps"}


def draw_curves(points: Sequence[Row], path: Path) -> Path:
    """A column for each task: what was reached over time above, over steps below; a line for each training."""
    tasks = list(dict.fromkeys(str(row["task"]) for row in points))
    with figure(path, 2.9 * len(tasks) + 0.6, 5.0) as fig:
        axes = fig.subplots(2, len(tasks), squeeze=False)
        for column, task in enumerate(tasks):
            here = [row for row in points if row["task"] == task]
            for panel, (x, label) in zip(axes[:, column], ACROSS.items(), strict=True):
                _lines(panel, task, here, x)
                panel.set(xlabel=label, xscale="log")
            axes[0, column].set_title(task)
            axes[0, column].set_ylabel(RACES[task].target.of if column == 0 else "")
            axes[1, column].set_ylabel(RACES[task].target.of if column == 0 else "")
        handles: dict[str, Any] = {}
        for panel in fig.axes:
            handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncol=4)
    return path


def _lines(axes: Axes, task: str, points: Sequence[Row], x: str) -> None:
    """One task against time or steps."""
    target = RACES[task].target
    for controller, seed in dict.fromkeys((str(row["controller"]), int(row["seed"])) for row in points):
        mine = [row for row in points if (row["controller"], row["seed"]) == (controller, seed)]
        across, up = [float(row[x]) for row in mine], [float(row[target.of]) for row in mine]
        colour = COLOURS.get(controller, CYCLE[-1])
        axes.plot(across, up, color=colour, marker="o", ms=2.5, lw=1.2, label=controller)
    axes.axhline(target.least, color=GREY, lw=0.8, ls=(0, (2, 3)))


def draw_transfer(rows: Sequence[Row], path: Path) -> Path:
    """Success on each arm: a column of points for each training, the line is its nominal arm."""
    kinds = list(dict.fromkeys(str(row["trained on"]) for row in rows))
    with figure(path, 4.6, 3.2) as fig:
        axes = fig.subplots()
        for at, kind in enumerate(kinds):
            mine = [row for row in rows if row["trained on"] == kind]
            others = [100 * float(row["success"]) for row in mine if row["arm"] != "nominal"]
            nominal = [100 * float(row["success"]) for row in mine if row["arm"] == "nominal"]
            spread = np.linspace(-0.25, 0.25, len(others)) if len(others) > 1 else np.zeros(len(others))
            axes.plot(at + spread, others, ".", color=CYCLE[at], label="unseen arms" if at == 0 else None)
            axes.hlines(float(np.mean(nominal)), at - 0.3, at + 0.3, color=CYCLE[at], ls="--")
        axes.set(ylabel="success [%]", xticks=range(len(kinds)), ylim=(-2, 102))
        axes.set_xticklabels([f"trained on\n{kind}" for kind in kinds])
    return path
