"""What holds for buttons, drawers, doors and holes: scripts solve them, they stand, are predicted, can be chosen."""

import pickle
from itertools import product

import mujoco
import numpy as np
import pytest

from envs import ButtonPressEnv, DoorOpenEnv, DrawerOpenEnv, PegInsertEnv, known_arms
from envs.observation import FIXTURE_SIZES, HOLE_SIZES
from envs.tasks.fixture import RAISE, FixtureEnv

JOINTED = (ButtonPressEnv, DoorOpenEnv, DrawerOpenEnv)
TASKS = (*JOINTED, PegInsertEnv)
BOTH = [*product(TASKS, known_arms())]
THREE = [*product(TASKS, known_arms(), ("cartesian_delta", "joint_delta"))]
tasks = pytest.mark.parametrize("task", TASKS)


def play(env: FixtureEnv, seed: int, steps: int = 100) -> tuple[bool, float]:
    """Success at the end of a scripted episode, and the deepest penetration after a step [m]."""
    obs, info = env.reset(seed=seed)
    assert not info["is_success"] and info["contact"] is False
    script, deepest, touched = env.script(), 0.0, False
    script.reset(obs["desired_goal"])
    for _ in range(steps):
        obs, reward, _, _, info = env.step(script.act(obs["observation"]))
        assert reward == pytest.approx(env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info), abs=1e-7)
        deepest = max(deepest, -float(env.data.contact.dist.min(initial=0.0)))
        touched = touched or info["contact"]
    assert touched
    return info["is_success"], deepest


@pytest.mark.parametrize(("task", "arm"), BOTH)
def test_the_script_solves_it(task: type[FixtureEnv], arm: str) -> None:
    env = task(arm)
    done, deepest = play(env, seed=2, steps=70)
    assert done and deepest < 0.005
    moved = env._object_qpos[:4] - env._fixture_start[:4]
    assert np.abs(moved).max() < 1e-4  # 0.1 mm and 0.1 mrad: it stands
    assert not any(int(warning.number) for warning in env.data.warning)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "arm"), BOTH)
def test_the_script_solves_nineteen_of_twenty(task: type[FixtureEnv], arm: str) -> None:
    env = task(arm)
    assert sum(play(env, seed)[0] for seed in range(100, 120)) >= 19


@pytest.mark.slow
@pytest.mark.parametrize(("task", "arm", "mode"), THREE)
def test_random_actions_break_nothing(task: type[FixtureEnv], arm: str, mode: str) -> None:
    """Noise and full blows, half of the time from where the script has brought the peg: it sinks into nothing."""
    env, rng = task(arm, control_mode=mode), np.random.default_rng(0)
    space = env.observation_space["observation"]
    fixture = env.model.body_rootid[env.model.geom_bodyid] == env.model.body("object").id
    for seed in range(12):
        obs, _ = env.reset(seed=seed)
        script = env.script() if mode == "cartesian_delta" and seed % 2 else None
        if script is not None:
            script.reset(obs["desired_goal"])
        hold, deep = (1, 1, 15, 100)[seed % 4], 0
        blows = np.sign(rng.uniform(-1, 1, (100, env.nu)))
        for step in range(100):
            action = blows[step // hold] if seed % 4 else rng.uniform(-1, 1, env.nu)
            if script is not None and step < 25:
                action = script.act(obs["observation"])
            obs, *_ = env.step(action)
            assert (obs["observation"] >= space.low).all() and (obs["observation"] <= space.high).all()
            with_it = fixture[env.data.contact.geom].any(axis=1)
            deep = deep + 1 if env.data.contact.dist[with_it].min(initial=0.0) < -0.005 else 0
            assert deep <= 3  # control steps
        assert not any(int(warning.number) for warning in env.data.warning)


@tasks
def test_the_way_lies_on_the_table_and_the_goal_on_the_way(task: type[FixtureEnv]) -> None:
    env = task()
    low, high = env.workspace.on_table(*env.area)
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        pose = env._fixture_start[:4]
        points = env.way(pose, env.sweep(400))
        np.testing.assert_allclose(env.way(pose, 0.0)[:2], pose[:2], atol=1e-9)
        assert np.linalg.norm(points - obs["desired_goal"], axis=-1).min() < 1e-3
        assert (obs["desired_goal"][:2] >= low - 1e-6).all() and (obs["desired_goal"][:2] <= high + 1e-6).all()
        assert 0.0 <= pose[2] <= RAISE


@pytest.mark.parametrize("task", JOINTED)
def test_the_way_is_that_of_the_joint(task: type[FixtureEnv]) -> None:
    env = task()
    env.reset(seed=3)
    for travel in env.sweep(4):
        env.data.qpos[-1] = travel
        mujoco.mj_kinematics(env.model, env.data)
        part = env.data.xpos[env.model.body("part").id]
        np.testing.assert_allclose(env.vector_observation()[env.goal_columns], part, atol=1e-6)


@tasks
def test_state_and_prediction_know_the_fixture(task: type[FixtureEnv]) -> None:
    env = task()
    play(env, 1, 40)
    state, twin = env.get_state(), pickle.loads(pickle.dumps(env))
    other = task()
    other.reset(seed=7)
    simulator = other.simulator()
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 6, env.nu))
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart, state.pending)
    for candidate, expected in zip(actions, predicted, strict=True):
        other.set_state(state)
        real = [other.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-5)
    np.testing.assert_array_equal(real, [twin.step(action)[0]["observation"] for action in actions[-1]])
    simulator.close()


@tasks
def test_columns_have_names(task: type[FixtureEnv]) -> None:
    env = task("ur5e")
    sizes = HOLE_SIZES if task is PegInsertEnv else FIXTURE_SIZES
    assert {name: group.stop - group.start for name, group in env.groups.items()} == sizes
    obs, _ = env.reset(seed=0)
    assert env.observation_tokens()["object"] == tuple(range(27, len(obs["observation"])))
    np.testing.assert_array_equal(obs["achieved_goal"], obs["observation"][27:30])


@tasks
def test_options_replace_one_draw_and_leave_the_others(task: type[FixtureEnv]) -> None:
    env = task()
    env.reset(seed=4)
    drawn = env._fixture_start.copy()
    middle = float(env.travels(env.goals).mean())
    env.reset(seed=4, options={"travel": middle})
    np.testing.assert_array_equal(env._fixture_start, drawn)
    np.testing.assert_allclose(env.goal, env.way(drawn[:4], middle), atol=1e-6)
    env.reset(seed=4, options={"object": (0.55, 0.02, 0.01, 3.0)})
    np.testing.assert_allclose(env._fixture_start, [0.55, 0.02, 0.01, 3.0, *drawn[4:]])
    for options, message in (
        ({"travel": 7.0}, rf"travel is 7.0 {env.unit}, allowed one number in \[0, "),
        ({"object": (0.5, 0.0, 0.0)}, "need finite x, y, z"),
        ({"object": (0.5, 0.0, 0.1, 0.0)}, r"raised by 0.1 m, allowed \[0, 0.015\] m"),
        ({"object": (1.5, 0.0, 0.0, 3.0)}, "is out of reach of arm 'panda'"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)


@tasks
def test_script_wants_its_control_mode(task: type[FixtureEnv]) -> None:
    with pytest.raises(ValueError, match="control_mode is 'joint_delta', allowed 'cartesian_delta'"):
        task(control_mode="joint_delta").script()
