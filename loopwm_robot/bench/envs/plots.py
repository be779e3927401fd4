"""The picture of the page: control steps a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...report.style import BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, SKY, figure
from .peers import TASKS
from .speed import OURS, Rates

COLOURS = {
    OURS: BLUE,
    "gymnasium-robotics": ORANGE,
    "dm_control": GREEN,
    "metaworld": PURPLE,
    "robosuite": GREY,
}


def draw(alone: Rates, many: Rates, path: Path) -> Path:
    """Single environments on the left, many at once beside the physics alone on the right."""
    with figure(path, 8.6, 3.3) as fig:
        left, right = fig.subplots(1, 2)
        packages = [name for name in COLOURS if any(key[0] == name for key in alone)]
        _bars(left, [(name, COLOURS[name], [alone.get((name, task)) for task in TASKS]) for name in packages])
        left.set(title="one environment, one core")
        groups = []
        for cores, colour in (("1", SKY), ("2", BLUE)):
            keys = [(task, "joint_delta", cores) for task in TASKS]
            if any(key in many for key in keys):
                groups.append((f"{cores} core{'s' * (cores == '2')}", colour, [many.get(key) for key in keys]))
                physics = [many.get((*key, "physics")) for key in keys]
                groups.append((f"physics alone, {cores}", PALE, physics))
        _bars(right, groups)
        right.set(title="many at once, joint_delta")
        for axes in (left, right):
            axes.set_ylabel("control steps a second")
    return path


def _bars(axes: object, groups: list[tuple[str, str, list[list[float] | None]]]) -> None:
    width = 0.8 / max(len(groups), 1)
    for i, (label, colour, rates) in enumerate(groups):
        heights = [0.0 if values is None else float(np.median(values)) for values in rates]
        places = np.arange(len(heights)) + (i - (len(groups) - 1) / 2) * width
        axes.bar(places, heights, 0.92 * width, color=colour, label=label)  # type: ignore[attr-defined]
    axes.set_xticks(range(len(TASKS)), TASKS)  # type: ignore[attr-defined]
    axes.legend(fontsize=7)  # type: ignore[attr-defined]
