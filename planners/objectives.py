"""Objectives: what makes an imagined trajectory good."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .interfaces import Objective, Trajectory


def discount_weights(horizon: int, discount: float, like: Tensor) -> Tensor:
    """Weights discount^k (H,), k = 0..H-1, on the device and in the dtype of `like`."""
    return discount ** torch.arange(horizon, device=like.device, dtype=like.dtype)


class LearnedReward:
    """Sum of the model's predicted rewards: sum_k discount^k r_k.

    Args:
        discount: in (0, 1].

    Raises:
        ValueError: discount is out of range.
    """

    def __init__(self, discount: float = 1.0) -> None:
        check_discount(discount)
        self.discount = discount

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        rewards = trajectory.rewards()  # (N, H)
        return rewards @ discount_weights(rewards.shape[1], self.discount, rewards)


class TerminalValue:
    """The model's own estimate of what comes after the plan: weight discount^H V(x_H).

    For models whose trajectories have `terminal_value() -> (N,)`.

    Args:
        discount: in (0, 1].
        weight: of the value, at least 0.

    Raises:
        ValueError: discount or weight is out of range; when called: the model has no value.
    """

    def __init__(self, discount: float = 1.0, weight: float = 1.0) -> None:
        check_discount(discount)
        if not weight >= 0:
            raise ValueError(f"weight of the terminal value is {weight}, allowed >= 0; choose a non-negative weight")
        self.discount, self.weight = discount, weight

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        value: Any = getattr(trajectory, "terminal_value", None)
        if value is None:
            raise ValueError(
                f"{type(trajectory).__name__} has no terminal_value(), allowed models that learned a value; "
                "leave TerminalValue out of the objective"
            )
        learned: Tensor = value()
        return learned * (self.weight * self.discount ** actions.shape[1])


class ReachPoint:
    """Bring some of the observed numbers, a position say, to a target and be there early.

    score = - sum_k discount^k |x_k - target| - terminal_weight |x_H - target| - action_weight mean_k |a_k|^2

    The cost is computed on the DECODED observation, so it needs no learned reward.

    Args:
        columns: which observed numbers form x.
        target: where x should go (len(columns),), in the unit of the observation; (H, len(columns)) where it moves:
            where it is after each action.
        discount: in (0, 1].
        terminal_weight: extra weight of the last step, at least 0.
        action_weight: price of large actions in the unit of the target, at least 0.

    Raises:
        ValueError: a number is out of range, or the target has the wrong length or is not finite.
    """

    def __init__(
        self,
        columns: slice,
        target: Tensor,
        discount: float = 1.0,
        terminal_weight: float = 0.0,
        action_weight: float = 0.0,
    ) -> None:
        check_discount(discount)
        for name, value in (("terminal_weight", terminal_weight), ("action_weight", action_weight)):
            if not value >= 0:
                raise ValueError(f"{name} is {value}, allowed >= 0; choose a non-negative weight")
        _check_target("target", target, columns, moves=True)
        self.columns, self.target = columns, target
        self.discount, self.terminal_weight, self.action_weight = discount, terminal_weight, action_weight

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        x = trajectory.observations(self.columns)  # (N, H, n)
        target = self.target if self.target.ndim == 1 else self.target[: x.shape[1]]
        distance = torch.linalg.vector_norm(x - target.to(x), dim=-1)  # (N, H)
        weights = discount_weights(distance.shape[1], self.discount, distance)
        weights[-1] += self.terminal_weight
        return -(distance @ weights) - self.action_weight * actions.square().mean(dim=(1, 2))


class KeepPosture:
    """Stay near a posture where the task leaves freedom: - weight sum_k mean_i (q_ki - posture_i)^2.

    With a weight far below the slope of the task's own cost it only acts in the task's null space.

    Args:
        columns: which observed numbers form q.
        posture: preferred q (len(columns),).
        weight: price of one unit squared, at least 0.

    Raises:
        ValueError: the weight is negative, or the posture has the wrong length or is not finite.
    """

    def __init__(self, columns: slice, posture: Tensor, weight: float) -> None:
        if not weight >= 0:
            raise ValueError(f"posture weight is {weight}, allowed >= 0; choose a non-negative weight")
        _check_target("posture", posture, columns)
        self.columns, self.posture, self.weight = columns, posture, weight

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        q = trajectory.observations(self.columns)  # (N, H, n)
        return (q - self.posture.to(q)).square().mean(-1).sum(-1) * -self.weight


class Sum:
    """Several objectives at once."""

    def __init__(self, *objectives: Objective) -> None:
        self.objectives = objectives

    def __call__(self, trajectory: Trajectory, actions: Tensor) -> Tensor:
        total = self.objectives[0](trajectory, actions)
        for objective in self.objectives[1:]:
            total = total + objective(trajectory, actions)
        return total


def _check_target(name: str, target: Tensor, columns: slice, moves: bool = False) -> None:
    size = columns.stop - columns.start
    if target.shape[-1:] != (size,) or target.ndim > (2 if moves else 1):
        raise ValueError(
            f"{name} has shape {tuple(target.shape)}, allowed ({size},); give one number for each column"
        )
    if not bool(torch.isfinite(target).all()):
        raise ValueError(f"{name} is {target.tolist()}, allowed finite numbers; check where it comes from")


def check_discount(discount: float) -> None:
    """Refuse a discount outside (0, 1].

    Raises:
        ValueError: it is.
    """
    if not 0 < discount <= 1:
        raise ValueError(f"discount is {discount}, allowed (0, 1]; 1 weighs all steps equally")
