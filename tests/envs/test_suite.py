"""What holds for every arm x task: contract, determinism, relabelling, pickling, closing."""

import pickle
import warnings
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.arm_env import ArmEnv

gym.register_envs(envs)
IDS = sorted(name for name in gym.registry if name.startswith("LoopWM/"))


@pytest.fixture(params=IDS)
def env(request: pytest.FixtureRequest) -> Iterator[ArmEnv]:
    made = gym.make(request.param).unwrapped
    assert isinstance(made, ArmEnv)
    yield made
    made.close()


def run(env: ArmEnv, seed: int, steps: int = 15) -> list[tuple]:
    rng = np.random.default_rng(seed)
    return [env.reset(seed=seed), *(env.step(rng.uniform(-1, 1, env.nu)) for _ in range(steps))]


def same(first: list[tuple], second: list[tuple]) -> None:
    for a, b in zip(first, second, strict=True):
        for key in a[0]:
            np.testing.assert_array_equal(a[0][key], b[0][key])
        assert a[1:] == b[1:]


def test_the_contract_of_gymnasium(env: ArmEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)


def test_same_seed_same_episode_and_relabelling(env: ArmEnv) -> None:
    first = run(env, 3)
    same(first, run(env, 3))
    obs, rewards = [step[0] for step in first[1:]], [step[1] for step in first[1:]]
    achieved = np.array([o["achieved_goal"] for o in obs])
    goals = np.array([o["desired_goal"] for o in obs])
    np.testing.assert_allclose(env.compute_reward(achieved, goals, None), rewards, atol=1e-7)
    np.testing.assert_allclose(env.compute_reward(achieved, achieved, None), 0.0)
    assert env.compute_terminated(achieved, goals, None).shape == (len(obs),)
    assert all("is_success" in step[-1] and "distance" in step[-1] for step in first)


def scripted(env: ArmEnv, seed: int) -> list[tuple]:
    """With the script of the task: random actions hardly ever meet a button or a handle."""
    steps = [env.reset(seed=seed)]
    script = env.script()
    script.reset(steps[0][0]["desired_goal"])
    for _ in range(40):
        steps.append(env.step(script.act(steps[-1][0]["observation"])))
    return steps


def test_no_column_stays_the_same_and_all_belong_to_a_token(env: ArmEnv) -> None:
    play, seeds = (scripted, 2) if hasattr(env, "script") else (run, 3)
    vectors = np.array([step[0]["observation"] for seed in range(seeds) for step in play(env, seed)])
    assert (np.ptp(vectors, axis=0) > 0).all()
    columns = [column for token in env.observation_tokens().values() for column in token]
    assert sorted(columns) == list(range(vectors.shape[1]))


def test_pickling_goes_on_where_it_was(env: ArmEnv) -> None:
    run(env, 5, 4)
    twin = pickle.loads(pickle.dumps(env))
    assert type(twin) is type(env) and twin.spec == env.spec
    actions = np.random.default_rng(0).uniform(-1, 1, (4, env.nu))
    same([env.step(a) for a in actions], [twin.step(a) for a in actions])
    np.testing.assert_array_equal(env.np_random.random(4), twin.np_random.random(4))


def test_closing_twice_does_no_harm(env: ArmEnv) -> None:
    env.reset(seed=0)
    env.close()
    env.close()
