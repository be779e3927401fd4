"""Rewards, vectorised over leading axes and maximised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

REWARD_KINDS = ("dense", "sparse")


def distance(achieved: ArrayLike, desired: ArrayLike) -> NDArray[np.floating[Any]]:
    """Euclidean distance.

    Args:
        achieved: positions (..., 3) [m].
        desired: positions (..., 3) [m].

    Returns:
        Distance (...) [m].
    """
    difference = np.subtract(achieved, desired)
    result: NDArray[np.floating[Any]] = np.sqrt((difference * difference).sum(axis=-1))
    return result


def reach_reward(
    achieved: ArrayLike, desired: ArrayLike, kind: str = "dense", threshold: float = 0.05
) -> NDArray[np.floating[Any]]:
    """Reward of reaching a point.

    Args:
        achieved: positions (..., 3) [m].
        desired: positions (..., 3) [m].
        kind: `dense` is -distance [m]; `sparse` is 0 within the threshold and -1 outside.
        threshold: radius of success [m].

    Returns:
        Reward (...).

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in REWARD_KINDS:
        raise ValueError(f"reward {kind!r} is unknown, known rewards: {', '.join(REWARD_KINDS)}")
    d = distance(achieved, desired)
    return -d if kind == "dense" else np.where(d < threshold, d.dtype.type(0), d.dtype.type(-1))
