"""Random actions in tasks with much freedom: no warning, nothing out of bounds, nothing deep in anything."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.arm_env import ArmEnv

gym.register_envs(envs)
TASKS = ("TrackPath-v0", "Slide-v0", "Stack-v0")
IDS = [name for name in gym.registry if name.startswith("LoopWM/") and name.endswith(TASKS)]
EPISODES, STEPS = 10, 100
DEEP, LONG = 0.005, 3
"""Depth [m] that a contact, also of the arm with itself, keeps for at most so many control steps."""


def actions(env: ArmEnv, episode: int) -> Iterator[np.ndarray]:
    """White, piecewise constant and full actions by turns."""
    rng, hold = np.random.default_rng(episode), (1, 4, 20)[episode % 3]
    drawn = rng.uniform(-1, 1, (STEPS // hold, env.nu))
    yield from np.repeat(drawn if episode % 2 else np.sign(drawn), hold, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ("joint_delta", "cartesian_delta"))
@pytest.mark.parametrize("name", IDS)
def test_random_actions_do_no_harm(name: str, mode: str) -> None:
    made = gym.make(name, control_mode=mode).unwrapped
    assert isinstance(made, ArmEnv)
    longest = 0
    for episode in range(EPISODES):
        made.reset(seed=episode)
        deep = 0
        for action in actions(made, episode):
            assert made.observation_space.contains(made.step(action)[0])
            deep = deep + 1 if made.data.contact.dist.min(initial=0.0) < -DEEP else 0
            longest = max(longest, deep)
    assert longest <= LONG
    assert not any(int(warning.number) for warning in made.data.warning)
