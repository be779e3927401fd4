"""Pictures as observations: spaces, content, what they do not show."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import LookRanges, PixelObservation, PrivilegedObservation


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


def test_several_cameras_with_depth_and_classes() -> None:
    env = make("image", "PandaStack", size=64, camera=("main", "top"), depth=True, segmentation=True)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert (obs["image"] != obs["image_top"]).any() and (obs["depth"] != obs["depth_top"]).any()
    # Robot, table, cylinder and block; seen from above the table is as far as the camera is high.
    assert set(np.unique(obs["segmentation_top"])) >= {1, 2, 3, 4}
    table = obs["depth_top"][obs["segmentation_top"] == 2]
    np.testing.assert_allclose(table, 1.6, atol=0.01)
    assert obs["depth_top"][obs["segmentation_top"] == 1].min() < 1.2
    env.close()


def test_looks_change_pictures_alone_and_come_again() -> None:
    plain, other = make(size=32), make(size=32, looks=LookRanges())
    seen, changed = plain.reset(seed=3)[0], other.reset(seed=3)[0]
    np.testing.assert_array_equal(seen["observation"], changed["observation"])
    assert np.abs(seen["image"].astype(float) - changed["image"]).mean() > 3
    look = other.look
    assert other.reset()[0] is not None and other.look != look
    again = other.reset(seed=3)[0]
    assert other.look == look
    np.testing.assert_array_equal(again["image"], changed["image"])
    np.testing.assert_array_equal(plain.reset(seed=3, options={"look": look})[0]["image"], changed["image"])
    np.testing.assert_array_equal(plain.reset(seed=3)[0]["image"], seen["image"])
    with pytest.raises(ValueError, match=r"zoom of looks is 2, allowed \[0, 0.5\]"):
        LookRanges(zoom=2)
    plain.close()
    other.close()


def test_privileged_state_is_apart_and_true() -> None:
    made = gym.make("LoopWM/PandaPush-v0", randomize="training", observation_noise={"q": 0.01}, observation_delay=2)
    env = PrivilegedObservation(made)
    env.reset(seed=0)
    obs, *_ = env.step(np.ones(3, np.float32))
    assert env.observation_space.contains(obs)
    base, groups = env.unwrapped, env.groups()
    truth = base.vector_observation()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(obs["privileged"][: len(truth)], truth)
    assert (obs["observation"] != truth).any()
    hidden = base.dynamics.vector(base.randomize)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(obs["privileged"][groups["dynamics_gain"]], hidden[3:4])
    with pytest.raises(ValueError, match="allowed the environments of envs/"):
        PrivilegedObservation(gym.make("MountainCarContinuous-v0"))
