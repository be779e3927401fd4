"""Where an arm can work: what tasks need to know about an arm that they know nothing else about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .arms.arm import Arm
from .kinematics import ArmKinematics

FloatArray = NDArray[np.float64]

LARGE = 1.1
"""Longest distance of the tool centre point from the base at which an arm counts as large [m]."""
REACH_HALF = (0.15, 0.30, 0.225)
"""Half edges of the box of goals for a large arm [m]."""
TABLE_HALF = (0.125, 0.22)
"""Half edges of the area on the table for a large arm, x and y [m]."""
LOW_HEIGHT = 0.055
"""Height of the tool centre point of a large arm that works on the table [m]."""
DOWN = (0.0, 0.0, -1.0)


@dataclass(frozen=True, eq=False)
class Workspace:
    """Boxes in the base frame, all reached without touching anything.

    Attributes:
        scale: size of objects and distances, 1 for a large arm.
        reach_low: lower corner of the box that the tool centre point can reach (3,) [m].
        reach_high: upper corner (3,) [m].
        table_low: lower corner of the area of the table on which the arm can work with the tool pointing down (2,) [m].
        table_high: upper corner (2,) [m].
        posture: pose with the tool pointing down, low over the middle of that area (n,) [rad].
    """

    scale: float
    reach_low: FloatArray
    reach_high: FloatArray
    table_low: FloatArray
    table_high: FloatArray
    posture: FloatArray

    def on_table(self, low: tuple[float, float], high: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        """Part of the table.

        Args:
            low: lower corner in shares of the area, (0, 0) is that of the area.
            high: upper corner in shares, (1, 1) is that of the area.

        Returns:
            Its corners (2,) [m], to a micrometre.
        """
        size = self.table_high - self.table_low
        return tuple(np.round(self.table_low + np.array(share) * size, 6) for share in (low, high))  # type: ignore[return-value]


@cache
def find_workspace(arm: Arm) -> Workspace:
    """Workspace of an arm: as its file says, the rest found by inverse kinematics.

    Args:
        arm: the arm.

    Raises:
        ValueError: none is found around the home pose.
    """
    about, kinematics = arm.about, ArmKinematics(arm)
    scale = _scale(kinematics) if about.scale is None else about.scale
    home = kinematics.ee_pos(arm.home)
    if touching := kinematics.touching(arm.home):
        raise ValueError(
            f"arm {arm.name!r}: {touching} touch in the home pose {np.round(arm.home, 4).tolist()} rad; choose another "
            "home, raise base_pos, or exclude the pair in the model"
        )
    if about.reach_low is not None and about.reach_high is not None:
        reach_low, reach_high = np.array(about.reach_low), np.array(about.reach_high)
    else:
        reach_low, reach_high = _reach(kinematics, home, scale)
    if about.table_low is not None and about.table_high is not None:
        table_low, table_high = np.array(about.table_low), np.array(about.table_high)
    else:
        table_low, table_high = _table(kinematics, home, scale)
    if about.posture is not None:
        posture = np.array(about.posture)
    else:
        middle = (*(table_low + table_high) / 2.0, LOW_HEIGHT * scale)
        found = kinematics.solve_pointing(middle, DOWN)
        posture = arm.home.copy() if found is None else found
    for array in (reach_low, reach_high, table_low, table_high, posture):
        array.setflags(write=False)
    return Workspace(scale, reach_low, reach_high, table_low, table_high, posture)


def _scale(kinematics: ArmKinematics) -> float:
    arm = kinematics.arm
    q = np.random.default_rng(0).uniform(arm.q_min, arm.q_max, (500, arm.n))
    base = np.array(arm.about.base_pos)
    longest = float(np.linalg.norm(kinematics.ee_pos(q) - base, axis=-1).max())
    return round(min(1.0, longest / LARGE), 2)


def _reach(kinematics: ArmKinematics, home: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    arm, lowest = kinematics.arm, LOW_HEIGHT * scale
    for shrink in 0.8 ** np.arange(10):
        half = np.array(REACH_HALF) * scale * shrink
        low, high = home - half, home + half
        low[2] = max(low[2], lowest)
        if low[2] < high[2] and all(
            _free(kinematics, kinematics.solve_position(corner)) for corner in product(*zip(low, high, strict=True))
        ):
            return np.round(low, 3), np.round(high, 3)
    raise ValueError(
        f"arm {arm.name!r}: no box around the tool centre point at home, {np.round(home, 3).tolist()} m, is reached; "
        "choose another home, or give reach_low and reach_high"
    )


def _table(kinematics: ArmKinematics, home: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """The area nearest to below home; a point there where the arm cannot point down."""
    direction = home[:2] / max(float(np.linalg.norm(home[:2])), 1e-6)
    radius = float(np.linalg.norm(home[:2]))
    for shrink in (1.0, 0.8, 0.64):
        half = np.array(TABLE_HALF) * scale * shrink
        for offset in np.array([0.0, 0.05, -0.05, 0.1, -0.1, 0.15, -0.15, 0.2, -0.2]) * scale:
            middle = (radius + offset) * direction
            corners = product(*zip(middle - half, middle + half, strict=True))
            heights = (LOW_HEIGHT * scale, 2.5 * LOW_HEIGHT * scale)
            points = [(x, y, z) for x, y in corners for z in heights]
            if all(_free(kinematics, kinematics.solve_pointing(point, DOWN)) for point in points):
                return np.round(middle - half, 3), np.round(middle + half, 3)
    return np.round(home[:2], 3), np.round(home[:2], 3)


def _free(kinematics: ArmKinematics, q: FloatArray | None) -> bool:
    return q is not None and kinematics.collision_free(q)
