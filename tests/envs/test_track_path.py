"""A goal that moves: the curve, what the observation says of it, success, state, prediction, the script."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import TARGET_UNITS, TrackPathEnv, known_arms, observation_size, target_groups
from envs.tasks.track_path import HARMONICS, SPEED, WINDOW, FollowScript

STEPS = 120


def follow(env: TrackPathEnv, seed: int, ahead: bool = True) -> list[dict]:
    """Infos of an episode of the script, which is blind to the target's velocity unless `ahead`."""
    script, (obs, info) = FollowScript(env), env.reset(seed=seed)
    infos = [info]
    for _ in range(STEPS):
        vector = obs["observation"].copy()
        if not ahead:
            vector[target_groups(env.robot_columns)["target_vel"]] = 0.0
        obs, *_, info = env.step(script.act(vector))
        infos.append(info)
    return infos


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    made = gym.make("envs:LoopWM/UR5eTrackPath-v0", render_mode="rgb_array", width=64, height=48)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    assert made.spec is not None and made.spec.max_episode_steps == STEPS
    made.close()


@pytest.mark.parametrize("name", known_arms())
def test_the_curve_stays_in_the_box_and_closes_at_a_speed_the_arm_can_follow(name: str) -> None:
    env = TrackPathEnv(name)
    for seed in range(30):
        env.reset(seed=seed)
        period = 2 * np.pi / env._rate
        time = np.linspace(0.0, period, 2000)
        points, velocity = env.target(time)
        assert (points >= env.goal_low - 1e-9).all() and (points <= env.goal_high + 1e-9).all()
        np.testing.assert_allclose(points[0], points[-1], atol=1e-9)
        np.testing.assert_allclose(velocity[0], velocity[-1], atol=1e-9)
        fastest = np.linalg.norm(velocity, axis=-1).max() / env.workspace.scale
        assert 0.99 * SPEED[0] < fastest < 1.01 * SPEED[1]
        slopes = np.gradient(points, time, axis=0)[1:-1]
        np.testing.assert_allclose(slopes, velocity[1:-1], atol=1e-4)
        assert np.ptp(points, axis=0).max() > 0.1 * env.workspace.scale


def test_every_observation_tells_where_the_goal_is_and_how_fast() -> None:
    env = TrackPathEnv()
    obs, info = env.reset(seed=4)
    n = observation_size(7)
    assert obs["observation"].shape == (n + 6,) and env.target_columns == slice(n, n + 6)
    assert list(target_groups(n)) == list(TARGET_UNITS)
    assert list(env.observation_tokens())[-2:] == ["ee", "target"]
    assert info["tracking_error"] == np.inf and not info["is_success"]
    for step in range(1, 8):
        before = obs
        obs, reward, *_, info = env.step(np.zeros(7))
        position, velocity = env.target(step * env.ctrl_dt)
        np.testing.assert_allclose(obs["desired_goal"], position, atol=1e-6)
        np.testing.assert_allclose(obs["observation"][n:], [*position, *velocity], atol=1e-6)
        np.testing.assert_array_equal(obs["desired_goal"], env.goal)
        moved = obs["desired_goal"] - before["desired_goal"]
        assert np.abs(moved).max() > 1e-4
        np.testing.assert_allclose(moved, env.ctrl_dt * before["observation"][n + 3 :], atol=1e-3)
        assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)


def test_success_is_the_mean_error_of_the_last_two_seconds() -> None:
    env = TrackPathEnv(control_mode="cartesian_delta")
    infos = follow(env, 0)
    distances = [info["distance"] for info in infos]
    for i, info in enumerate(infos):
        recent = distances[max(0, i + 1 - WINDOW) : i + 1]
        expected = np.mean(recent) if len(recent) == WINDOW else np.inf
        np.testing.assert_allclose(info["tracking_error"], expected)
        assert info["is_success"] == (info["tracking_error"] < env.threshold == 0.02)
    assert infos[-1]["is_success"] and not infos[WINDOW - 2]["is_success"]
    assert not env.reset(seed=1)[1]["is_success"]


def errors(name: str, seeds: range, ahead: bool = True) -> np.ndarray:
    """Tracking errors of the script at the end, in units of the threshold."""
    env = TrackPathEnv(name, "cartesian_delta")
    return np.array([follow(env, seed, ahead)[-1]["tracking_error"] for seed in seeds]) / env.threshold


@pytest.mark.parametrize("name", known_arms())
def test_the_script_follows(name: str) -> None:
    assert (errors(name, range(2)) < 1.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", known_arms())
def test_the_script_follows_twenty_targets_and_looking_ahead_helps(name: str) -> None:
    seeing, blind = errors(name, range(20)), errors(name, range(20), ahead=False)
    assert (seeing < 1.0).mean() >= 0.95
    assert np.median(blind) > 2.0 * np.median(seeing)


def test_state_brings_back_target_and_errors_bit_by_bit() -> None:
    env, other = (TrackPathEnv(randomize="training") for _ in range(2))
    env.reset(seed=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (WINDOW + 20, env.nu))
    for action in actions[:WINDOW]:
        env.step(action)
    state = env.get_state()
    expected = [env.step(action) for action in actions[WINDOW:]]
    other.reset(seed=9)
    other.set_state(state)
    np.testing.assert_array_equal(other.goal, other.target(other.data.time)[0].astype(np.float32))
    for action, (obs, reward, *_, info) in zip(actions[WINDOW:], expected, strict=True):
        again, same, *_, told = other.step(action)
        for key, value in obs.items():
            np.testing.assert_array_equal(again[key], value)
        assert reward == same and info == told and np.isfinite(info["tracking_error"])
    assert env._curve.shape == (2 * HARMONICS + 1, 3)


def test_simulator_predicts_arm_and_target() -> None:
    env = TrackPathEnv(control_mode="cartesian_delta")
    env.reset(seed=3)
    for _ in range(5):
        env.step([0.3, -0.2, 0.1])
    state, simulator = env.get_state(), env.simulator()
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 6, 3))
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart)
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        real = [env.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-5)
    np.testing.assert_array_equal(predicted[0, :, env.target_columns], predicted[1, :, env.target_columns])
    simulator.close()


def test_the_curve_is_drawn() -> None:
    env = TrackPathEnv(render_mode="rgb_array", width=160, height=120)
    env.reset(seed=1)
    with_curve = env.render().astype(int)
    env._curve[0] += (0.0, 0.0, 1.0)
    assert np.abs(env.render().astype(int) - with_curve).max() > 50
    env.close()


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="'goal' is unknown, known options: q"):
        TrackPathEnv().reset(options={"goal": (0.5, 0.0, 0.3)})
    with pytest.raises(ValueError, match="control_mode is 'joint_delta', allowed 'cartesian_delta'"):
        FollowScript(TrackPathEnv())
