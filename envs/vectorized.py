"""Entry points for `gymnasium.make_vec`: `tasks.reach.ReachEnv` makes many of `envs.tasks.reach.ReachEnv`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import gymnasium as gym

from .vector_env import ArmVectorEnv

AnyVectorEnv = gym.vector.VectorEnv[Any, Any, Any]


SINGLE = ("observation_noise", "observation_delay", "rate_jitter")
"""Options that batched environments do not have."""


def entry_point(single: str) -> str:
    """The `vector_entry_point` that goes with the `entry_point` of a task in this package, module:class."""
    return f"{__name__}:{single.removeprefix(f'{__package__}.').replace(':', '.')}"


def __getattr__(name: str) -> Callable[..., AnyVectorEnv]:
    module, _, attribute = name.rpartition(".")
    if not module:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    task = getattr(import_module(f".{module}", __package__), attribute)

    def make(num_envs: int, max_episode_steps: int | None = None, **options: Any) -> AnyVectorEnv:
        """Batched where the task can be, otherwise one environment after the other."""
        if task.__dict__.get("batched") and not any(options.get(name) for name in SINGLE):
            return ArmVectorEnv(task, num_envs, max_episode_steps=max_episode_steps, **options)
        mode = options.pop("autoreset_mode", gym.vector.AutoresetMode.NEXT_STEP)
        options.pop("threads", None)
        options.pop("device", None)
        if (physics := options.pop("physics", "mujoco")) != "mujoco":
            raise ValueError(f"physics is '{physics}', allowed 'mujoco' where a task or its options are not batched")

        def one() -> gym.Env[Any, Any]:
            env: gym.Env[Any, Any] = task(**options)
            return env if max_episode_steps is None else gym.wrappers.TimeLimit(env, max_episode_steps)

        return gym.vector.SyncVectorEnv([one] * num_envs, autoreset_mode=mode)

    return make
