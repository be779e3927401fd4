"""Limits on how fast actions change, kept by construction."""

from __future__ import annotations

import torch
from torch import Tensor


class ActionLimits:
    """Makes any action sequence one that an arm can follow.

    With a_k the action of step k and d_k = a_k - a_(k-1): |a_k| <= 1, |d_k| <= rate, |d_k - d_(k-1)| <= jerk. Each
    action becomes the allowed one that comes nearest, given those before it; what is within the limits stays as it is.
    An action is allowed only where the next ones can slow down in time for the bound, so there always is a next one.
    Where actions are speeds, rate and jerk are acceleration and jerk times powers of the control interval.

    Args:
        rate: largest change of an action from one step to the next [action units], above 0; None for no limit.
        jerk: largest change of that change [action units], above 0; None for no limit.
    """

    def __init__(self, rate: float | None, jerk: float | None) -> None:
        self.rate, self.jerk = rate, jerk

    def __call__(self, actions: Tensor, past: Tensor) -> Tensor:
        """Keep the limits.

        Args:
            actions: (..., H, nu), anything finite.
            past: the two actions before them (2, nu), the latest last, each in [-1, 1]. Where they leave no way to keep
                all limits, the bounds come first, then the rate; the jerk is kept as soon as it can be.

        Returns:
            (..., H, nu); a new tensor, differentiable.
        """
        last, change = past[1], past[1] - past[0]
        allowed = []
        for wanted in actions.unbind(-2):
            step = wanted - last
            if self.jerk is not None:
                step = torch.clamp(step, change - self.jerk, change + self.jerk)
            if self.rate is not None:
                step = step.clamp(-self.rate, self.rate)
            if self.jerk is not None:
                step = torch.clamp(step, -reach(1 + last, self.jerk), reach(1 - last, self.jerk))
            action = (last + step).clamp(-1, 1)
            last, change = action, action - last
            allowed.append(action)
        return torch.stack(allowed, -2)


def reach(room: Tensor, jerk: float) -> Tensor:
    """Largest step towards a bound after which there still is room to slow down.

    A step d is followed by d - jerk, d - 2 jerk and so on: (n + 1) d - jerk n (n + 1) / 2 in all, n = floor(d / jerk).

    Args:
        room: distance to the bound, at least 0.
        jerk: by how much a step may be smaller than the one before, above 0.
    """
    room = room.clamp_min(0)
    n = ((1 + 8 / jerk * room).sqrt() - 1).div(2).floor()
    return (room + jerk / 2 * n * (n + 1)) / (n + 1)


class Past:
    """The two latest actions that were carried out, as well as a planner can know."""

    def __init__(self) -> None:
        self._line: Tensor | None = None  # (2 + H, nu): what went before the last plan, then its actions

    def forget(self) -> None:
        """The arm is at rest: the next plan follows on no other."""
        self._line = None

    def remember(self, before: Tensor, actions: Tensor) -> None:
        """A plan of actions (H, nu) was made; before it came `before` (2, nu)."""
        self._line = torch.cat([before, actions])

    def after(self, executed: int, like: Tensor) -> Tensor:
        """What was carried out (2, nu) once `executed` actions of the last plan were; rest is 0, also after its end.

        Raises:
            ValueError: executed is negative.
        """
        if executed < 0:
            raise ValueError(f"executed is {executed}, allowed >= 0; pass the number of actions carried out since")
        found = like.new_zeros(2, like.shape[-1])
        if self._line is not None:
            known = self._line[executed : executed + 2]
            found[: len(known)] = known
        return found


def check_previous(previous: Tensor, like: Tensor) -> Tensor:
    """The two latest of the actions carried out (2, nu), made from what a caller says they are (any, nu).

    Raises:
        ValueError: the shape is wrong, there is none, or one is out of bounds or not finite.
    """
    nu = like.shape[-1]
    if previous.ndim != 2 or not len(previous) or previous.shape[1] != nu:
        raise ValueError(
            f"previous has shape {tuple(previous.shape)}, allowed (1 or more, {nu}); "
            "pass the latest actions, the last one last"
        )
    if not bool((previous.abs() <= 1).all()):
        raise ValueError(f"previous is {previous.tolist()}, allowed [-1, 1]; pass actions that were carried out")
    latest = previous[-2:].to(like)
    return latest if len(latest) == 2 else latest.expand(2, nu).clone()
