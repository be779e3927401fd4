"""Action sequences from a few knots: smoother plans, and fewer numbers to search for.

A parametrisation is linear, actions = B knots with B (H, K): the first knot is the first action, the last one the last,
the others stand at equal distances between.
"""

from __future__ import annotations

import torch
from torch import Tensor

INTERPOLATIONS = ("hold", "linear", "cubic")


def interpolation_matrix(horizon: int, knots: int, kind: str) -> Tensor:
    """B (H, K), such that actions (H, nu) = B knots (K, nu).

    The rows of B sum to 1. hold and linear only average, so actions stay within the bounds of their knots; cubic, the
    natural cubic spline, is smooth and may pass them a little: the planner clamps.

    Args:
        horizon: actions H, at least 1.
        knots: K, 1 to H.
        kind: hold (each knot lasts until the next), linear or cubic.

    Raises:
        ValueError: knots or kind is not allowed.
    """
    if not 1 <= knots <= horizon:
        raise ValueError(f"knots is {knots}, allowed [1, {horizon}], the horizon")
    if kind not in INTERPOLATIONS:
        raise ValueError(f"interpolation is '{kind}', allowed {', '.join(INTERPOLATIONS)}")
    if knots == 1:
        return torch.ones(horizon, 1)
    if kind == "hold":
        at = torch.arange(horizon) * knots // horizon
        return torch.nn.functional.one_hot(at, knots).float()
    x = torch.arange(horizon, dtype=torch.float64) * (knots - 1) / (horizon - 1)
    left = x.long().clamp_max(knots - 2)
    t = (x - left)[:, None]
    unit = torch.eye(knots, dtype=torch.float64)
    linear = (1 - t) * unit[left] + t * unit[left + 1]
    if kind == "linear":
        return linear.float()
    curvature = _natural_curvature(knots)  # (K, K): second derivatives at the knots
    a, b = curvature[left], curvature[left + 1]
    return (linear + ((1 - t) ** 3 - (1 - t)) / 6 * a + (t**3 - t) / 6 * b).float()


def _natural_curvature(knots: int) -> Tensor:
    """Second derivatives at K knots one apart, for each knot's unit vector; 0 at both ends."""
    system = torch.eye(knots, dtype=torch.float64)
    right = torch.zeros(knots, knots, dtype=torch.float64)
    for k in range(1, knots - 1):
        system[k, k - 1 : k + 2] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
        right[k, k - 1 : k + 2] = torch.tensor([6.0, -12.0, 6.0], dtype=torch.float64)
    return torch.linalg.solve(system, right)
