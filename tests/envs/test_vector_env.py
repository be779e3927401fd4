"""Many environments at once are bit by bit what single ones are, whatever the task, mode and number of threads."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import SyncVectorEnv, VectorEnv

import envs
from envs import CONTROL_MODES, ArmVectorEnv, PickAndPlaceEnv, ReachAvoidEnv, ReachEnv
from envs.tasks.pick_and_place import PickScript

gym.register_envs(envs)
BATCHED = sorted(
    name
    for name, spec in gym.registry.items()
    if name.startswith("LoopWM/") and load_env_creator(spec.entry_point).__dict__.get("batched")
)
REACH = "LoopWM/PandaReach-v0"
QUICK = [name for name in BATCHED if "Panda" in name or "SO101Pi" in name]


def same(first: Any, second: Any, where: str = "") -> None:
    """Equal in structure, dtype and every bit."""
    if isinstance(first, dict):
        assert set(first) == set(second), where
        for key in first:
            same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, tuple) or (isinstance(first, np.ndarray) and first.dtype == object):
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            same(a, b, f"{where}[{i}]")
    elif first is None:
        assert second is None, where
    else:
        assert first.dtype == second.dtype, where
        np.testing.assert_array_equal(first, second, err_msg=where)


def compare(name: str, steps: int, autoreset: str, **options: Any) -> None:
    """Three environments against Gymnasium's loop over single ones, over the ends of episodes."""
    many = gym.make_vec(name, 3, autoreset_mode=autoreset, threads=2, max_episode_steps=7, **options)
    loop = gym.make_vec(
        name, 3, "sync", vector_kwargs={"autoreset_mode": autoreset}, max_episode_steps=7, **options
    )
    assert isinstance(many, ArmVectorEnv)
    assert many.observation_space == loop.observation_space and many.action_space == loop.action_space
    assert many.metadata["autoreset_mode"] is loop.metadata["autoreset_mode"]
    same(many.reset(seed=4), loop.reset(seed=4), "reset")
    rng = np.random.default_rng(0)
    for step in range(steps):
        actions = rng.uniform(-1, 1, many.action_space.shape).astype(np.float32)
        same(many.step(actions), loop.step(actions), f"step {step}")
    many.close()
    loop.close()


@pytest.mark.parametrize("name", QUICK)
def test_every_bit_is_that_of_single_environments(name: str) -> None:
    compare(name, 17, "NextStep")


