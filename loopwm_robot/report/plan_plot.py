"""A picture of one plan: candidate paths by score, elites, the chosen path, the loops that were spent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from planners import AvoidSphere

from .candidates import BROKEN, Candidates
from .style import FAINT, INK, ORANGE, PALE, VERMILION, figure, note

VIEWS = (("From above", 0, 1), ("From the side", 0, 2))
SHOWN = 400
"""Candidates that are drawn at most."""


def plan_plot(
    candidates: Candidates, path: Path, goal: ArrayLike | None = None, obstacles: Sequence[AvoidSphere] = ()
) -> Path:
    """Draw what was considered for one plan.

    Args:
        candidates: all of them.
        path: PNG file.
        goal: where the end effector should go (3,) [m].
        obstacles: spheres in its way.

    Returns:
        `path`.
    """
    with figure(path, 11.0, 3.9) as fig:
        above, side, right = fig.subplots(1, 3, width_ratios=(1, 1, 0.9))
        for axes, (title, i, j) in zip((above, side), VIEWS, strict=True):
            _paths(axes, candidates, i, j)
            _scene(axes, candidates, None if goal is None else np.asarray(goal, np.float64), obstacles, i, j)
            axes.set(title=title, xlabel=f"{'xyz'[i]} [m]", ylabel=f"{'xyz'[j]} [m]")
            axes.set_aspect("equal", adjustable="datalim")
            axes.grid(True, axis="both")
        _scores(right, candidates)
        note(right, loops_used(candidates), x=0.98, y=0.05)
        handles = [
            Line2D([], [], color=VERMILION, lw=2.4, label="chosen" if candidates.feasible else "chosen (infeasible)"),
            Line2D([], [], color="#FDE725", lw=1.6, label="best candidates"),
            Line2D([], [], color="#440154", lw=1.0, label="worst"),
        ]
        if candidates.broken.any():
            handles.append(Line2D([], [], color=BROKEN, lw=0.8, ls=":", label="break a constraint"))
        if goal is not None:
            handles.append(Line2D([], [], color=INK, marker="*", ls="", ms=9, label="goal"))
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return path


def _paths(axes: Axes, candidates: Candidates, i: int, j: int) -> None:
    order, colours = candidates.shown(SHOWN), candidates.colours()
    broken, elite = candidates.broken[order], candidates.elite[order]
    lines = candidates.paths[order][:, :, [i, j]]
    for chosen, width, alpha, style in (
        (broken, 0.6, 0.5, ":"),
        (~broken & ~elite, 0.6, 0.5, "-"),
        (~broken & elite, 1.1, 0.9, "-"),
    ):
        axes.add_collection(
            LineCollection(list(lines[chosen]), colors=colours[order][chosen], lw=width, alpha=alpha, linestyles=style)
        )
    axes.plot(*candidates.chosen[:, [i, j]].T, color=VERMILION, lw=2.4, zorder=4)
    axes.plot(*candidates.chosen[0, [i, j]], "o", color=INK, ms=5, zorder=5)


def _scene(
    axes: Axes,
    candidates: Candidates,
    goal: NDArray[np.float64] | None,
    obstacles: Sequence[AvoidSphere],
    i: int,
    j: int,
) -> None:
    """Goal and obstacles, where they are not so far away that the paths would become a point."""
    for sphere in obstacles:
        centre = (sphere.centre[i], sphere.centre[j])
        axes.add_patch(Circle(centre, sphere.radius, facecolor=ORANGE, alpha=0.18, edgecolor=ORANGE, lw=1.2))
    if goal is not None:
        axes.plot(goal[i], goal[j], "*", color=INK, ms=11, zorder=5)
    axes.autoscale_view()


def _scores(axes: Axes, candidates: Candidates) -> None:
    """Scores by iteration; those that break a constraint are counted."""
    fine = np.isfinite(candidates.scores) & ~candidates.broken
    count = int(candidates.iteration.max()) + 1
    rng = np.random.default_rng(0)
    x = candidates.iteration + 1 + rng.uniform(-0.3, 0.3, len(candidates.scores))
    plain, elite = fine & ~candidates.elite, fine & candidates.elite
    axes.scatter(x[plain], candidates.scores[plain], s=5, color=PALE, lw=0)
    axes.scatter(x[elite], candidates.scores[elite], s=9, color=candidates.colours()[elite], lw=0)
    for k in range(count):
        broken = int((candidates.broken & (candidates.iteration == k)).sum())
        if broken:
            axes.annotate(
                f"{broken} infeasible",
                (k + 1, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                color=FAINT,
                fontsize=7.5,
            )
    axes.set(title="Scores, elites coloured", xlabel="iteration", xticks=range(1, count + 1), xlim=(0.5, count + 0.5))


def loops_used(candidates: Candidates) -> str:
    """Loops of the model in words; empty for models without."""
    loops = candidates.loops
    if loops is None:
        return ""
    if loops.min() == loops.max():
        return f"{loops.min()} loops in every transition"
    elite = loops[candidates.elite]
    return f"loops: mean {loops.mean():.2f}, elites {elite.mean():.2f}, {loops.min()} to {loops.max()}"
