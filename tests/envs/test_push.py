"""The pushing environment: contract, contact, state, errors."""

import warnings
from collections.abc import Iterator

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from marks import slow_but

import envs
from envs import Dynamics, PushEnv, observation_size
from envs.tasks.push import GOAL_DISTANCE, PUSH_HEIGHT, REST_HEIGHT
from envs.tasks.push_scene import FRICTION

MODES = ("cartesian_delta", "joint_delta")
FORWARD = np.array([1.0, 0.0, 0.0])


@pytest.fixture
def env() -> Iterator[PushEnv]:
    env = PushEnv()
    yield env
    env.close()


def in_front_of_the_object(env: PushEnv, **options: object) -> dict[str, object]:
    """Reset options: object ahead of the peg, so that moving along x pushes it."""
    q = env.kinematics.solve_position((0.42, 0.0, 0.057), env.posture)
    return {"object": (0.5, 0.0, 0.0), "q": q, "goal": (0.6, 0.0, REST_HEIGHT), **options}


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_finds_nothing_to_complain_about(mode: str) -> None:
    made = gym.make("envs:LoopWM/PandaPush-v0", control_mode=mode, render_mode="rgb_array", width=64, height=48)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    made.close()


def test_registration() -> None:
    gym.register_envs(envs)
    made = gym.make("LoopWM/PandaPush-v0")
    assert made.unwrapped.control_mode == "cartesian_delta" and made.action_space.shape == (3,)
    made.reset(seed=0)
    ends = [made.step(made.action_space.sample())[2:4] for _ in range(100)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * 99 + [True]
    made.close()


def test_observation_is_the_arm_and_then_the_object(env: PushEnv) -> None:
    obs, info = env.reset(seed=0, options={"object": (0.5, 0.1, 2.0)})
    vector = obs["observation"]
    assert vector.shape == (observation_size(7) + 9,) == (40,)
    np.testing.assert_allclose(vector[31:], [0.5, 0.1, REST_HEIGHT, np.cos(2), np.sin(2), 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(obs["achieved_goal"], vector[env.goal_columns])
    assert info.keys() == {"is_success", "distance", "contact", "contact_steps"}
    tokens = env.observation_tokens()
    assert list(tokens) == [*(f"joint{i}" for i in range(1, 8)), "ee", "object"]
    assert sorted(column for token in tokens.values() for column in token) == list(range(40))
    assert tokens["object"] == tuple(range(31, 40))


def test_starts_and_goals_lie_where_they_should(env: PushEnv) -> None:
    for seed in range(100):
        obs, info = env.reset(seed=seed)
        thing, goal, ee = obs["achieved_goal"], obs["desired_goal"], obs["observation"][28:31]
        assert (thing[:2] >= np.float32(env.object_low)).all() and (thing[:2] <= np.float32(env.object_high)).all()
        assert (goal[:2] >= np.float32(env.goal_low)).all() and (goal[:2] <= np.float32(env.goal_high)).all()
        assert np.linalg.norm(goal - thing) > GOAL_DISTANCE - 1e-6 and goal[2] == thing[2] == np.float32(REST_HEIGHT)
        assert PUSH_HEIGHT[0] - 2e-3 < ee[2] < PUSH_HEIGHT[1] + 2e-3  # the tolerance of the inverse kinematics
        assert 0.05 < np.linalg.norm(ee[:2] - thing[:2]) < 0.2
        assert not info["contact"] and env._probe.robot_free(env.data)
        for _ in range(2):
            assert not env.step(np.zeros(3))[4]["contact"]


def test_object_rests_until_it_is_touched_then_moves_with_the_hand(env: PushEnv) -> None:
    obs, _ = env.reset(options=in_front_of_the_object(env))
    start, touched = obs["achieved_goal"], []
    for _ in range(15):
        obs, _, _, _, info = env.step(0.5 * FORWARD)
        assert info["contact"] == (info["contact_steps"] > 0) and 0 <= info["contact_steps"] <= 5
        if not touched:
            moved = np.abs(obs["achieved_goal"] - start).max()
            # A first touch that ends within 10 ms goes unseen, but it moves the object by a fraction of a millimetre.
            assert moved > 1.2e-5 if info["contact"] else moved < 2e-4
        touched += [info["contact"]] * info["contact"]
    assert len(touched) >= 10
    gap = obs["achieved_goal"][0] - obs["observation"][28]
    assert 0.05 < gap < 0.06  # peg 2 cm and half a box 3.5 cm, less a millimetre or two of tilt and softness
    assert 0.1 < obs["observation"][36] < 0.3  # the hand moves at 0.2 m/s


def test_object_slides_to_rest_as_friction_says(env: PushEnv) -> None:
    env.reset(seed=0, options={"object": (0.45, -0.15, 0.0)})
    env._object_qvel[1] = speed = 0.6
    before = env._object_qpos[1]
    for _ in range(10):
        obs = env.step(np.zeros(3))[0]
    # v^2 / (2 mu g); the pyramidal cone has less friction in no direction along its axes
    expected = speed**2 / (2 * FRICTION * 9.81)
    np.testing.assert_allclose(env._object_qpos[1] - before, expected, rtol=0.05)
    assert np.abs(obs["observation"][36:]).max() < 1e-3
    still = env._object_qpos.copy()
    for _ in range(60):
        env.step(np.zeros(3))
    np.testing.assert_allclose(env._object_qpos, still, atol=1e-4)


def test_pushed_off_its_centre_the_object_turns(env: PushEnv) -> None:
    for side in (-0.02, 0.02):
        env.reset(options=in_front_of_the_object(env, object=(0.5, side, 0.0)))
        for _ in range(20):
            obs = env.step(0.5 * FORWARD)[0]
        cos, sin = obs["observation"][34:36]
        assert np.sign(sin) == np.sign(side) and abs(sin) > 0.1
        np.testing.assert_allclose(cos**2 + sin**2, 1.0, atol=1e-6)


@pytest.mark.parametrize("kind", ("dense", "sparse"))
def test_reward_depends_on_object_and_goal_alone(kind: str) -> None:
    env = PushEnv(reward=kind)
    env.reset(options=in_front_of_the_object(env))
    successes, rewards = [], []
    for _ in range(25):
        obs, reward, *_, info = env.step(0.5 * FORWARD)
        assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        assert info["is_success"] == (info["distance"] < 0.05)
        gap = np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"])
        np.testing.assert_allclose(info["distance"], gap, atol=1e-6)
        successes.append(info["is_success"])
        rewards.append(reward)
    assert not successes[0] and any(successes)
    assert max(rewards) > -0.05


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("randomize", (None, "training"))
def test_same_seed_and_same_state_repeat_exactly(mode: str, randomize: str | None) -> None:
    env, other = (PushEnv(control_mode=mode, randomize=randomize) for _ in range(2))
    actions = np.random.default_rng(0).uniform(-1, 1, (20, env.action_mode.nu))
    options = {} if mode == "joint_delta" else in_front_of_the_object(env)
    if mode == "cartesian_delta":
        actions += FORWARD  # into the object
    first = [env.reset(seed=3, options=options), *(env.step(a) for a in actions)]
    again = [other.reset(seed=3, options=options), *(other.step(a) for a in actions)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a[0]["observation"], b[0]["observation"])
        assert a[-1] == b[-1]
    env.reset(seed=3, options=options)
    for a in actions[:10]:
        env.step(a)
    state = env.get_state()
    other.reset(seed=8)
    other.set_state(state)
    np.testing.assert_array_equal(other.vector_observation(), env.vector_observation())
    for a, expected in zip(actions[10:], first[11:], strict=True):
        obs, reward, *_, info = other.step(a)
        for key, value in obs.items():
            np.testing.assert_array_equal(value, expected[0][key])
        assert reward == expected[1] and info == expected[4]
    if mode == "cartesian_delta":
        assert any(step[4]["contact"] for step in first[11:])


@pytest.mark.parametrize("nthread", (1, 2))
@pytest.mark.parametrize("dynamics", (Dynamics(), Dynamics(payload=2.0, gain=0.3, delay=1)))
def test_simulator_predicts_contact(nthread: int, dynamics: Dynamics) -> None:
    env = PushEnv(randomize="training")
    simulator = env.simulator(nthread)
    env.reset(options=in_front_of_the_object(env, dynamics=dynamics))
    for _ in range(3):
        env.step(FORWARD)
    state = env.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 8, 3)) + FORWARD
    predicted = simulator.rollout(
        state.physics, state.ref, actions, env.action_mode, state.warmstart, state.pending
    )
    assert predicted.shape == (4, 8, 40)
    assert np.ptp(predicted[:, -1, env.goal_columns], axis=0)[0] > 1e-3  # the candidates differ in the object
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        real = [env.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-5)
    simulator.close()


def test_options_replace_one_draw_and_leave_the_others(env: PushEnv) -> None:
    drawn, _ = env.reset(seed=4)
    goal = np.array([0.45, 0.2, REST_HEIGHT])
    with_goal, _ = env.reset(seed=4, options={"goal": goal})
    np.testing.assert_allclose(with_goal["desired_goal"], goal, atol=1e-7)
    np.testing.assert_array_equal(with_goal["observation"], drawn["observation"])
    with_object, _ = env.reset(seed=4, options={"object": (0.5, 0.0, 0.3)})
    np.testing.assert_array_equal(with_object["desired_goal"], drawn["desired_goal"])
    np.testing.assert_allclose(with_object["achieved_goal"], [0.5, 0.0, REST_HEIGHT], atol=1e-7)
    with_arm, _ = env.reset(seed=4, options={"q": env.posture})
    np.testing.assert_array_equal(with_arm["achieved_goal"], drawn["achieved_goal"])
    np.testing.assert_allclose(with_arm["observation"][:7], env.posture, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gaol": 0}, "'gaol' is unknown, known options: goal, object, q"),
        ({"goal": (0.5, 0.0)}, "need three finite coordinates"),
        ({"goal": (0.5, 0.0, 0.3)}, r"goal is at a height of 0.3 m, allowed 0.025 m"),
        ({"goal": (1.5, 0.0, REST_HEIGHT)}, r"goal at \[1.5, 0.0\] m is out of reach"),
        ({"object": (0.5, 0.0)}, r"need finite x \[m\], y \[m\] and yaw"),
        ({"object": (0.5, 0.0, np.nan)}, "is not a pose"),
        ({"object": (0.5, -1.0, 0.0)}, r"object at \[0.5, -1.0\] m is out of reach"),
    ],
)
def test_wrong_reset_options_are_refused(env: PushEnv, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


def test_posture_points_the_hand_down(env: PushEnv) -> None:
    env.reset(options={"q": env.posture, "object": (0.42, -0.18, 0.0)})
    matrix = env.data.site("ee").xmat.reshape(3, 3)
    assert matrix[2, 2] < -0.9999
    np.testing.assert_allclose(env.data.site("ee").xpos, [0.52, 0.0, 0.055], atol=1e-3)
    assert (env.posture > env.arm.q_min).all() and (env.posture < env.arm.q_max).all()
    tip = env.data.geom("peg").xpos[2] - env.model.geom("peg").size[:2].sum()
    np.testing.assert_allclose(tip, 0.055 - 0.04, atol=1e-3)


def test_only_peg_and_table_can_touch_the_object(env: PushEnv) -> None:
    model = env.model
    kind, affinity = model.geom_contype, model.geom_conaffinity
    thing = int(model.geom("object").id)
    meets = (kind[thing] & affinity) | (kind & affinity[thing])
    names = {model.geom(int(i)).name for i in np.flatnonzero(meets)}
    assert names == {"peg", "table"}


@pytest.mark.parametrize("mode", slow_but(["cartesian_delta"], MODES))
def test_wild_actions_raise_no_warning_and_stay_in_bounds(mode: str) -> None:
    env = PushEnv(control_mode=mode)
    space = env.observation_space
    rng = np.random.default_rng(0)
    for episode in range(15):
        env.reset(seed=episode)
        hold = (1, 4, 20)[episode % 3]
        actions = np.repeat(np.sign(rng.uniform(-1, 1, (100 // hold, env.action_mode.nu))), hold, axis=0)
        for action in actions:
            assert space.contains(env.step(action)[0])
        assert not any(int(warning.number) for warning in env.data.warning)


def test_pressed_onto_the_object_the_peg_does_not_pass_through(env: PushEnv) -> None:
    q = env.kinematics.solve_position((0.5, 0.0, 0.11), env.posture)
    env.reset(options={"object": (0.5, 0.0, 0.0), "q": q, "goal": (0.6, 0.0, REST_HEIGHT)})
    contact = []
    for _ in range(20):
        contact.append(env.step([0.0, 0.0, -0.5])[4]["contact"])
        assert env.data.contact.dist.min(initial=0.0) > -0.01  # at a hundred newtons
        assert env._object_qpos[2] > 0.02 and env.data.geom("peg").xpos[2] > 0.02
    assert any(contact)


def test_picture_shows_object_goal_and_peg() -> None:
    env = PushEnv(render_mode="rgb_array", width=240, height=180)
    env.reset(seed=0, options={"goal": (0.42, -0.2, REST_HEIGHT), "object": (0.58, 0.1, 0.5)})
    image = env.render().astype(int)
    red, green, blue = np.moveaxis(image, -1, 0)
    assert ((green > red + 40) & (green > blue + 40)).sum() > 20
    assert ((red > green + 40) & (green > blue + 20)).sum() > 40
    before = ((red > green + 40) & (green > blue + 20)).nonzero()[1].mean()
    env.reset(seed=0, options={"goal": (0.42, -0.2, REST_HEIGHT), "object": (0.45, -0.15, 0.5)})
    red, green, blue = np.moveaxis(env.render().astype(int), -1, 0)
    assert ((red > green + 40) & (green > blue + 20)).nonzero()[1].mean() < before - 5
    env.close()


def test_model_is_the_arm_plus_the_object() -> None:
    env = PushEnv()
    arm = env.arm.load_model()
    assert (env.model.nq, env.model.nv, env.model.nu) == (arm.nq + 7, arm.nv + 6, arm.nu)
    assert env.model.opt.timestep == arm.opt.timestep
    # The peg has no mass: the arm alone moves as it does without.
    env.reset(seed=0, options={"q": env.posture, "object": (0.42, -0.18, 0.0)})
    data = mujoco.MjData(arm)
    data.qpos[:], data.ctrl[:] = env.posture, env.posture
    for ctrl in env.posture + np.linspace(0, 0.3, 20)[:, None] * (1, -1, 1, 1, 1, 1, 1):
        env.data.ctrl[:], data.ctrl[:] = ctrl, ctrl
        mujoco.mj_step(env.model, env.data, 5)
        mujoco.mj_step(arm, data, 5)
    np.testing.assert_allclose(env.data.qpos[:7], data.qpos, atol=1e-8)
