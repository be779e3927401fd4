"""Pictures of the page: precision of each path, and how each driver follows one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...deploy.control_config import ControlConfig
from ...report.style import CYCLE, GREY, figure
from .parity import SECONDS, Ride
from .reaches import Reaches


def draw_reaches(found: Sequence[Reaches], path: Path) -> Path:
    """Final distances, a column for each path."""
    names = list(dict.fromkeys(one.path.name for one in found))
    with figure(path, 6.4, 3.2) as fig:
        axes = fig.subplots()
        for x, (name, colour) in enumerate(zip(names, CYCLE, strict=False)):
            away = 100.0 * np.concatenate([o.recording.arrays["final_distance"] for o in found if o.path.name == name])
            spread = np.linspace(-0.25, 0.25, len(away)) if len(away) > 1 else np.zeros(len(away))
            axes.plot(x + spread, away, ".", color=colour)
        axes.axhline(100.0 * ControlConfig.success_m, color=GREY, linestyle="--", label="success is below")
        axes.set(yscale="log", ylabel="final distance [cm]", xticks=range(len(names)), xticklabels=names)
        axes.legend()
    return path


def draw_parity(rides: Mapping[str, Ride], path: Path) -> Path:
    """Distance from the plan over time, a line for each driver."""
    with figure(path, 6.4, 3.2) as fig:
        axes = fig.subplots()
        for name, ride in rides.items():
            during = (ride.t >= 0.0) & (ride.t <= SECONDS)
            axes.plot(ride.t[during], np.abs(ride.q - ride.asked)[during].max(axis=1), label=name)
        axes.set(xlabel="time since the start of the plan [s]", ylabel="distance from the plan [rad]")
        axes.legend()
    return path
