"""Environments of other packages behind our interface, each imported only when one of its tasks is made.

`import envs` registers an id for every task of theirs:

    dm/<domain>-<task>-v0          Control Suite, e.g. dm/reacher-hard-v0; dm/manipulation-reach_site-v0 with the Jaco
    dm/<domain>-<task>-repeat2-v0  the same with each action held for two steps, as TD-MPC2 runs them
    fetch/<Task>-v4                gymnasium-robotics, e.g. fetch/PickAndPlace-v4
    metaworld/<task>-v3            Meta-World under the protocol of TD-MPC2, e.g. metaworld/pick-place-v3
    robosuite/<Task>-v0            robosuite with a Panda, e.g. robosuite/Lift-v0
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from .boxes import fitted
from .names import FETCH, MANIPULATION_TASKS, META_WORLD, ROBOSUITE, SUITE
from .suite_env import SuiteEnv

__all__ = ["SuiteEnv", "fitted", "register"]


def register() -> None:
    """Register the ids; those that are known already stay as they are."""
    found: list[tuple[str, str, int, dict[str, Any]]] = []
    for domain, tasks in SUITE.items():
        for task in tasks:
            options = {"domain": domain, "task": task}
            found.append((f"dm/{domain}-{task}-v0", "dm_control:DmControlEnv", 1000, options))
            held = {**options, "action_repeat": 2}
            found.append((f"dm/{domain}-{task}-repeat2-v0", "dm_control:DmControlEnv", 500, held))
    for task in MANIPULATION_TASKS:
        options = {"domain": "manipulation", "task": task}
        found.append((f"dm/manipulation-{task}-v0", "dm_control:DmControlEnv", 250, options))
    found += [(f"fetch/{task}-v4", "robotics:FetchEnv", 50, {"task": task}) for task in FETCH]
    found += [(f"metaworld/{task}-v3", "meta_world:MetaWorldEnv", 100, {"task": task}) for task in META_WORLD]
    found += [(f"robosuite/{task}-v0", "robosuite:RobosuiteEnv", 500, {"task": task}) for task in ROBOSUITE]
    for name, entry, steps, kwargs in found:
        if name not in gym.registry:
            gym.register(name, f"{__name__}.{entry}", max_episode_steps=steps, kwargs=kwargs)
