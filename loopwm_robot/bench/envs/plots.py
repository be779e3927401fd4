"""The picture of the page: control steps a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...report.style import BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, SKY, figure
from ..common import Row
from .peers import PEERS, SUBSTEPS, TASKS
from .speed import ALONE, OURS

COLOURS = {
    OURS: BLUE,
    "gymnasium-robotics": ORANGE,
    "dm_control": GREEN,
    "metaworld": PURPLE,
    "robosuite": GREY,
}


def draw(rows: list[Row], path: Path) -> Path:
    """Single environments on the left, many at once beside the physics alone on the right."""
    of = {peer.package: peer.substeps for peer in PEERS}
    single = {
        (row["package"], row["task"]): float(row["steps_per_second"])
        for row in rows
        if row["table"] == ALONE and row["physics_steps"] == of.get(str(row["package"]), SUBSTEPS)
    }
    batched = [row for row in rows if row.get("control_mode") == "joint_delta" and row["physics_steps"] == SUBSTEPS]
    first = batched[0]["table"] if batched else "many at once"  # the number that others are compared with
    many = {(row["task"], row["cores"]): row for row in batched if row["table"] == first}
    with figure(path, 8.6, 3.3) as fig:
        left, right = fig.subplots(1, 2)
        packages = [name for name in COLOURS if any(key[0] == name for key in single)]
        _bars(left, [(name, COLOURS[name], [single.get((name, task), 0.0) for task in TASKS]) for name in packages])
        left.set(title="one environment, one core")
        groups = []
        for cores, colour in ((1, SKY), (2, BLUE)):
            found = [many.get((task, cores), {}) for task in TASKS]
            if any(found):
                name = f"{cores} core{'s' * (cores == 2)}"
                groups.append((name, colour, [float(row.get("steps_per_second", 0.0)) for row in found]))
                alone = [float(row.get("physics_alone", 0.0)) for row in found]
                groups.append((f"physics alone, {cores}", PALE, alone))
        _bars(right, groups)
        right.set(title=f"{first}, joint_delta")
        for axes in (left, right):
            axes.set_ylabel("control steps a second")
    return path


def _bars(axes: object, groups: list[tuple[str, str, list[float]]]) -> None:
    width = 0.8 / max(len(groups), 1)
    for i, (label, colour, heights) in enumerate(groups):
        places = np.arange(len(heights)) + (i - (len(groups) - 1) / 2) * width
        axes.bar(places, heights, 0.92 * width, color=colour, label=label)  # type: ignore[attr-defined]
    axes.set_xticks(range(len(TASKS)), TASKS)  # type: ignore[attr-defined]
    axes.legend(fontsize=7)  # type: ignore[attr-defined]
