"""Pictures as observations: spaces, content, what they do not show."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import PixelObservation


def make(obs_mode: str = "mixed", task: str = "PandaReach", **settings: Any) -> PixelObservation:
    env = PixelObservation(gym.make(f"LoopWM/{task}-v0"), obs_mode, **settings)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("obs_mode", ["image", "mixed"])
@pytest.mark.parametrize("task", ["PandaReach", "PandaPush"])
def test_spaces_and_content(obs_mode: str, task: str) -> None:
    env = make(obs_mode, task, size=32)
    obs, _ = env.reset(seed=3)
    assert env.observation_space.contains(obs)
    assert ("observation" in obs) == (obs_mode == "mixed")
    first = obs["image"]
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8 and first.std() > 5
    before = first.copy()
    for _ in range(6):
        obs, *_ = env.step(np.ones(env.action_space.shape))
    assert env.observation_space.contains(obs) and (obs["image"] != before).any()
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(env.reset(seed=3)[0]["image"], before)
    env.close()
    env.close()


def test_the_goal_is_not_drawn() -> None:
    env = make()
    pose = env.unwrapped.arm.home  # type: ignore[attr-defined]
    first, second = (env.reset(seed=seed, options={"q": pose})[0] for seed in (1, 2))
    assert (first["desired_goal"] != second["desired_goal"]).any()
    np.testing.assert_array_equal(first["image"], second["image"])
    env.close()


def test_gymnasium_accepts_it() -> None:
    env = make(size=16)
    check_env(env, skip_render_check=True)
    env.close()


def test_wrong_requests_are_refused() -> None:
    arm = gym.make("LoopWM/PandaReach-v0")
    for settings, text in (
        ({"obs_mode": "pixels"}, "allowed image, mixed"),
        ({"size": 15}, r"allowed even numbers in \[16, 512\]"),
        ({"size": 514}, r"allowed even numbers in \[16, 512\]"),
    ):
        with pytest.raises(ValueError, match=text):
            PixelObservation(arm, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="AddRenderObservation"):
        PixelObservation(gym.make("MountainCarContinuous-v0"))
    flat = gym.wrappers.FlattenObservation(arm)
    with pytest.raises(ValueError, match="allowed a Dict"):
        PixelObservation(flat)
