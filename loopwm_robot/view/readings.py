"""What there is to read in the view: numbers of the last plan, and how they went."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

from .frame import Frame

HISTORY = 200
"""Control steps in a plot."""
PLOT_INTERVAL = 0.2
"""Least time between two drawings of the plots [s]."""
PLOTS = {
    "distance to the goal [cm]": ("#1a78cc",),
    "planning, and what it may take [ms]": ("#f28009", "#b0b0b0"),
    "score of the plan": ("#3b528b",),
}
"""Titles, and the colours of their lines."""


class Readings:
    """Numbers and plots.

    Args:
        gui: `gui` of a viser server, inside the panel that they belong to.
        ctrl_dt: control step [s].
    """

    def __init__(self, gui: Any, ctrl_dt: float) -> None:
        self.gui, self.ctrl_dt = gui, ctrl_dt
        self._history: deque[tuple[float, ...]] = deque(maxlen=HISTORY)
        self._drawn = -PLOT_INTERVAL
        self._numbers = gui.add_markdown("")
        self._plots = [self._plot(title, colours) for title, colours in PLOTS.items()]

    def show(self, frame: Frame) -> None:
        """Show what the last plan was."""
        self._numbers.content = numbers(frame)
        if frame.plan is None:
            return
        nothing = float("nan")
        distance = nothing if frame.distance is None else 100 * frame.distance
        score = frame.plan.score if np.isfinite(frame.plan.score) else nothing
        row = (frame.step * self.ctrl_dt, distance, 1e3 * frame.plan_time, 1e3 * frame.deadline, score)
        if self._history and self._history[-1][0] == row[0]:
            self._history.pop()  # the same instant again
        self._history.append(row)
        if time.monotonic() - self._drawn < PLOT_INTERVAL:
            return
        self._drawn = time.monotonic()
        t, *lines = np.array(self._history).T
        for plot, columns in zip(self._plots, ((0,), (1, 2), (3,)), strict=True):
            plot.data = (t, *(lines[i] for i in columns))

    def _plot(self, title: str, colours: tuple[str, ...]) -> Any:
        nothing = tuple(np.zeros(1) for _ in range(1 + len(colours)))
        series: tuple[dict[str, Any], ...] = ({"label": "t [s]"},)
        series += tuple({"label": "", "stroke": colour, "width": 1.5} for colour in colours)
        scales = {"x": {"time": False}}
        return self.gui.add_uplot(
            nothing, series, title=title, scales=scales, height=130, padding=(10, 14, 0, 0), legend={"show": False}
        )


def numbers(frame: Frame) -> str:
    """What is known of an instant as a table in Markdown."""
    plan, rows = frame.plan, []
    if frame.distance is not None:
        rows.append(("distance", f"{100 * frame.distance:.1f} cm" + (", **reached**" if frame.success else "")))
    if plan is not None:
        late = " **late**" if frame.plan_time > frame.deadline else ""
        broken = "" if plan.feasible else f", breaks a constraint by {plan.violation:.3g}"
        rows += [
            ("score", f"{plan.score:.3f}{broken}"),
            ("planning", f"{1e3 * frame.plan_time:.1f} of {1e3 * frame.deadline:.0f} ms{late}"),
            ("iterations", f"{plan.iterations}, {plan.scored} candidates scored"),
        ]
        if plan.scored_shallow:
            rows.append(("shallow", f"{plan.scored_shallow} candidates scored"))
        if plan.num_invalid:
            rows.append(("not finite", f"{plan.num_invalid} candidates"))
        if frame.loops is not None:
            rows.append(("loops", f"{frame.loops:.2f} a transition"))
        if frame.missed is not None:
            rows.append(("foreseen", f"1 step ahead, {1e3 * frame.missed:.1f} mm off"))
    rows.append(("step", str(frame.step)))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])
