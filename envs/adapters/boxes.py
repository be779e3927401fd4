"""Any Gymnasium environment with Box spaces."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FlattenObservation, RescaleAction

SEEN = ("observation", "state", "image", "pixels")
"""Keys of a dict observation that are understood as they are, beside goals."""


def fitted(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """An environment with actions in [-1, 1] and a vector, a picture or a dict of these with goals as observation.

    Args:
        env: any; one that has this already is returned as it is.

    Returns:
        env in Gymnasium's wrappers RescaleAction and FlattenObservation, as needed.

    Raises:
        ValueError: its actions are no vector with finite bounds, or its observations no numbers.
    """
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    actions = env.action_space
    if not isinstance(actions, gym.spaces.Box) or len(actions.shape) != 1:
        raise ValueError(f"environment {name} has actions {actions}, allowed a Box of one dimension")
    if not (np.all(actions.low == -1) and np.all(actions.high == 1)):
        if not np.isfinite([actions.low, actions.high]).all():
            raise ValueError(f"environment {name} has actions {actions}, allowed finite bounds; wrap it in ClipAction")
        env = RescaleAction(env, np.float32(-1.0), np.float32(1.0))
    if _understood(env.observation_space):
        return env
    if not env.observation_space.is_np_flattenable:
        raise ValueError(f"environment {name} has observations {env.observation_space}, allowed Box and Dict of Box")
    return FlattenObservation(env)


def _understood(space: gym.Space[Any]) -> bool:
    if isinstance(space, gym.spaces.Dict):
        return any(name in space.spaces for name in SEEN)
    picture = isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3
    return isinstance(space, gym.spaces.Box) and (picture or len(space.shape) == 1)
