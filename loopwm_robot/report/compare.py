"""Several training runs side by side on one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from safetensors import SafetensorError

from ..errors import RequestError
from ..training.keep import saved_history
from .document import Block, Cell, Details, Hero, Image, Section, Table, write_page
from .quantities import Summary, quantity
from .style import CYCLE, figure

PAGE = "compare.html"
CURVES = "plots/curves.png"
FIGURES = (
    ("success_rate", "Success on held-out goals"),
    ("final_distance_m_median", "Final distance, median"),
    ("best_success_rate", "Best success while training"),
    ("best_round", "Round of the best"),
    ("open_loop_rmse_h1", "Open-loop error, 1 step [σ]"),
    ("open_loop_rmse_h5", "Open-loop error, 5 steps [σ]"),
    ("open_loop_rmse_h20", "Open-loop error, 20 steps [σ]"),
    ("train_loss", "Training loss"),
    ("bridge.success_rate", "Success through the bridge"),
    ("plan_time_s_p50", "Planning, median"),
    ("parameters", "Parameters"),
    ("train_updates", "Gradient updates"),
    ("train_transitions", "Transitions of data"),
    ("train_time_s", "Training time"),
)
PANELS = (
    ("loss", "Training loss", True),
    ("val_rmse_h5", "Held-out error, 5 steps ahead [σ]", True),
    ("success_rate", "Success of the planner's episodes", False),
)
STYLES = ("-", "--", ":", "-.")
NOT_SETTINGS = ("out", "resume")


@dataclass(frozen=True)
class Run:
    """A training run, finished or not.

    Attributes:
        name: tells it from the others on the page.
        folder: where it lies.
        summary: of a finished run; empty while it goes on.
        settings: by dotted key.
        history: entries of its training, in order.
    """

    name: str
    folder: Path
    summary: Summary
    settings: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]


def compare_runs(runs: Sequence[Run], folder: Path) -> Path:
    """Write `compare.html` into a folder.

    Args:
        runs: two or more.
        folder: gets the page and its figure.

    Returns:
        the page.
    """
    blocks: list[Block] = []
    if any(run.history for run in runs):
        draw_curves(runs, folder / CURVES)
        blocks.append(Image(folder / CURVES, "By gradient update; lower is better but for success.", "learning curves"))
    where = [[_head(i, run), Cell(str(run.folder))] for i, run in enumerate(runs)]
    parts = [
        Section("Learning curves", blocks),
        Section("Figures", [figures(runs), _everything(runs)]),
        Section("Settings that differ", [settings(runs) or "All settings are the same."]),
        Section("Where they lie", [Table(["Run", "Folder"], where)]),
    ]
    unfinished = [run.name for run in runs if not run.summary]
    lead = f"Not finished: {', '.join(unfinished)}." if unfinished else "All runs are finished."
    hero = Hero("Comparison", f"{len(runs)} training runs", lead)
    return write_page(folder / PAGE, hero, parts, "loopwm-robot · loopwm compare")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders; each gets the shortest end of its path that no other has.

    Raises:
        RequestError: one is no run of a training, or is damaged.
    """
    return [_read(name, folder) for name, folder in zip(short_names(folders), folders, strict=True)]


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(names):
            break
    return names


def draw_curves(runs: Sequence[Run], path: Path) -> Path:
    """One panel for each quantity, one line for each run."""
    with figure(path, 10.2, 3.4) as fig:
        panels = fig.subplots(1, len(PANELS))
        for axes, (key, title, logarithmic) in zip(panels, PANELS, strict=True):
            _panel(axes, runs, key, logarithmic)
            axes.set_title(title)
            axes.set_xlabel("gradient updates")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return path


def figures(runs: Sequence[Run]) -> Table:
    """The final figures that any run has, a column for each run."""
    keys = [(key, name) for key, name in FIGURES if any(key in run.summary for run in runs)]
    rows = [[Cell(name), *(Cell(quantity(run.summary, key)) for run in runs)] for key, name in keys]
    return Table(["Figure", *(run.name for run in runs)], rows, "σ: standard deviation of the data of that run.")


def settings(runs: Sequence[Run]) -> Table | None:
    """The settings that are not the same in all runs; None where there are none."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = []
    for key in keys:
        values = [run.settings.get(key, "–") for run in runs]
        if any(value != values[0] for value in values) and key not in NOT_SETTINGS:
            rows.append([Cell(key), *(Cell(_text(value)) for value in values)])
    return Table(["Setting", *(run.name for run in runs)], rows) if rows else None


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _everything(runs: Sequence[Run]) -> Details:
    keys = dict.fromkeys(key for run in runs for key in run.summary)
    rows = [[Cell(key), *(Cell(_text(run.summary.get(key, "–"))) for run in runs)] for key in keys]
    return Details("All numbers of summary.json", table=Table(["Key", *(run.name for run in runs)], rows))


def _head(index: int, run: Run) -> Cell:
    return Cell(run.name, colour=CYCLE[index % len(CYCLE)])


def _panel(axes: Axes, runs: Sequence[Run], key: str, logarithmic: bool) -> None:
    for i, run in enumerate(runs):
        points = [(entry["update"], entry[key]) for entry in run.history if key in entry]
        if points:
            x, y = zip(*points, strict=True)
            style = STYLES[i // len(CYCLE) % len(STYLES)]
            colour, marker = CYCLE[i % len(CYCLE)], "o" if len(x) < 20 else ""
            axes.plot(x, y, style, marker=marker, ms=3.5, color=colour, label=run.name)
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(-0.04, 1.04)


def _read(name: str, folder: Path) -> Run:
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        summary_file = folder / "summary.json"
        summary = json.loads(summary_file.read_text(encoding="utf-8")) if summary_file.is_file() else {}
        history = saved_history(folder / "training")
    except FileNotFoundError as error:
        raise RequestError(f"run {folder} has no config.yaml, allowed folders of loopwm train or demo") from error
    except (OSError, ValueError, KeyError, yaml.YAMLError, SafetensorError) as error:
        raise RequestError(f"run {folder} cannot be read ({error}); leave it out") from error
    if not isinstance(config, dict) or not isinstance(summary, dict):
        raise RequestError(f"run {folder} has a config.yaml or summary.json of another kind; leave it out")
    if not history and not summary:
        raise RequestError(f"run {folder} has no results yet, allowed runs with a finished round; leave it out")
    return Run(name, folder, summary, dict(_flat(config)), history)


def _flat(config: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        name = f"{path}.{key}" if path else str(key)
        found += _flat(value, name) if isinstance(value, dict) else [(name, value)]
    return found
