"""Episodes that scripts solve: a task that none solves may not be solvable."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import gymnasium as gym
import numpy as np

from envs.arm_env import ArmEnv
from envs.experts import expert

from ..common import Row


def solve(name: str, episodes: int, advance: Callable[[], None]) -> Row | None:
    """Episodes of an environment that its script solves within the time limit; None where there is no script."""
    env = gym.make(name, control_mode="cartesian_delta")
    base = cast(ArmEnv, env.unwrapped)
    policy = expert(base)
    if policy is None:
        advance()
        return None
    solved = 0
    last = []
    for seed in range(episodes):
        obs, info = env.reset(seed=seed)
        if hasattr(policy, "reset"):
            policy.reset(obs["desired_goal"])
        over = touched = success = False
        while not over:
            obs, _, terminated, truncated, info = env.step(policy.act(obs["observation"]))
            over, touched = terminated or truncated, touched or info.get("collision", False)
            success = info["is_success"]
        solved += success and not touched
        last.append(info["distance"])
    env.close()
    advance()
    return {
        "table": "details: episodes solved by a script",
        "id": name,
        "script": type(policy).__name__,
        "episodes": episodes,
        "solved": solved,
        "final_distance_m_median": float(np.median(last)),
    }
