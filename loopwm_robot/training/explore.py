"""Random episodes: to begin with, to measure on, and to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from ..build import make_explorer
from ..checkpoint import Spaces
from ..config import CollectConfig
from ..data.buffer import ReplayBuffer, RewardFn
from ..data.collect import Policy
from ..data.collect_many import explore_episodes
from ..progress import progress
from ..types import Episode

HELD_OUT_SEED = 900_000
"""Seeds of the random episodes that only measure open-loop errors."""


def training_seed(seed: int, round_index: int, i: int) -> int:
    """Seed of the reset of training episode i in a round; always below those of held-out and evaluation episodes."""
    return (seed * 7919 + round_index * 1009 + i) % HELD_OUT_SEED


def explore(
    env: gym.Env[Any, Any], explorer: Policy, buffer: ReplayBuffer, episodes: int, seed: Callable[[int], int]
) -> None:
    """Record exploring episodes into a buffer; episode i is reset with seed(i)."""
    with progress("explore", episodes) as bar:
        for episode in explore_episodes(env, explorer, [seed(i) for i in range(episodes)]):
            buffer.add(episode)
            bar.advance()


def record_random(env: gym.Env[Any, Any], spaces: Spaces, config: CollectConfig, seed: int) -> ReplayBuffer:
    """A buffer of random episodes, just large enough for them.

    Raises:
        ValueError: the episodes of env have no time limit.
    """
    explorer = make_explorer(env, spaces.nu, config, np.random.default_rng(seed))
    steps = env.spec.max_episode_steps if env.spec is not None else None
    if steps is None:
        raise ValueError(f"{spaces.env_id} has no time limit, allowed a finite one; wrap it in TimeLimit")
    buffer = ReplayBuffer(config.episodes * (steps + 1), *spaces.sizes)
    explore(env, explorer, buffer, config.episodes, lambda i: training_seed(seed, 0, i))
    return buffer


def stored(episodes: Sequence[Episode], spaces: Spaces) -> ReplayBuffer:
    """A buffer that is just large enough for some episodes, with them in it."""
    buffer = ReplayBuffer(sum(len(episode) + 1 for episode in episodes), *spaces.sizes)
    for episode in episodes:
        buffer.add(episode)
    return buffer


def record_held_out(env: gym.Env[Any, Any], nu: int, config: CollectConfig, count: int) -> list[Episode]:
    """Random episodes that no training ever sees; the same for every run with the same exploration settings."""
    explorer = make_explorer(env, nu, config, np.random.default_rng(HELD_OUT_SEED))
    return list(explore_episodes(env, explorer, [HELD_OUT_SEED + i for i in range(count)]))


def reward_function(env: gym.Env[Any, Any]) -> RewardFn | None:
    """The task's compute_reward for hindsight goals; None where there is none, or where goals move."""
    compute = getattr(env.unwrapped, "compute_reward", None)
    if compute is None or hasattr(env.unwrapped, "target_columns"):
        return None
    return lambda achieved, desired: compute(achieved, np.broadcast_to(desired, achieved.shape), {})
