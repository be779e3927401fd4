"""Grasping: moving fingers in actions, observations, state and prediction; the task can be done."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from marks import slow_but

from envs import PickAndPlaceEnv, known_arms, observation_size
from envs.fingers import Fingers
from envs.tasks.pick_and_place import HALF_HEIGHT, LIFT, PickScript

MODES = ("cartesian_delta", "joint_delta")


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_finds_nothing_to_complain_about(mode: str) -> None:
    made = gym.make("envs:LoopWM/UR5ePickAndPlace-v0", control_mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped, skip_render_check=True)
    assert made.action_space.shape == ((4,) if mode == "cartesian_delta" else (7,))


@pytest.mark.parametrize("name", slow_but(["panda", "so101"], known_arms()))
def test_the_script_grasps_and_carries(name: str) -> None:
    env = PickAndPlaceEnv(name)
    script, done, lifted = PickScript(env), 0, 0.0
    for seed in range(5):
        obs, _ = env.reset(seed=seed)
        script.reset(obs["desired_goal"])
        reached = False
        for _ in range(100):
            obs, reward, _, _, info = env.step(script.act(obs["observation"]))
            reached = reached or info["is_success"]
            lifted = max(lifted, float(obs["achieved_goal"][2]))
            assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        done += reached
    assert done >= 4 and lifted > 2 * env.rest_height
    assert not any(int(warning.number) for warning in env.data.warning)


def test_observation_holds_the_fingers_between_arm_and_object() -> None:
    env = PickAndPlaceEnv()
    obs, info = env.reset(seed=0)
    n = observation_size(7)
    assert obs["observation"].shape == (n + 2 + 9,) and info["contact"] is False
    np.testing.assert_allclose(obs["observation"][n : n + 2], [1.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(obs["achieved_goal"], obs["observation"][n + 2 : n + 5])
    for _ in range(30):
        obs, *_ = env.step([0, 0, 0, -1])
    np.testing.assert_allclose(obs["observation"][n : n + 2], [0.0, 0.0], atol=0.02)
    tokens = env.observation_tokens()
    assert list(tokens)[-3:] == ["ee", "gripper", "object"] and tokens["gripper"] == (n, n + 1)
    assert sorted(c for columns in tokens.values() for c in columns) == list(range(n + 11))


def test_action_of_the_gripper_is_a_share_of_the_stroke() -> None:
    env = PickAndPlaceEnv()
    fingers = Fingers(env.arm, True)
    np.testing.assert_allclose(fingers.targets([-1.0, 0.0, 1.0, 3.0])[:, 0], [0.0, 0.02, 0.04, 0.04])
    np.testing.assert_allclose(fingers.observe(np.array([0.01, 0.03]), np.array([0.04, 0.04])), [0.5, 1.0])
    assert Fingers(env.arm, False).targets(0.3).shape == (0,)


def test_goals_lie_on_and_above_the_table() -> None:
    env = PickAndPlaceEnv()
    heights = np.array([env.reset(seed=seed)[0]["desired_goal"][2] for seed in range(60)]) - HALF_HEIGHT
    assert (heights > -1e-6).all() and (heights < LIFT).all()
    assert 5 < (heights < 1e-6).sum() < 40
    env.reset(seed=0, options={"goal": (0.5, 0.0, 0.2)})
    np.testing.assert_allclose(env.goal, [0.5, 0.0, 0.2], atol=1e-7)
    for goal, message in (
        ((0.5, 0.0, 0.4), r"height of 0.4 m, allowed \[0.025, 0.225\] m"),
        ((0.5, 0.0), "three finite"),
        ((2.0, 0.0, 0.1), "goal at .* is out of reach"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options={"goal": goal})


@pytest.mark.parametrize("mode", MODES)
def test_state_and_prediction_hold_the_grasp(mode: str) -> None:
    env = PickAndPlaceEnv(control_mode="cartesian_delta")
    obs, _ = env.reset(seed=3)
    script = PickScript(env)
    script.reset(obs["desired_goal"])
    for _ in range(100):
        obs, *_, info = env.step(script.act(obs["observation"]))
        if obs["achieved_goal"][2] > 2 * HALF_HEIGHT:
            break
    assert info["contact"]
    state = env.get_state()
    env = PickAndPlaceEnv(control_mode=mode)
    env.reset(seed=0)
    simulator = env.simulator()
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 6, env.nu))
    actions[..., -1] = [[-1.0] * 6, [1.0] * 6, [-1.0] * 3 + [1.0] * 3]
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart, state.pending)
    assert predicted.shape == (3, 6, env.observation_space["observation"].shape[0])
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        real = [env.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-5)
    # Held, it stays with the hand; let go, it falls.
    assert predicted[0, -1, env.goal_columns][2] > predicted[1, -1, env.goal_columns][2] + 0.01
    with pytest.raises(ValueError, match=rf"need \(N, H, {env.nu}\)"):
        simulator.rollout(state.physics, state.ref, actions[..., :-1], env.action_mode)
    simulator.close()


def test_script_wants_its_control_mode() -> None:
    with pytest.raises(ValueError, match="control_mode is 'joint_delta', allowed 'cartesian_delta'"):
        PickScript(PickAndPlaceEnv(control_mode="joint_delta"))