@pytest.mark.parametrize("mode", CONTROL_MODES)
def test_so_it_is_in_every_control_mode_and_with_the_other_reset(mode: str) -> None:
    compare(REACH, 15, "SameStep", control_mode=mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", CONTROL_MODES)
@pytest.mark.parametrize("name", BATCHED)
def test_so_it_is_in_every_task_and_mode(name: str, mode: str) -> None:
    compare(name, 30, "SameStep", control_mode=mode)


def follow(many: VectorEnv, seed: int, policy: Any, steps: int) -> dict[str, int]:
    """A policy for observations (N, n_obs) in many environments and in a single one with the seed of the last of them.

    Returns:
        Sums of the entries of `info` in the single one.
    """
    last = many.num_envs - 1
    single = gym.make(many.spec.id).unwrapped
    obs, _ = many.reset(seed=seed)
    one, _ = single.reset(seed=seed + last)
    sums: dict[str, int] = {}
    for step in range(steps):
        actions = policy(obs)
        obs, rewards, _, _, infos = many.step(actions)
        one, reward, _, _, info = single.step(actions[last])
        for key, value in one.items():
            np.testing.assert_array_equal(obs[key][last], value, err_msg=f"step {step}, {key}")
        assert rewards[last] == reward
        assert {key: infos[key][last] for key in info} == info, f"step {step}"
        for key, value in info.items():
            sums[key] = sums.get(key, 0) + int(value)
    many.close()
    return sums


def test_grasps_are_the_same_and_so_are_their_contacts() -> None:
    many = gym.make_vec("LoopWM/PandaPickAndPlace-v0", 2)
    scripts = [PickScript(PickAndPlaceEnv()) for _ in range(2)]
    started: list[int] = []

    def policy(obs: dict[str, np.ndarray]) -> np.ndarray:
        if not started:
            for script, goal in zip(scripts, obs["desired_goal"], strict=True):
                script.reset(goal)
            started.append(1)
        return np.array([script.act(vector) for script, vector in zip(scripts, obs["observation"], strict=True)])

    sums = follow(many, 3, policy, 60)
    assert sums["contact"] > 10 and sums["contact_steps"] > 5 * sums["contact"] // 2  # it is held


def test_pushes_are_the_same_and_so_are_their_contacts() -> None:
    many = gym.make_vec("LoopWM/PandaPush-v0", 2, threads=1)

    def policy(obs: dict[str, np.ndarray]) -> np.ndarray:
        way = obs["observation"][:, 31:34] - obs["observation"][:, 28:31]
        return np.clip(way / 0.02, -1, 1) * (1.0, 1.0, 0.0)  # straight into the box

    sums = follow(many, 1, policy, 30)
    assert 0 < sums["contact"] < 30


def test_touching_the_wall_is_seen() -> None:
    many = gym.make_vec("LoopWM/PandaReachAvoid-v0", 2)
    single = ReachAvoidEnv()
    middle = single.wall[0][1]

    def policy(obs: dict[str, np.ndarray]) -> np.ndarray:
        """Towards the wall: turned about the base."""
        actions = np.zeros((2, 7))
        actions[:, 0] = np.sign(middle - obs["observation"][:, 29])
        return actions

    assert follow(many, 0, policy, 25)["collision"] > 0


def test_episodes_are_cut_and_the_last_observation_is_kept() -> None:
    many = gym.make_vec(REACH, 2, autoreset_mode="SameStep", max_episode_steps=3)
    single = gym.make(REACH).unwrapped
    first, _ = many.reset(seed=[5, 8])
    single.reset(seed=8)
    actions = np.full((2, 7), 0.5, dtype=np.float32)
    for step in range(3):
        obs, _, terminated, truncated, infos = many.step(actions)
        true = single.step(actions[1])[0]
        assert truncated.all() == (step == 2) and not terminated.any()
    np.testing.assert_array_equal(infos["final_obs"][1]["observation"], true["observation"])
    begun = single.reset()[0]  # the next episode of the same generator
    same({k: v[1] for k, v in obs.items()}, begun)
    assert not np.array_equal(obs["desired_goal"], first["desired_goal"])
    many.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[ArmVectorEnv]:
    many = gym.make_vec(REACH, 2, threads=1, autoreset_mode="Disabled", max_episode_steps=4)
    assert isinstance(many, ArmVectorEnv)
    yield many
    many.close()


def test_the_number_of_threads_changes_nothing() -> None:
    results = []
    for threads in (1, 3):
        many = gym.make_vec("LoopWM/SO101Push-v0", 4, threads=threads)
        many.reset(seed=0)
        rng = np.random.default_rng(1)
        results.append([many.step(rng.uniform(-1, 1, many.action_space.shape)) for _ in range(5)])
        many.close()
    for first, second in zip(*results, strict=True):
        same(first, second)


def test_one_of_them_can_go_on_alone() -> None:
    many = gym.make_vec("LoopWM/PandaReachHidden-v0", 3, threads=1)
    many.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        many.step(rng.uniform(-1, 1, many.action_space.shape))
    single = gym.make("LoopWM/PandaReachHidden-v0").unwrapped
    for i in range(3):
        single.set_state(many.state(i))
        np.testing.assert_array_equal(single.get_state().pending, many.state(i).pending)
    actions = rng.uniform(-1, 1, (4, *many.action_space.shape))
    for step in actions:
        obs = many.step(step)[0]
        alone = single.step(step[2])[0]
        np.testing.assert_array_equal(obs["observation"][2], alone["observation"])
    many.close()


def test_a_mask_restarts_only_some(pair: ArmVectorEnv) -> None:
    pair.reset(seed=0)
    before, *_ = pair.step(np.ones((2, 7)))
    after, infos = pair.reset(seed=7, options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(after["observation"][0], before["observation"][0])
    single = ReachEnv()
    np.testing.assert_array_equal(after["observation"][1], single.reset(seed=8)[0]["observation"])
    assert infos["_distance"].tolist() == [False, True]


def test_reset_options_reach_every_environment(pair: ArmVectorEnv) -> None:
    obs, _ = pair.reset(seed=0, options={"goal": (0.5, 0.1, 0.3)})
    np.testing.assert_allclose(obs["desired_goal"], [(0.5, 0.1, 0.3)] * 2, atol=1e-7)


def test_nothing_goes_on_beyond_the_end(pair: ArmVectorEnv) -> None:
    pair.reset(seed=0)
    for _ in range(4):
        pair.step(np.zeros((2, 7)))
    with pytest.raises(RuntimeError, match=r"environments \[0, 1\] are over; reset"):
        pair.step(np.zeros((2, 7)))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 7)), r"shape \(3, 7\), need \(2, 7\) for 2 environments"),
        (np.full((2, 7), np.nan), "action 0 of environment 0 is nan"),
    ],
)
def test_wrong_actions_are_refused(pair: ArmVectorEnv, actions: np.ndarray, message: str) -> None:
    pair.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        pair.step(actions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": [1]}, "1 seeds for 2 environments"),
        ({"options": {"reset_mask": np.zeros(2, dtype=bool)}}, "not all false"),
        ({"options": {"speed": 1}}, "'speed' is unknown"),
    ],
)
def test_wrong_resets_are_refused(pair: ArmVectorEnv, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair.reset(**arguments)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_envs is 0"):
        ArmVectorEnv(ReachEnv, 0)
    with pytest.raises(ValueError, match="threads is 0"):
        ArmVectorEnv(ReachEnv, 1, threads=0)


def test_a_task_that_does_not_say_it_is_batched_is_looped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ReachEnv):
        pass

    with pytest.raises(ValueError, match="Other is not batched; make it with vectorization_mode='sync'"):
        ArmVectorEnv(Other, 2)
    monkeypatch.setattr(ReachEnv, "batched", False)
    many = gym.make_vec(REACH, 2, max_episode_steps=2)
    assert isinstance(many, SyncVectorEnv)
    many.reset(seed=0)
    many.step(np.zeros((2, 7)))
    assert many.step(np.zeros((2, 7)))[3].all()
    many.close()
