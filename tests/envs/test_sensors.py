"""Noise, delay and jitter between the true state and what is observed."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import PickAndPlaceEnv, PushEnv, ReachEnv, StackEnv, TrackPathEnv
from envs.arm_env import ArmEnv
from envs.observation import observation_groups

Q = observation_groups(7)
NOISE = {"q": 0.002, "dq": 0.05, "object_pos": 0.004, "object_yaw": 0.1}
ALL = {"observation_noise": NOISE, "observation_delay": 2, "rate_jitter": 0.3}


def run(env: ArmEnv, seed: int, steps: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [env.reset(seed=seed)[0], *(env.step(rng.uniform(-1, 1, env.nu))[0] for _ in range(steps))]


@pytest.mark.parametrize("make", (PushEnv, TrackPathEnv, StackEnv, PickAndPlaceEnv))
def test_groups_cover_every_column_once(make: type[ArmEnv]) -> None:
    env = make()
    groups = env.column_groups()
    columns = [column for some in groups.values() for column in range(some.start, some.stop)]
    assert columns == list(range(env.vector_space().shape[0]))


def test_noise_has_the_size_asked_for_and_goes_where_measured_numbers_go() -> None:
    env = PushEnv(observation_noise=NOISE)
    env.reset(seed=0)
    truth = env.vector_observation()
    seen = np.array([env.sensed_observation() for _ in range(4000)])
    errors, groups = seen - truth, env.column_groups()
    for name, std in {**NOISE, "object_vel": 0.0, "ref_dq": 0.0}.items():
        if name != "object_yaw":  # clipped to what a cosine can be
            np.testing.assert_allclose(errors[:, groups[name]].std(axis=0), std, rtol=0.06)
    np.testing.assert_allclose(errors[:, groups["q_error"]], -errors[:, groups["q"]], atol=1e-6)
    tip = env.kinematics.ee_pos(seen[:50, Q["q"]].astype(float))
    np.testing.assert_allclose(seen[:50, Q["ee_pos"]], tip, atol=1e-4)  # second order in the noise
    assert np.abs(errors.mean(axis=0)).max() < 0.05 and all(env.vector_space().contains(row) for row in seen)


def test_delay_shows_what_was_true_some_steps_ago() -> None:
    prompt, late = run(ReachEnv(), 3, 12), run(ReachEnv(observation_delay=3), 3, 12)
    for k in range(13):
        shown = prompt[max(0, k - 3)]
        np.testing.assert_array_equal(late[k]["observation"], shown["observation"])
        np.testing.assert_array_equal(late[k]["achieved_goal"], shown["achieved_goal"])
        np.testing.assert_array_equal(late[k]["desired_goal"], prompt[k]["desired_goal"])


def test_info_tells_the_truth_and_the_reward_is_that_of_the_goals_seen() -> None:
    env = ReachEnv(observation_noise={"q": 0.05}, observation_delay=1)
    env.reset(seed=0)
    for _ in range(10):
        obs, reward, *_, info = env.step(np.ones(7))
        truth = np.linalg.norm(env.data.site("ee").xpos - env.goal)
        np.testing.assert_allclose(info["distance"], truth, atol=1e-6)
        assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        assert abs(-reward - truth) > 1e-5 and info["is_success"] == (truth < env.threshold)


def test_jitter_stretches_the_control_step_and_nothing_else() -> None:
    env, steady = ReachEnv(rate_jitter=0.4), ReachEnv()
    env.reset(seed=1)
    steady.reset(seed=1)
    lengths, before = [], 0.0
    for _ in range(200):
        env.step(np.zeros(7))
        lengths.append((env.data.time - before) / env.ctrl_dt)
        before = env.data.time
    assert min(lengths) < 0.65 and max(lengths) > 1.35 and min(lengths) > 0.59 and max(lengths) < 1.41
    np.testing.assert_allclose(np.mean(lengths), 1.0, atol=0.05)  # 0.4 / sqrt(3 * 200) is 0.016
    env.reset(seed=1)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 7)):
        env.step(action)
        steady.step(action)
    np.testing.assert_array_equal(env.ref.q, steady.ref.q)  # the reference moves on as told
    assert np.abs(env.data.qpos - steady.data.qpos).max() > 1e-5


def test_the_same_seed_starts_the_same_with_and_without() -> None:
    plain, noisy = PushEnv(), PushEnv(**ALL)
    for seed in range(3):
        (start, _), (seen, _) = plain.reset(seed=seed), noisy.reset(seed=seed)
        np.testing.assert_array_equal(noisy.vector_observation(), start["observation"])
        np.testing.assert_array_equal(seen["desired_goal"], start["desired_goal"])
        assert np.abs(seen["observation"] - start["observation"]).max() > 1e-4


def test_it_repeats_by_seed_by_state_and_by_pickle() -> None:
    first, again = (run(PushEnv(**ALL), 5, 20) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["observation"], b["observation"])
    env = PushEnv(**ALL)
    run(env, 5, 7)
    twin = pickle.loads(pickle.dumps(env))
    state, draws = env.get_state(), env.np_random.bit_generator.state
    assert state.late.shape == (2, env.vector_space().shape[0])
    expected = [env.step(np.full(3, 0.5))[0]["observation"] for _ in range(6)]
    np.testing.assert_array_equal([twin.step(np.full(3, 0.5))[0]["observation"] for _ in range(6)], expected)
    env.reset(seed=9)
    env.set_state(state)
    env.np_random.bit_generator.state = draws
    np.testing.assert_array_equal([env.step(np.full(3, 0.5))[0]["observation"] for _ in range(6)], expected)


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    options = {"observation_noise": {"q": 0.01, "target_pos": 0.01}, "observation_delay": 1, "rate_jitter": 0.2}
    made = gym.make("envs:LoopWM/PandaTrackPath-v0", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_noise": {"qq": 0.1}}, "observation_noise of 'qq' is unknown, allowed q, dq, object_pos"),
        ({"observation_noise": {"ee_pos": 0.1}}, "observation_noise of 'ee_pos' is unknown"),
        ({"observation_noise": {"q": -0.1}}, "observation_noise of 'q' is -0.1, allowed finite numbers from 0"),
        ({"observation_delay": 1.5}, r"observation_delay is 1.5 control steps, allowed whole numbers \[0, 20\]"),
        ({"observation_delay": 21}, "observation_delay is 21 control steps"),
        ({"rate_jitter": 0.6}, r"rate_jitter is 0.6, allowed \[0, 0.5\] of a control step"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PushEnv(**options)
