"""Exploring episodes of many environments at once, where the actions do not depend on what is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from envs.collector import Arrays, Collector, Transitions
from envs.vector_env import ArmVectorEnv

from ..types import Episode
from .collect import ExplorationPolicy, Policy, control_interval, run_episode

AT_ONCE = 32
"""Environments that are stepped together."""


def explore_episodes(env: gym.Env[Any, Any], explorer: Policy, seeds: Sequence[int]) -> Iterator[Episode]:
    """Exploring episodes, one for each seed of a reset, in their order.

    Random motion in a batched task of ours runs in many environments at once; that changes nothing in the episodes.

    Args:
        env: the environment.
        explorer: chooses the actions.
        seeds: of the resets.
    """
    steps = None if env.spec is None else env.spec.max_episode_steps
    blind = explorer if isinstance(explorer, ExplorationPolicy) and can_batch(env) else None
    if env.spec is None or steps is None or blind is None or not seeds:
        for seed in seeds:
            yield run_episode(env, explorer, seed)[0]
        return
    mode = gym.vector.AutoresetMode.SAME_STEP
    many = cast(ArmVectorEnv, gym.make_vec(env.spec, min(AT_ONCE, len(seeds)), autoreset_mode=mode))
    try:
        for start in range(0, len(seeds), many.num_envs):
            wave = list(seeds[start : start + many.num_envs])
            actions = np.array([blind.episode(steps) for _ in wave])
            yield from _wave(many, wave, actions, control_interval(env))
    finally:
        many.close()


def can_batch(env: gym.Env[Any, Any]) -> bool:
    """Whether `gymnasium.make_vec` makes the same environment many times in one."""
    plain = env.spec is not None and not env.spec.additional_wrappers
    return plain and bool(type(env.unwrapped).__dict__.get("batched"))


def _wave(many: ArmVectorEnv, seeds: list[int], actions: np.ndarray, ctrl_dt: float) -> Iterator[Episode]:
    """One episode of each environment; actions (len(seeds), T, nu). Environments without a seed of their own idle."""
    count, steps = actions.shape[:2]
    idle = np.zeros((many.num_envs - count, *actions.shape[1:]), actions.dtype)
    given = iter(np.concatenate([actions, idle]).swapaxes(0, 1))

    def policy(obs: Arrays, begins: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, next(given))

    collector = Collector(many, policy, seeds + seeds[-1:] * len(idle))
    for seed, one in zip(seeds, collector.collect(steps).episodes(), strict=False):
        yield as_episode(one, ctrl_dt, many.spec.id if many.spec is not None else "", seed)


def as_episode(one: Transitions, ctrl_dt: float, env_id: str, seed: int) -> Episode:
    """The transitions of one episode of a goal task as an `Episode`.

    Args:
        one: from its first step on.
        ctrl_dt: control step [s].
        env_id: Gymnasium id.
        seed: of the reset.
    """

    def states(name: str) -> np.ndarray:
        return np.concatenate([one.obs[name], one.next_obs[name][-1:]])

    return Episode(
        obs=states("observation"),
        achieved=states("achieved_goal"),
        goal=one.obs["desired_goal"][0],
        action=one.action.astype(np.float32),
        reward=one.reward.astype(np.float32),
        terminated=one.terminated,
        truncated=one.truncated,
        ctrl_dt=ctrl_dt,
        env_id=env_id,
        seed=seed,
    )
