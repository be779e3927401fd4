"""Candidates of a policy, as TD-MPC2 (Hansen et al. 2024) puts them among its samples."""

from __future__ import annotations

from torch import Tensor

from .interfaces import Prior


def ask(prior: Prior, num: int, horizon: int, nu: int) -> Tensor:
    """What a policy would do; sequences that are not finite are left out.

    Args:
        prior: the policy.
        num: how many sequences to ask for, at least 1.
        horizon: actions H in each.
        nu: number of action dimensions.

    Returns:
        (num or fewer, H, nu), each in [-1, 1].

    Raises:
        ValueError: the policy gave another shape.
    """
    actions = prior(num)
    if actions.shape != (num, horizon, nu):
        raise ValueError(
            f"prior gave shape {tuple(actions.shape)}, allowed ({num}, {horizon}, {nu}); "
            "return one action sequence for each candidate asked for"
        )
    return actions[actions.isfinite().all(dim=(1, 2))].clamp(-1, 1)
