"""Episodes of scripts that solve the tasks, as demonstrations."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from envs.arm_env import ArmEnv
from envs.experts import expert

from ..closed_loop import ClosedLoopResult, evaluate
from ..errors import RequestError
from ..progress import progress
from ..types import Float32, Observed, Seen


class Demonstrator:
    """The script of an environment of ours.

    Args:
        env: with control_mode `cartesian_delta` and numbers in its observation.

    Raises:
        RequestError: it has no script, another control mode, or shows only pictures.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        base = env.unwrapped
        name = env.spec.id if env.spec is not None else type(base).__name__
        try:
            script = expert(base) if isinstance(base, ArmEnv) else None
        except ValueError as error:
            raise RequestError(f"policy is 'script' for {name}: {error}") from error
        if script is None:
            raise RequestError(f"policy is 'script' for {name}, which has no script, allowed 'explore'")
        space = env.observation_space
        if isinstance(space, gym.spaces.Dict) and "observation" not in space.spaces:
            raise RequestError(f"policy is 'script' for {name} with pictures only; set env.obs_mode=mixed or vector")
        self.script: Any = script

    def reset(self, goal: Float32) -> None:
        if hasattr(self.script, "reset"):
            self.script.reset(goal)

    def act(self, obs: Seen) -> Float32:
        return np.asarray(self.script.act(obs.vector if isinstance(obs, Observed) else obs), np.float32)


def demonstrate(env: gym.Env[Any, Any], seeds: list[int]) -> ClosedLoopResult:
    """One episode of the script for each seed of a reset, in their order."""
    with progress("demonstrate", len(seeds)) as bar:
        return evaluate(env, Demonstrator(env), seeds, lambda episode, success: bar.advance())
