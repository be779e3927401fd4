"""How many loops each exit rule takes, as a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from .style import BLUE, figure, note


def depth_histogram(counts: Mapping[str, Sequence[int]], path: Path) -> Path:
    """Draw one panel for each exit rule.

    Args:
        counts: transitions that took 1, 2, ... loops, by rule; see `depth_counts`.
        path: PNG file.

    Returns:
        `path`.

    Raises:
        ValueError: there is no rule, or one without transitions.
    """
    if not counts or not all(sum(row) > 0 for row in counts.values()):
        raise ValueError("counts of loops are empty, allowed one exit rule or more, each with transitions")
    with figure(path, max(4.6, 2.8 * len(counts)), 2.6) as fig:
        panels = fig.subplots(1, len(counts), squeeze=False, sharey=True)[0]
        for axes, (name, row) in zip(panels, counts.items(), strict=True):
            total = sum(row)
            loops = range(1, len(row) + 1)
            axes.bar(loops, [100 * count / total for count in row], color=BLUE, width=0.8)
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("loops of a transition")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            mean = sum(n * count for n, count in zip(loops, row, strict=True)) / total
            note(axes, f"mean {mean:.2f}")
        panels[0].set_ylabel("share [%]")
    return path
