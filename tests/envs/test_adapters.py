"""Environments of other packages behind our interface; those that are not installed are skipped."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.adapters import fitted
from envs.adapters.dm_control import DmControlEnv
from envs.adapters.meta_world import MetaWorldEnv
from envs.adapters.names import FETCH, MANIPULATION_TASKS, META_WORLD, ROBOSUITE, SUITE
from envs.adapters.robosuite import RobosuiteEnv
from envs.adapters.robotics import FetchEnv
from envs.adapters.suite_env import SuiteEnv, suite

EXAMPLES = {
    "dm/reacher-hard-v0": ("dm_control", 1000),
    "dm/manipulation-reach_site-v0": ("dm_control", 250),
    "fetch/Push-v4": ("gymnasium_robotics", 50),
    "metaworld/pick-place-v3": ("metaworld", 100),
    "robosuite/Lift-v0": ("robosuite", 500),
}


def needs(module: str) -> ModuleType:
    """A package of others: part of the extra `dev`, but for robosuite, which cannot stand beside our versions."""
    if module.partition(".")[0] == "robosuite" and find_spec("robosuite") is None:
        pytest.skip("robosuite is not installed; see docs/environments.md")
    return import_module(module)


def rollout(env: gym.Env[Any, Any], seed: int, steps: int = 5) -> np.ndarray:
    """Observations and rewards (steps, ...) of random actions."""
    env.reset(seed=seed)
    rows = []
    for action in np.random.default_rng(0).uniform(-1, 1, (steps, *env.action_space.shape)):
        obs, reward, *_ = env.step(action)
        rows.append(np.append(obs["observation"] if isinstance(obs, dict) else obs, reward))
    return np.array(rows)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_suite_keeps_the_contract(name: str) -> None:
    package, steps = EXAMPLES[name]
    needs(package)
    env = gym.make(name)
    base = env.unwrapped
    assert isinstance(base, SuiteEnv) and env.spec is not None and env.spec.max_episode_steps == steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds are infinite, which Gymnasium only mentions
        check_env(base, skip_render_check=True)
    assert base.action_space == gym.spaces.Box(-1.0, 1.0, base.action_space.shape, np.float32)
    first = rollout(env, 3)
    np.testing.assert_array_equal(first, rollout(env, 3))
    assert not np.array_equal(first, rollout(env, 4))
    ends = [(columns.start, columns.stop) for columns in base.column_groups().values()]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == first.shape[1] - 1 == sum(len(columns) for columns in base.observation_tokens().values())
    with pytest.raises(ValueError, match=r"allowed \d+ finite numbers in \[-1, 1\]"):
        base.step(np.full(base.action_space.shape, np.nan))
    env.close()
    env.close()


def test_ids_are_the_tasks_that_exist() -> None:
    dm = needs("dm_control.suite")
    assert {(domain, task) for domain, tasks in SUITE.items() for task in tasks} == set(dm.ALL_TASKS)
    manipulation = needs("dm_control.manipulation").ALL
    assert {f"{task}_features" for task in MANIPULATION_TASKS} == {name for name in manipulation if "features" in name}
    needs("gymnasium_robotics")
    assert all(f"Fetch{task}-v4" in gym.registry for task in FETCH)


def test_meta_world_has_these_tasks_and_runs_the_protocol() -> None:
    known = needs("metaworld.env_dict").ALL_V3_ENVIRONMENTS
    assert {f"{task}-v3" for task in META_WORLD} == set(known)
    env = gym.make("metaworld/reach-v3")
    obs, info = env.reset(seed=0)
    goal = obs[env.unwrapped.groups["goal_pos"]]  # type: ignore[attr-defined]
    success, truncated, steps = [], False, 0
    while not truncated:
        hand = obs[:3]
        obs, _, terminated, truncated, info = env.step(np.append(np.clip(10 * (goal - hand), -1, 1), 0.0))
        success.append(info["is_success"])
        steps += 1
        assert not terminated
    assert steps == 100 and env.unwrapped._env.curr_path_length == 200  # type: ignore[attr-defined]
    assert success[-1] and not success[0] and env.unwrapped.ctrl_dt == pytest.approx(0.025)  # type: ignore[attr-defined]


def test_robosuite_has_these_tasks() -> None:
    assert set(ROBOSUITE) <= set(needs("robosuite").ALL_ENVIRONMENTS)


def test_repeated_actions_add_their_rewards_up() -> None:
    needs("dm_control")
    twice, once = DmControlEnv("cartpole", "balance", action_repeat=2), DmControlEnv("cartpole", "balance")
    twice.reset(seed=1), once.reset(seed=1)
    action = np.array([0.4], np.float32)
    obs, reward, *_ = twice.step(action)
    pieces = [once.step(action) for _ in range(2)]
    np.testing.assert_array_equal(obs, pieces[1][0])
    assert reward == pytest.approx(pieces[0][1] + pieces[1][1]) and twice.ctrl_dt == 2 * once.ctrl_dt


def test_the_end_of_time_truncates_and_a_fall_terminates() -> None:
    needs("dm_control")
    env = DmControlEnv("point_mass", "easy", action_repeat=500)
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[2:4] for _ in range(2)] == [(False, False), (False, True)]
    env.reset(seed=0)
    env._env.task.get_termination = lambda physics: 0.0
    assert env.step(np.zeros(2))[2:4] == (True, False)


def test_goals_of_the_fetch() -> None:
    needs("gymnasium_robotics")
    for reward in ("dense", "sparse"):
        env = FetchEnv("PickAndPlace", reward)
        obs, info = env.reset(seed=2)
        assert not info["is_success"]
        obs, value, *_, info = env.step(np.zeros(4))
        np.testing.assert_array_equal(obs["observation"][env.goal_columns], obs["achieved_goal"])
        d = np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"])
        assert info["distance"] == pytest.approx(d, abs=1e-6)
        assert value == pytest.approx(-d if reward == "dense" else -1.0, abs=1e-6)
        again = env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        assert isinstance(again, float) and again == pytest.approx(value, abs=1e-6)
        many = env.compute_reward(np.stack([obs["achieved_goal"]] * 2), np.stack([obs["desired_goal"]] * 2), info)
        np.testing.assert_allclose(many, value, atol=1e-6)
    assert FetchEnv("Reach").goal_columns == slice(0, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DmControlEnv("raecher", "hard"), "domain 'raecher' is unknown, known: acrobot, ball_in_cup"),
        (lambda: DmControlEnv("reacher", "harder"), "task of reacher 'harder' is unknown, known: easy, hard"),
        (lambda: DmControlEnv("manipulation", "fly"), "manipulation task 'fly' is unknown, known: stack_2_bricks"),
        (lambda: DmControlEnv("reacher", "hard", action_repeat=0), "action_repeat is 0 steps, allowed whole numbers"),
        (lambda: DmControlEnv("reacher", "hard", "human"), "render_mode is 'human', allowed None or 'rgb_array'"),
        (lambda: FetchEnv("Fly"), "Fetch task 'Fly' is unknown, known: Reach, Push, Slide, PickAndPlace"),
        (lambda: FetchEnv("Reach", "good"), "reward 'good' is unknown, known: dense, sparse"),
        (lambda: RobosuiteEnv("Lift", render_mode="human"), "render_mode is 'human'"),
    ],
)
def test_what_does_not_exist_is_named(make: Any, message: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("ignore")
        make()


def test_what_is_missing_names_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r'install it by pip install "loopwm-robot\[metaworld\]"'):
        suite("no_such_suite", "metaworld")
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(ImportError, match=r"metaworld.env_dict cannot be imported .*loopwm-robot\[metaworld\]"):
        MetaWorldEnv("reach")
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(ImportError, match=r"pip install --no-deps robosuite"):
        RobosuiteEnv("Lift")


class Odd(gym.Env[Any, Any]):
    """Observations of two parts and actions of which one is a percentage."""

    observation_space = gym.spaces.Dict(
        {"a": gym.spaces.Box(-1, 1, (2, 2), np.float32), "b": gym.spaces.Box(0, 1, (1,), np.float32)}
    )
    action_space = gym.spaces.Box(np.array([0.0, -1.0], np.float32), np.array([100.0, 1.0], np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs = {"a": np.ones((2, 2), np.float32), "b": np.zeros(1, np.float32)}
        return obs, float(action[0]), False, False, {}


def test_any_environment_with_boxes_fits() -> None:
    env = fitted(Odd())
    env.reset(seed=0)
    obs, reward, *_ = env.step(np.array([0.5, 0.0], np.float32))
    np.testing.assert_array_equal(obs, [1, 1, 1, 1, 0])
    assert reward == pytest.approx(75.0)
    ours = gym.make("LoopWM/PandaReach-v0")
    assert fitted(ours) is ours


@pytest.mark.parametrize(
    ("name", "message"), [("CartPole-v1", "has actions Discrete.*, allowed a Box"), ("FrozenLake-v1", "has actions")]
)
def test_what_is_no_box_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"environment {name} {message}"):
        fitted(gym.make(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_pictures(name: str) -> None:
    needs(EXAMPLES[name][0])
    env = gym.make(name, render_mode="rgb_array", width=64, height=48)
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape, np.float32))
    picture = env.render()
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8 and picture.std() > 5
    env.close()
