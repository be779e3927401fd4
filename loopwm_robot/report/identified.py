"""How a recorded arm moved, and how the identified one does under the same commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.identify import Identified

from .style import BLUE, GREY, ORANGE, figure


def measured_and_simulated(found: Identified, joints: Sequence[str], title: str, ctrl_dt: float, path: Path) -> Path:
    """Draw every joint over the pieces that were fitted, one after the other, and the difference below.

    Args:
        found: the fit.
        joints: their names (n,).
        title: of the figure.
        ctrl_dt: control step [s].
        path: PNG file.

    Returns:
        `path`.
    """
    n, pieces = len(joints), found.segments
    count = min(len(pieces), 12)
    steps = pieces.q.shape[1] - 1
    with figure(path, 9.0, 1.25 * n + 0.6) as fig:
        axes = np.atleast_2d(fig.subplots(n, 2, sharex=True, width_ratios=(2, 1)))
        for j, (left, right) in enumerate(axes):
            for i in range(count):
                at = ctrl_dt * (i * (steps + 1) + np.arange(steps + 1))
                measured, simulated = pieces.q[i, :, j], found.predicted[i, :, j]
                left.plot(at, measured, color=BLUE, lw=1.6, label="measured" if not i else None)
                left.plot(at[1:], simulated, color=ORANGE, lw=1.0, ls="--", label=None if i else "simulated")
                right.plot(at[1:], 1000 * (simulated - measured[1:]), color=GREY, lw=1.0)
            left.set_ylabel(f"{joints[j]}\n[rad]", fontsize=7)
            right.set_ylabel("[mrad]", fontsize=7)
        axes[0, 0].set_title(f"{title}: pieces that were fitted")
        axes[0, 1].set_title("simulated less measured")
        axes[0, 0].legend(loc="upper right", fontsize=7)
        for axis in axes[-1]:
            axis.set_xlabel("time of the pieces, one after the other [s]")
    return path
