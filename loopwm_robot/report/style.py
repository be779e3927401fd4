"""One look for all figures: fonts, a palette that colour-blind readers can tell apart, small files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito, "Color Universal Design" (2008), a little darker for thin lines on white.
BLUE, ORANGE, GREEN, VERMILION = "#0068A8", "#DC8A00", "#00845F", "#C8500A"
PURPLE, SKY, GREY, PALE = "#A8588A", "#4BA3D3", "#6B7480", "#B9C0C8"
INK, FAINT, GRID = "#20272E", "#5B6570", "#E4E7EB"

CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
CONTROLLERS = {"loopwm": BLUE, "simulator": GREEN, "untrained": ORANGE, "random": GREY, "bridge": PURPLE}
"""Colour of each controller in figures and tables, by a word in its name."""

MODELS = {
    "loopwm": "LoopWM",
    "one_pass": "One-pass LoopWM",
    "untied": "Untied stack",
    "latent_mlp": "Latent MLP",
    "rssm": "RSSM",
    "ensemble": "Ensemble",
}
"""How figures and texts call the kinds of model."""

NAMES = {**MODELS, "simulator": "true simulator"}
"""How figures call controllers, where that differs from their name."""

DPI = 200
"""Figures are shown at about half of it, so that they stay sharp on fine screens."""
LAYOUT: Literal["constrained"] | None = "constrained"
"""Makes room for all texts, in about half of the drawing time."""

RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9AA3AD",
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": FAINT,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=list(CYCLE)),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Draw a figure and write it when the block ends without an error.

    Args:
        path: PNG file; its folder is made, an existing file is replaced in one step.
        width: [inch].
        height: [inch].

    Yields:
        An empty figure in the common style. Nothing of pyplot's global state is used.
    """
    with matplotlib.rc_context(RC):
        fig = Figure(figsize=(width, height), dpi=DPI, layout=LAYOUT)
        yield fig
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            fig.savefig(temporary, format="png", dpi=DPI)
            shrink(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def shrink(path: Path) -> None:
    """Rewrite a PNG with 256 colours: figures hold few, and the file becomes three times smaller."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, format="png", optimize=True)


def controller_colour(name: str, index: int = 0) -> str:
    """Colour of a controller by a known word in its name, else by its index."""
    lower = name.lower()
    for word in ("untrained", "bridge", "simulator", "random", "loopwm"):  # "untrained LoopWM" is untrained
        if word in lower:
            return CONTROLLERS[word]
    return CYCLE[index % len(CYCLE)]


def controller_name(name: str) -> str:
    """How figures call a controller."""
    return NAMES.get(name, name)


def band(values: np.ndarray, low: float = 0.1, high: float = 0.9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower quantile, median and upper quantile over the first axis; NaN entries are left out."""
    below, middle, above = np.nanquantile(values, (low, 0.5, high), axis=0)
    return below, middle, above


def note(axes: Axes, text: str, x: float = 0.98, y: float = 0.95) -> None:
    """Write a remark into a corner of the axes (fractions of their size)."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha="right" if x > 0.5 else "left",
        va="top" if y > 0.5 else "bottom",
        color=FAINT,
        fontsize=8.5,
        linespacing=1.35,
    )
