"""Sliding: the law of friction, goals out of reach, what is refused, and a script that hits."""

import numpy as np
import pytest

from envs import SlideEnv, known_arms
from envs.tasks.slide import ANGLE, BEYOND, FRICTION, GRAVITY, HALF_HEIGHT, SlideScript

STEPS = 120


def hits(name: str, seeds: range) -> np.ndarray:
    """Distances at the end of episodes of the script, in units of the threshold; the puck lies still then."""
    env = SlideEnv(name)
    script, ends = SlideScript(env), []
    for seed in seeds:
        obs, info = env.reset(seed=seed)
        script.reset(obs["desired_goal"])
        touched = 0
        for _ in range(STEPS):
            obs, reward, *_, info = env.step(script.act(obs["observation"]))
            touched += info["contact"]
            assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        assert touched and np.linalg.norm(env._object_qvel) < 1e-3
        assert info["is_success"] == (info["distance"] < env.threshold)
        ends.append(info["distance"] / env.threshold)
    assert not any(int(warning.number) for warning in env.data.warning)
    return np.array(ends)


@pytest.mark.parametrize("name", known_arms())
def test_the_script_hits(name: str) -> None:
    assert (hits(name, range(2)) < 1.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", known_arms())
def test_the_script_hits_twenty_goals(name: str) -> None:
    assert (hits(name, range(20)) < 1.0).mean() >= 0.95


@pytest.mark.parametrize("heading", (0.0, 0.4, np.pi / 4, 2.0))
def test_the_puck_runs_as_friction_says_in_every_direction(heading: float) -> None:
    env = SlideEnv()
    env.reset(seed=0, options={"object": (0.5, 0.0, 0.0), "q": env.arm.home})
    way, speed = np.array([np.cos(heading), np.sin(heading)]), 0.4
    env._object_qvel[:2] = speed * way
    for _ in range(60):
        obs, *_ = env.step(np.zeros(3))
    moved = obs["achieved_goal"][:2] - (0.5, 0.0)
    np.testing.assert_allclose(moved, speed**2 / (2 * FRICTION * GRAVITY) * way, atol=0.005)
    assert np.linalg.norm(env._object_qvel) < 1e-3 and abs(obs["achieved_goal"][2] - HALF_HEIGHT) < 1e-3


@pytest.mark.parametrize("name", known_arms())
def test_goals_lie_where_the_tool_does_not_get_and_the_hand_starts_behind_the_puck(name: str) -> None:
    env = SlideEnv(name)
    scale, middle = env.workspace.scale, np.arctan2(*env._middle[::-1])
    for seed in range(20):
        obs, info = env.reset(seed=seed)
        goal, puck = obs["desired_goal"], obs["achieved_goal"]
        away = np.linalg.norm(goal[:2] - env._base)
        assert env.reach + BEYOND[0] * scale - 1e-6 < away < env.reach + BEYOND[1] * scale + 1e-6
        assert abs(np.arctan2(*(goal[:2] - env._base)[::-1]) - middle) < ANGLE + 1e-6
        assert env.kinematics.solve_position((*goal[:2], env.push_height[0]), env.posture) is None
        assert not info["is_success"] and not info["contact"] and goal[2] == np.float32(env.rest_height)
        ee = obs["observation"][4 * env.arm.n : 4 * env.arm.n + 3]
        assert (ee[:2] - puck[:2]) @ (goal[:2] - puck[:2]) < 0.0


def test_what_can_be_asked_for() -> None:
    env = SlideEnv()
    env.reset(seed=0, options={"goal": (1.0, 0.1, HALF_HEIGHT), "object": (0.45, 0.0, 0.0)})
    np.testing.assert_allclose(env.goal, [1.0, 0.1, HALF_HEIGHT], atol=1e-6)
    for goal, message in (
        ((0.6, 0.0, HALF_HEIGHT), r"goal is 0.6 m from the base, allowed \[0.905, 1.105\] m: further than arm 'panda'"),
        ((2.0, 0.0, HALF_HEIGHT), "goal is 2 m from the base"),
        ((1.0, 0.0, 0.2), "goal is at a height of 0.2 m"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options={"goal": goal})
    with pytest.raises(ValueError, match=r"object at \[1.5, 0.0\] m is out of reach"):
        env.reset(options={"object": (1.5, 0.0, 0.0)})
    with pytest.raises(ValueError, match="control_mode is 'joint_delta', allowed 'cartesian_delta'"):
        SlideScript(SlideEnv(control_mode="joint_delta"))


def test_state_and_prediction_of_a_hit() -> None:
    env, other = SlideEnv(), SlideEnv()
    obs, _ = env.reset(seed=1)
    script = SlideScript(env)
    script.reset(obs["desired_goal"])
    while not (np.linalg.norm(env._object_qvel[:2]) > 0.1):
        obs, *_ = env.step(script.act(obs["observation"]))
    state, simulator = env.get_state(), env.simulator()
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 6, 3))
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart)
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        other.set_state(state)
        real = [env.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-5)
        np.testing.assert_array_equal(real, [other.step(action)[0]["observation"] for action in candidate])
    simulator.close()


def test_wild_actions_raise_no_warning_and_stay_in_bounds() -> None:
    for mode in ("cartesian_delta", "joint_delta"):
        env, rng = SlideEnv(control_mode=mode), np.random.default_rng(0)
        for episode in range(6):
            env.reset(seed=episode)
            hold = (4, 20)[episode % 2]
            for action in np.repeat(np.sign(rng.uniform(-1, 1, (STEPS // hold, env.nu))), hold, axis=0):
                assert env.observation_space.contains(env.step(action)[0])
        assert not any(int(warning.number) for warning in env.data.warning)
