"""Exploring many environments at once gives the same episodes as exploring one after the other."""

from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

from loopwm_robot.build import make_env
from loopwm_robot.config import EnvConfig
from loopwm_robot.data import collect_many
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.data.collect_many import can_batch, explore_episodes


@pytest.mark.parametrize("name", ("LoopWM/PandaReach-v0", "LoopWM/PandaReachHidden-v0"))
def test_episodes_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_many, "AT_ONCE", 3)  # the last wave is not full
    env = make_env(EnvConfig(name))
    assert can_batch(env)
    seeds = [11, 5, 7, 2]
    batched = list(explore_episodes(env, ExplorationPolicy(7, np.random.default_rng(0)), seeds))
    explorer = ExplorationPolicy(7, np.random.default_rng(0))
    for seed, episode in zip(seeds, batched, strict=True):
        single, _ = run_episode(env, explorer, seed)
        for field in fields(single):
            expected, found = getattr(single, field.name), getattr(episode, field.name)
            if isinstance(expected, np.ndarray):
                assert expected.dtype == found.dtype, field.name
                np.testing.assert_array_equal(expected, found, err_msg=field.name)
            else:
                assert expected == found, field.name


def test_what_looks_at_the_observation_or_is_wrapped_is_done_one_by_one() -> None:
    env = make_env(EnvConfig("LoopWM/PandaReach-v0"))
    assert not can_batch(gym.wrappers.TransformReward(env, abs))

    class Watching(ExplorationPolicy):
        seen = 0

        def act(self, obs: np.ndarray) -> np.ndarray:
            self.seen += len(obs) > 0
            return super().act(obs)

    policy = Watching(7, np.random.default_rng(0))
    assert len(list(explore_episodes(gym.wrappers.TransformReward(env, abs), policy, [1]))) == 1
    assert policy.seen == 60
