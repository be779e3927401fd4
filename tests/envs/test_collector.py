"""Collected transitions are those that happened, and none leads across the end of an episode."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs import Collector
from envs.collector import Arrays

gym.register_envs(envs)
PUSH = "LoopWM/PandaPush-v0"


def towards_the_box(obs: Arrays, begins: np.ndarray) -> np.ndarray:
    way = obs["observation"][:, 31:34] - obs["observation"][:, 28:31]
    return np.clip(way / 0.02, -1, 1) * (1.0, 1.0, 0.0)


@pytest.mark.parametrize("mode", ("NextStep", "SameStep"))
@pytest.mark.parametrize("loop", (False, True))
def test_transitions_are_those_of_single_environments(mode: str, loop: bool) -> None:
    options: dict[str, Any] = (
        {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}} if loop else {"autoreset_mode": mode}
    )
    many = gym.make_vec(PUSH, 3, max_episode_steps=6, **options)
    collector = Collector(many, towards_the_box, seed=5)
    parts = [collector.collect(8), collector.collect(8)]
    assert sum(len(part) for part in parts) == (3 * 14 if mode == "NextStep" else 3 * 16)
    single = gym.make(PUSH, max_episode_steps=6)
    rows = [row for part in parts for one in part.episodes() for row in range(len(one)) if one.episode[0] % 3 == 2]
    assert rows
    # Environment 2 has the episodes 2, 5, 8: all of them begin and end together.
    obs, _ = single.reset(seed=7)
    seen = 0
    for number in (2, 5, 8):
        for part in parts:
            one = part.rows(part.episode == number)
            for k in range(len(one)):
                for key, value in obs.items():
                    np.testing.assert_array_equal(one.obs[key][k], value)
                np.testing.assert_array_equal(
                    one.action[k], towards_the_box({"observation": obs["observation"][None]}, np.zeros(1))[0]
                )
                obs, reward, terminated, truncated, info = single.step(one.action[k])
                for key, value in obs.items():
                    np.testing.assert_array_equal(one.next_obs[key][k], value)
                assert (one.reward[k], one.terminated[k], one.truncated[k]) == (reward, terminated, truncated)
                assert {key: one.info[key][k] for key in info} == info
                assert one.step[k] == seen % 6
                seen += 1
                if truncated:
                    obs, _ = single.reset()
    assert seen == (14 if mode == "NextStep" else 16)
    assert any(part.info["contact"].any() for part in parts)
    many.close()


def test_the_policy_is_told_where_episodes_begin() -> None:
    for mode, expected in (("NextStep", [0, 5]), ("SameStep", [0, 4])):
        told: list[bool] = []

        def policy(obs: Arrays, begins: np.ndarray, told: list[bool] = told) -> np.ndarray:
            told.append(bool(begins.all()))
            assert begins.all() == begins.any()
            return np.zeros((2, 7))

        many = gym.make_vec("LoopWM/PandaReach-v0", 2, max_episode_steps=4, autoreset_mode=mode)
        Collector(many, policy, seed=0).collect(7)
        assert np.flatnonzero(told).tolist() == expected
        many.close()


def test_environments_that_do_not_reset_are_refused() -> None:
    many = gym.make_vec("LoopWM/PandaReach-v0", 1, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match="allowed NextStep, SameStep"):
        Collector(many, towards_the_box)
    many.close()


def test_no_steps_are_refused() -> None:
    many = gym.make_vec("LoopWM/PandaReach-v0", 1)
    with pytest.raises(ValueError, match="steps is 0"):
        Collector(many, towards_the_box).collect(0)
    many.close()


def test_any_vector_environment_will_do() -> None:
    many = gym.make_vec("Pendulum-v1", 2, "sync", max_episode_steps=5)
    found = Collector(many, lambda obs, begins: np.zeros((2, 1), np.float32), seed=0).collect(12)
    assert len(found) == 20 and found.obs["observation"].shape == (20, 3)
    assert [len(one) for one in found.episodes()] == [5, 5, 5, 5]
    many.close()
