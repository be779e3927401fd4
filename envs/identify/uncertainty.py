"""How well data tell parameters: from the curvature of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..randomize import DYNAMICS_UNITS, DynamicsRanges

FloatArray = NDArray[np.float64]

PRIOR_STD = 3**-0.5
"""Of a number drawn uniformly from [-1, 1]."""
UNTOLD = 0.3
"""Share of the prior's spread that is left where the data do not tell a parameter."""
ENTANGLED = 0.95
"""Correlation from which two parameters can stand in for one another."""


@dataclass(frozen=True)
class Estimate:
    """One parameter.

    Attributes:
        name: in `DYNAMICS_UNITS`.
        value: the best one, in its unit.
        low: two standard deviations below, within the range searched.
        high: two standard deviations above.
        told: whether the data tell it.
        like: parameters that could stand in for it.
    """

    name: str
    value: float
    low: float
    high: float
    told: bool
    like: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line of a report."""
        unit = DYNAMICS_UNITS[self.name]
        text = f"{self.name} {self.value:.4g} {unit} ({self.low:.3g} to {self.high:.3g})"
        if not self.told:
            text += ", not told by these data"
        return text + (f", hard to tell from {' and '.join(self.like)}" if self.like else "")


def covariance(jacobian: FloatArray, independent: float) -> FloatArray:
    """Of the parameters (p, p), for a prior as wide as the range searched.

    Args:
        jacobian: of the residuals in units of their deviation (m, p), parameters in [-1, 1].
        independent: share of the residuals that count: those of one piece of a recording go together.
    """
    curve = independent * jacobian.T @ jacobian + np.eye(jacobian.shape[1]) / PRIOR_STD**2
    return np.asarray(np.linalg.inv(curve), dtype=np.float64)


def estimates(
    names: tuple[str, ...], best: FloatArray, spread: FloatArray, box: DynamicsRanges
) -> tuple[Estimate, ...]:
    """What is known of each parameter.

    Args:
        names: of the p parameters.
        best: their values (p,) in [-1, 1].
        spread: their covariance (p, p).
        box: what -1 and 1 stand for.
    """
    std = np.sqrt(spread.diagonal())
    alike = np.abs(spread / np.outer(std, std)) > ENTANGLED
    found = []
    for i, name in enumerate(names):
        low, value, high = (box.value(name, z) for z in np.clip(best[i] + np.array([-2, 0, 2]) * std[i], -1, 1))
        others = tuple(other for j, other in enumerate(names) if j != i and alike[i, j])
        found.append(Estimate(name, value, low, high, bool(std[i] < UNTOLD * PRIOR_STD), others))
    return tuple(found)
