"""What is done in each control step: the plan in force, and the one that takes over from it."""

from __future__ import annotations

import numpy as np

from .interfaces import Actions

_KEPT = 4
"""Plans that the two latest, the present and the waiting actions can belong to."""


class Line:
    """Actions by the number of their control step. Before the first plan and after the end of one they are 0.

    Args:
        nu: action dimensions.
    """

    def __init__(self, nu: int) -> None:
        self.nu = nu
        self._plans: list[tuple[int, Actions]] = []

    def follow(self, start: int, actions: Actions) -> None:
        """From control step `start` on, do `actions` (H, nu)."""
        self._plans = [*self._plans[1 - _KEPT :], (start, actions)]

    def waits(self, k: int) -> bool:
        """Whether a plan begins after control step k."""
        return bool(self._plans) and self._plans[-1][0] > k

    def action(self, k: int) -> Actions:
        """Action (nu,) of control step k; a new array."""
        for start, actions in reversed(self._plans):
            if start <= k:
                return actions[k - start].copy() if k - start < len(actions) else np.zeros(self.nu, np.float32)
        return np.zeros(self.nu, np.float32)

    def actions(self, first: int, end: int) -> Actions:
        """Actions of the control steps from `first` to before `end` (end - first, nu)."""
        return np.array([self.action(k) for k in range(first, end)], np.float32).reshape(-1, self.nu)


def blend(actions: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Go over from one action sequence to another: a_j <- w_j a_j + (1 - w_j) b_j, w_j = (j + 1) / (B + 1).

    Args:
        actions: of the new plan (H, nu).
        before: what would have been done in its first steps without it (B, nu).

    Returns:
        (H, nu), each between the two; a new array.
    """
    blended, steps = actions.copy(), min(len(before), len(actions))
    weight = (np.arange(1, steps + 1, dtype=actions.dtype) / (len(before) + 1))[:, None]
    blended[:steps] = weight * actions[:steps] + (1 - weight) * before[:steps]
    return blended
