"""What the model foresees: predictions against the truth, and errors by horizon and loop count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from .style import BLUE, CYCLE, FAINT, ORANGE, PALE, PURPLE, band, figure, note


def prediction_plot(
    predicted: Any, truth: Any, ctrl_dt: float, position: slice, path: Path, shown: int = 3, name: str = "End effector"
) -> Path:
    """Draw the path of a few starts, foreseen and real, and the error of all starts by horizon.

    The starts are chosen by how far the position really moved, never by how good the prediction is.

    Args:
        predicted: (starts, H, n) observations foreseen from the starts along recorded actions, physical units.
        truth: (starts, H, n) what was observed.
        ctrl_dt: control interval [s].
        position: columns of the observation with the position (3,) [m].
        path: PNG file.
        shown: number of starts to draw.
        name: of what the position is of.

    Returns:
        `path`.

    Raises:
        ValueError: the shapes differ or are empty, or `position` is not three columns.
    """
    foreseen, real = _positions(predicted, truth, position)
    time = ctrl_dt * np.arange(1, real.shape[1] + 1)
    travelled = np.linalg.norm(real[:, -1] - real[:, 0], axis=-1)
    order = np.argsort(-travelled, kind="stable")
    chosen = order[np.unique(np.linspace(0, 0.6 * (len(order) - 1), min(shown, len(order))).astype(int))]
    with figure(path, 8.4, 5.4) as fig:
        panels = fig.subplots(2, 2, sharex=True).ravel()
        for axis, axes in enumerate(panels[:3]):
            axes.set_title(f"{name} {'xyz'[axis]} [cm]")
            for colour, start in zip(CYCLE, chosen, strict=False):
                axes.plot(time, real[start, :, axis], color=colour, lw=3.4, alpha=0.32)
                axes.plot(time, foreseen[start, :, axis], color=colour, lw=1.5, ls=(0, (3.5, 2)))
        panels[0].legend(
            [Line2D([], [], color=FAINT, lw=3.4, alpha=0.4), Line2D([], [], color=FAINT, lw=1.5, ls=(0, (3.5, 2)))],
            ["truth", "prediction"],
            loc="best",
        )
        _error_panel(panels[3], np.linalg.norm(foreseen - real, axis=-1), time)
        for axes in panels[2:]:
            axes.set_xlabel("time ahead [s]")
    return path


def _error_panel(axes: Axes, error: np.ndarray, time: np.ndarray) -> None:
    """Error (starts, H) [cm] by time ahead: median, middle half and 80 percent."""
    low, median, high = band(error)
    q1, _, q3 = band(error, 0.25, 0.75)
    axes.fill_between(time, low, high, color=BLUE, alpha=0.13, lw=0, label="80 % of starts")
    axes.fill_between(time, q1, q3, color=BLUE, alpha=0.22, lw=0, label="middle half")
    axes.plot(time, median, color=BLUE, lw=2.2, label="median")
    axes.set_ylim(0, max(1.08 * float(high.max()), 1e-3))
    axes.set_title(f"Error of the position [cm], {len(error)} starts")
    axes.legend(loc="upper left")


def horizon_plot(
    predicted: Any, truth: Any, position: slice, path: Path, horizons: Sequence[int] = (1, 5, 10, 20)
) -> Path:
    """Draw the predicted over the true coordinates of a position, one panel for each horizon.

    Args:
        predicted: (starts, H, n), physical units.
        truth: (starts, H, n).
        position: columns of the observation with the position (3,) [m].
        path: PNG file.
        horizons: steps ahead; those beyond H are left out.

    Returns:
        `path`.

    Raises:
        ValueError: the shapes differ or are empty, `position` is not three columns, or no horizon is at most H.
    """
    foreseen, real = _positions(predicted, truth, position)
    usable = [h for h in horizons if 1 <= h <= real.shape[1]]
    if not usable:
        raise ValueError(f"horizons are {list(horizons)}, allowed 1 to {real.shape[1]}; predict more steps")
    low, high = float(real.min()), float(real.max())
    margin = 0.06 * (high - low) + 1e-6
    with figure(path, 8.4, 2.7) as fig:
        panels = np.atleast_1d(fig.subplots(1, len(usable), sharex=True, sharey=True))
        for axes, h in zip(panels, usable, strict=True):
            axes.axline((low, low), slope=1, color=PALE, lw=1)
            for axis in range(3):
                points = real[:, h - 1, axis], foreseen[:, h - 1, axis]
                axes.plot(*points, ".", ms=3.5, mew=0, alpha=0.7, color=(BLUE, ORANGE, PURPLE)[axis], label="xyz"[axis])
            axes.set_title(f"{h} step{'s' * (h > 1)} ahead")
            axes.set_xlabel("true [cm]")
            axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
            rms = np.sqrt(np.square(foreseen[:, h - 1] - real[:, h - 1]).sum(-1).mean())
            note(axes, f"RMS {rms:.2g} cm", 0.97, 0.03)
        panels[0].set_ylabel("predicted [cm]")
        panels[0].legend(loc="upper left", handletextpad=0.1, markerscale=2.2)
    return path


def depth_plot(table: Mapping[int, Mapping[int, tuple[float, float]]], path: Path) -> Path:
    """Draw the open-loop error by horizon, one line for each loop count.

    Args:
        table: {loops: {horizon: (normalised RMSE, RMSE of the position [m])}}, see `open_loop_table`.
        path: PNG file.

    Returns:
        `path`.

    Raises:
        ValueError: the table is empty.
    """
    if not table or not all(table.values()):
        raise ValueError("the table of loop counts is empty, allowed at least one loop count and one horizon")
    colours = matplotlib.colormaps["viridis"](np.linspace(0.82, 0.12, len(table)))
    with figure(path, 8.4, 3.2) as fig:
        panels = fig.subplots(1, 2)
        kinds = ((1, 100.0, "Error of the position [cm]"), (0, 1.0, "Error of the whole observation [σ]"))
        for axes, (entry, scale, title) in zip(panels, kinds, strict=True):
            axes.set_title(title)
            values = []
            for index, loops in enumerate(sorted(table)):
                steps = sorted(table[loops])
                error = [scale * table[loops][h][entry] for h in steps]
                values += error
                label = f"{loops} loop{'s' * (loops != 1)}"
                axes.plot(steps, error, "o-", color=colours[index], ms=4.5, lw=1.8, label=label, alpha=0.9)
            axes.set_xlabel("steps ahead")
            axes.set_xticks(sorted({h for row in table.values() for h in row}))
            if min(values) > 0 and max(values) / min(values) > 100:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            else:
                axes.set_ylim(0, None)
        panels[0].legend(loc="best")
    return path


def _positions(predicted: Any, truth: Any, position: slice) -> tuple[np.ndarray, np.ndarray]:
    """Positions (starts, H, 3) [cm], checked."""
    foreseen, real = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if foreseen.shape != real.shape or real.ndim != 3 or real.size == 0:
        raise ValueError(
            f"predicted has shape {foreseen.shape} and truth {real.shape}, allowed two equal (starts, H, n), not empty"
        )
    if real[..., position].shape[-1] != 3:
        raise ValueError(
            f"position is columns {position.start}:{position.stop} of {real.shape[-1]}, allowed three; "
            "pass Spaces.position_columns"
        )
    return 100 * foreseen[..., position], 100 * real[..., position]
