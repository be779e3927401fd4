"""The reaching environment: Gymnasium's contract, determinism, state, errors."""

import warnings
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs import ArmKinematics, ReachEnv, load_arm, observation_groups

GROUPS = observation_groups(7)
MODES = ("joint_delta", "cartesian_delta")


@pytest.fixture(params=MODES)
def env(request: pytest.FixtureRequest) -> Iterator[ReachEnv]:
    env = ReachEnv(control_mode=request.param)
    yield env
    env.close()


def run(env: ReachEnv, seed: int, steps: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    out = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        out.append(env.step(rng.uniform(-1, 1, env.action_space.shape))[0])
    return [np.concatenate([obs[key] for key in sorted(obs)]) for obs in out]


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_finds_nothing_to_complain_about(mode: str) -> None:
    made = gym.make(
        "envs:LoopWM/PandaReach-v0", control_mode=mode, render_mode="rgb_array", width=64, height=48
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    made.close()


def test_registration() -> None:
    gym.register_envs(envs)
    made = gym.make("LoopWM/PandaReach-v0")
    made.reset(seed=0)
    ends = [made.step(made.action_space.sample())[2:4] for _ in range(60)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * 59 + [True]
    made.close()


def test_spaces(env: ReachEnv) -> None:
    obs, _ = env.reset(seed=0)
    assert obs["observation"].shape == (31,) and obs["achieved_goal"].shape == obs["desired_goal"].shape == (
        3,
    )
    assert env.action_space.shape == ((7,) if env.control_mode == "joint_delta" else (3,))
    for space in env.observation_space.values():
        assert np.isfinite(space.low).all() and np.isfinite(space.high).all() and space.dtype == np.float32
    for _ in range(30):
        assert env.observation_space.contains(env.step(np.ones(env.action_space.shape))[0])


def test_same_seed_same_bytes(env: ReachEnv) -> None:
    first, second = run(env, 3), run(env, 3)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, run(ReachEnv(control_mode=env.control_mode), 3))
    assert not np.array_equal(first, run(env, 4))


def test_going_back_to_a_state_repeats_the_future_exactly(env: ReachEnv) -> None:
    rng = np.random.default_rng(0)
    run(env, 1, 8)
    state = env.get_state()
    actions = rng.uniform(-1, 1, (15, *env.action_space.shape))
    first = [env.step(a) for a in actions]
    run(env, 2, 5)
    env.set_state(state)
    for expected, action in zip(first, actions, strict=True):
        obs, reward, *_, info = env.step(action)
        for key, value in obs.items():
            np.testing.assert_array_equal(value, expected[0][key])
        assert reward == expected[1] and info == expected[4]


def test_observation_belongs_to_the_state(env: ReachEnv) -> None:
    kinematics = ArmKinematics(env.arm)
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(5)
    for _ in range(20):
        obs = env.step(rng.uniform(-1, 1, env.action_space.shape))[0]
        vector = obs["observation"]
        np.testing.assert_array_equal(vector[GROUPS["q"]], env.data.qpos.astype(np.float32))
        np.testing.assert_array_equal(vector[GROUPS["dq"]], env.data.qvel.astype(np.float32))
        # 1 um; taken before the last substep it would be off by up to 2 ms of motion, millimetres.
        np.testing.assert_allclose(vector[GROUPS["ee_pos"]], kinematics.ee_pos(env.data.qpos), atol=1e-6)
        np.testing.assert_array_equal(vector[GROUPS["ee_pos"]], obs["achieved_goal"])
    env.set_state(env.get_state())
    np.testing.assert_array_equal(env.vector_observation(), vector)


def test_joints_follow_the_reference_with_the_designed_lag() -> None:
    env = ReachEnv()
    env.reset(seed=0, options={"q": env.arm.home})
    action = 0.5 * np.array([1, 1, 1, -1, 1, 1, 1])
    for _ in range(10):
        vector = env.step(action)[0]["observation"]
    lag = vector[GROUPS["q_error"]] / vector[GROUPS["ref_dq"]]
    assert (lag > 0.02).all() and (lag < 0.045).all()  # kv / kp = 32 ms and half a hold of 10 ms
    for _ in range(20):
        vector = env.step(np.zeros(7))[0]["observation"]
    assert np.abs(vector[GROUPS["q_error"]]).max() < 1e-4


@pytest.mark.parametrize("kind", ("dense", "sparse"))
def test_compute_reward_reproduces_the_step(kind: str) -> None:
    env = ReachEnv(reward=kind, threshold=0.2)
    rng = np.random.default_rng(0)
    achieved, desired, rewards = [], [], []
    for seed in range(5):
        env.reset(seed=seed)
        for _ in range(10):
            obs, reward, *_, info = env.step(rng.uniform(-1, 1, 7))
            assert env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info) == reward
            assert info["is_success"] == (info["distance"] < 0.2)
            achieved.append(obs["achieved_goal"])
            desired.append(obs["desired_goal"])
            rewards.append(reward)
    batch = env.compute_reward(np.array(achieved), np.array(desired), {})
    np.testing.assert_array_equal(batch, np.array(rewards, dtype=np.float32))
    assert batch.shape == env.compute_terminated(np.array(achieved), np.array(desired), {}).shape
    assert env.compute_terminated(achieved[0], desired[0], {}) is False
    assert env.compute_truncated(achieved[0], desired[0], {}) is False


def test_reset_options_and_info() -> None:
    env = ReachEnv()
    q = env.arm.home + 0.1
    goal = np.array([0.5, 0.1, 0.3])
    obs, info = env.reset(seed=0, options={"goal": goal, "q": q})
    np.testing.assert_allclose(obs["desired_goal"], goal, atol=1e-7)
    np.testing.assert_allclose(obs["observation"][GROUPS["q"]], q, atol=1e-6)
    assert info.keys() == {"is_success", "distance"} and not info["is_success"]
    np.testing.assert_allclose(info["distance"], np.linalg.norm(obs["achieved_goal"] - goal), atol=1e-6)
    tip = obs["achieved_goal"].copy()
    _, info = env.reset(options={"goal": tip, "q": q})
    assert info["is_success"] and info["distance"] < 1e-6
    # Fixing the start leaves the goal as the seed decides.
    np.testing.assert_array_equal(
        env.reset(seed=9)[0]["desired_goal"], env.reset(seed=9, options={"q": q})[0]["desired_goal"]
    )
    np.testing.assert_array_equal(env.goal, env.reset(seed=9)[0]["desired_goal"])


def test_starts_and_goals_lie_where_they_should() -> None:
    env = ReachEnv()
    arm = load_arm("panda")
    for seed in range(100):
        obs, _ = env.reset(seed=seed)
        q = obs["observation"][GROUPS["q"]]
        assert (np.abs(q - arm.home) <= env.start_noise + 1e-6).all() and env.data.ncon == 0
        assert (obs["desired_goal"] >= env.goal_low - 1e-6).all() and (
            obs["desired_goal"] <= env.goal_high + 1e-6
        ).all()
        assert not obs["observation"][GROUPS["dq"]].any() and not obs["observation"][GROUPS["q_error"]].any()


def test_the_whole_goal_box_can_be_reached_without_touching() -> None:
    env = ReachEnv()
    axes = [np.linspace(low, high, 4) for low, high in zip(env.goal_low, env.goal_high, strict=True)]
    for point in np.stack(np.meshgrid(*axes), -1).reshape(-1, 3):
        q = env.kinematics.solve_position(point)
        assert q is not None and env.kinematics.collision_free(q), point


def test_a_simple_controller_succeeds() -> None:
    """Inverse kinematics and a proportional controller: the task can be done in its time."""
    env = ReachEnv()
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        target = env.kinematics.solve_position(obs["desired_goal"], obs["observation"][GROUPS["q"]])
        for _ in range(60):
            *_, info = env.step((target - env.ref.q) / 0.15)
        assert info["is_success"] and info["distance"] < 0.005


@pytest.mark.parametrize("bad", (float("nan"), float("inf")))
def test_action_that_is_not_a_number_is_refused_by_name(env: ReachEnv, bad: float) -> None:
    env.reset(seed=0)
    state = env.get_state()
    action = np.zeros(env.action_space.shape)
    action[2] = bad
    with pytest.raises(ValueError, match=r"action\[2\] \((joint3|z)\) is (nan|inf), allowed \[-1, 1\]"):
        env.step(action)
    np.testing.assert_array_equal(env.get_state().physics, state.physics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "pandora"}, "known arms: .*panda"),
        ({"control_mode": "torque"}, "known modes: joint_delta, cartesian_delta"),
        ({"reward": "shaped"}, "known rewards: dense, sparse"),
        ({"render_mode": "human"}, "known modes: None, rgb_array"),
        ({"threshold": 0.0}, "threshold is 0.0 m"),
        ({"start_noise": 2.0}, r"start_noise is 2.0 rad, allowed \[0, 1\] rad"),
        ({"ctrl_dt": 0.0333}, "ctrl_dt is 0.0333 s, must be a positive multiple of 0.01 s"),
        ({"action_scale": 0.2}, "is 4 rad/s, allowed up to 2.17 rad/s"),
        ({"ddq_max": 9.0}, r"ddq_max is 9.0 rad/s\^2, allowed up to 7.5"),
        ({"goal_low": (0.7, 0, 0), "goal_high": (0.3, 0, 0)}, "needs goal_low"),
        ({"goal_high": (0.65, 0.3, 1.4)}, "out of reach of arm 'panda'"),
    ],
)
def test_wrong_settings_are_refused_in_one_clear_line(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        ReachEnv(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gaol": [0.5, 0, 0.3]}, "'gaol' is unknown, known options: goal, q"),
        ({"goal": [0.5, 0.3]}, "need three finite coordinates"),
        ({"goal": [0.5, np.nan, 0.3]}, "need three finite coordinates"),
        ({"goal": [1.5, 0.0, 0.3]}, "out of reach"),
        ({"q": np.zeros(6)}, r"shape \(6,\), need \(7,\)"),
        ({"q": np.zeros(7)}, r"joint 'joint4' is 0 rad, allowed \[-3.072, -0.0698\] rad"),
        ({"q": np.full(7, np.nan)}, "joint 'joint1' is nan rad"),
    ],
)
def test_wrong_reset_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReachEnv().reset(options=options)


def test_wrong_action_shape_is_refused() -> None:
    env = ReachEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action has shape \(3,\), need \(7,\) for joint_delta"):
        env.step(np.zeros(3))
