"""Published success on Meta-World, to stand beside ours.

Source: `results/<algorithm>/<task>.csv` of github.com/nicklashansen/tdmpc2 at e9f5932 (Hansen et al. 2024, arXiv
2310.16828), means of three seeds with 10 episodes each, success read on the last step; its own runs, also of the peers.
There is no row at 20k steps: these files have one for every 100k.
"""

from __future__ import annotations

SOURCE = "results/<algorithm>/<task>.csv of github.com/nicklashansen/tdmpc2 at e9f5932, three seeds, 10 episodes each"

METAWORLD = ("reach", "push", "pick_place", "drawer_open", "door_open", "peg_insert_side", "button_press")
"""The seven arm tasks, by their option in configs/env."""

PUBLISHED: dict[str, dict[int, tuple[float, ...]]] = {
    "TD-MPC2": {
        100_000: (0.63, 0.63, 0.10, 1.00, 0.67, 0.90, 0.27),
        500_000: (1.00, 0.90, 0.77, 0.93, 0.80, 1.00, 0.90),
    },
    "DreamerV3": {
        100_000: (0.05, 0.13, 0.06, 0.02, 0.03, 0.00, 0.43),
        500_000: (0.05, 0.07, 0.43, 0.42, 0.23, 0.64, 0.43),
    },
    "SAC": {
        100_000: (0.27, 0.00, 0.00, 0.00, 0.10, 0.00, 0.10),
        500_000: (0.73, 0.33, 0.00, 0.20, 0.27, 0.87, 0.13),
    },
}
"""Success by algorithm and steps, in the order of `METAWORLD`."""


def published(algorithm: str, task: str, steps: int) -> float | None:
    """Success of an algorithm on a task after so many steps; None where nothing was published."""
    row = PUBLISHED[algorithm].get(steps)
    return None if row is None else row[METAWORLD.index(task)]
