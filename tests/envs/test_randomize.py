"""Hidden dynamics: what is drawn, what it does to the physics, and that it leaves no trace."""

import dataclasses
import warnings

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs import TRAINING, UNSEEN, Combination, Dynamics, DynamicsRanges, JointReference, ReachEnv, interpolate
from envs.randomize import DYNAMICS_UNITS, FACTORS, HELD_OUT

HEAVY = Dynamics(payload=3.0, friction=12.0, damping=10.0, gain=0.1, delay=2)
MODEL_FIELDS = (
    *("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "light_poscom0", "cam_poscom0"),
    *("dof_frictionloss", "dof_damping", "dof_invweight0", "dof_M0"),
    *("actuator_gainprm", "actuator_biasprm", "actuator_acc0"),
)


def run(env: ReachEnv, seed: int, dynamics: Dynamics | None = None, steps: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    options = {} if dynamics is None else {"dynamics": dynamics}
    out = [env.reset(seed=seed, options=options)[0]["observation"]]
    out += [env.step(rng.uniform(-1, 1, env.action_space.shape))[0]["observation"] for _ in range(steps)]
    return np.array(out)


def snapshot(model: mujoco.MjModel) -> list[np.ndarray]:
    stat = [model.stat.center, model.stat.extent, model.stat.meaninertia, model.stat.meanmass]
    return [np.array(value) for value in [*(getattr(model, name) for name in MODEL_FIELDS), *stat]]


# -- what is drawn ---------------------------------------------------------------------------------


def test_training_and_unseen_never_overlap_and_share_every_single_value() -> None:
    rng = np.random.default_rng(0)
    seen, unseen = ([r.sample(rng) for _ in range(1500)] for r in (TRAINING, UNSEEN))
    assert not any(any(c.contains(d) for c in HELD_OUT) for d in seen)
    assert all(any(c.contains(d) for c in HELD_OUT) for d in unseen)
    assert all(TRAINING.contains(d) and not UNSEEN.contains(d) for d in seen)
    assert all(UNSEEN.contains(d) and not TRAINING.contains(d) for d in unseen)
    for sample in (seen, unseen):
        vectors = np.array([d.vector() for d in sample])
        assert np.abs(vectors).max() <= 1.0
        # Each parameter by itself takes values all over its range, in both sets.
        counts = np.array([np.histogram(column, 6, (-1, 1))[0] for column in vectors.T[:-1]])
        assert counts.min() > 40 and {d.delay for d in sample} == {0, 1, 2}


def test_held_out_is_a_third_of_the_box() -> None:
    rng = np.random.default_rng(1)
    box = DynamicsRanges()
    hits = np.array([[c.contains(d) for c in HELD_OUT] for d in (box.sample(rng) for _ in range(6000))])
    assert hits.sum(axis=1).max() == 1  # they are disjoint
    np.testing.assert_allclose(hits.mean(axis=0), 1 / 9, atol=0.017)  # four standard deviations


def test_vector_is_the_position_in_the_ranges() -> None:
    low = Dynamics(**{name: getattr(TRAINING, name)[0] for name in DYNAMICS_UNITS})
    high = Dynamics(**{name: getattr(TRAINING, name)[1] for name in DYNAMICS_UNITS})
    np.testing.assert_array_equal(low.vector(), -1.0)
    np.testing.assert_array_equal(high.vector(), 1.0)
    middle = Dynamics(payload=1.5, friction=6.0, damping=5.0**0.5, gain=0.1**0.5, delay=1).vector()
    np.testing.assert_allclose(middle, 0.0, atol=1e-6)
    assert middle.dtype == np.float32 and len(middle) == len(DYNAMICS_UNITS)
    assert {field.name for field in dataclasses.fields(Dynamics)} == {*DYNAMICS_UNITS, *FACTORS}
    np.testing.assert_array_equal(HEAVY.vector(UNSEEN), HEAVY.vector(TRAINING))
    np.testing.assert_array_equal(Dynamics(payload=2.0).vector(DynamicsRanges(payload=(2.0, 2.0)))[0], 0.0)


def test_sampling_repeats_with_the_generator() -> None:
    draws = [[TRAINING.sample(np.random.default_rng(seed)) for seed in (1, 1, 2)] for _ in range(2)]
    assert draws[0] == draws[1] and draws[0][0] == draws[0][1] != draws[0][2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dynamics(payload=-1.0), r"payload is -1.0 kg, allowed \[0, 20\]"),
        (lambda: Dynamics(gain=float("nan")), "gain is nan"),
        (lambda: Dynamics(delay=1.5), "delay is 1.5 control steps"),
        (lambda: DynamicsRanges(payload=(2.0, 1.0)), r"range of payload is \(2.0, 1.0\) kg"),
        (lambda: DynamicsRanges(damping=(0.0, 1.0)), r"damping is 0.0 1, allowed \[0.01, 100\]"),
        (lambda: DynamicsRanges(unseen=True), "without held_out"),
        (
            lambda: DynamicsRanges(held_out=(Combination(),)).sample(np.random.default_rng(0)),
            "leaves nothing to draw",
        ),
        (lambda: ReachEnv(randomize="wild"), "'wild' is unknown, known ranges: training, unseen"),
        (lambda: ReachEnv().reset(options={"dynamics": HEAVY}), "make it with randomize"),
        (lambda: ReachEnv(randomize=TRAINING).reset(options={"dynamics": {"payload": 1}}), "must be an envs.Dynamics"),
    ],
)
def test_wrong_requests_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# -- in the environment ----------------------------------------------------------------------------


def test_without_randomize_the_environment_is_the_bare_simulation() -> None:
    """Written out with MuJoCo alone: neither the draws nor a single bit of the motion depend on this feature."""
    env = ReachEnv()
    model = env.arm.load_model()
    data = mujoco.MjData(model)
    for seed in range(3):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        goal = rng.uniform(env.goal_low, env.goal_high)
        noise = env.start_noise
        pose = rng.uniform(np.maximum(env.arm.home - noise, env.arm.q_min), env.arm.home + noise)
        obs, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(obs["desired_goal"], goal.astype(np.float32))
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.ctrl[:] = pose, pose
        mujoco.mj_forward(model, data)
        ref = JointReference(pose, np.zeros(7))
        for _ in range(15):
            action = rng.uniform(-1, 1, 7)
            env.step(action)
            after = env.joint_delta.advance(ref, action)
            for fraction in np.arange(5) / 5:
                data.ctrl[:] = interpolate(ref, after, fraction, 0.05)
                mujoco.mj_step(model, data, 5)
            ref = after
            np.testing.assert_array_equal(env.data.qpos, data.qpos)
            np.testing.assert_array_equal(env.data.qvel, data.qvel)
        assert env.dynamics == Dynamics() and env.get_state().pending.shape == (0, 7)


def test_nominal_dynamics_are_the_arm_itself() -> None:
    # The massless body only changes the order of a few additions.
    hidden = ReachEnv(randomize=TRAINING)
    np.testing.assert_allclose(run(hidden, 0, Dynamics()), run(ReachEnv(), 0), atol=1e-5)


def test_an_episode_leaves_no_trace_in_the_model() -> None:
    env = ReachEnv(randomize=TRAINING)
    compiled = snapshot(env.model)
    first = run(env, 0, Dynamics())
    run(env, 0, HEAVY)
    changed = snapshot(env.model)
    assert sum(not np.array_equal(a, b) for a, b in zip(compiled, changed, strict=True)) >= 9
    np.testing.assert_array_equal(run(env, 0, Dynamics()), first)
    for name, a, b in zip([*MODEL_FIELDS, *range(4)], compiled, snapshot(env.model), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(name))


def test_seed_decides_the_dynamics_and_tasks_stay_those_of_the_plain_environment() -> None:
    env, plain = ReachEnv(randomize=TRAINING), ReachEnv()
    np.testing.assert_array_equal(run(env, 5), run(env, 5))
    drawn = env.dynamics
    assert TRAINING.contains(drawn)
    np.testing.assert_array_equal(run(env, 5), run(ReachEnv(randomize="training"), 5))
    np.testing.assert_array_equal(run(env, 5), run(env, 5, drawn))
    env.reset(seed=6)
    assert env.dynamics != drawn
    hidden, known = env.reset(seed=6)[0], plain.reset(seed=6)[0]
    for key in hidden:
        np.testing.assert_allclose(hidden[key], known[key], atol=1e-6)


def test_payload_pulls_with_its_weight_at_the_tool() -> None:
    env = ReachEnv(randomize=TRAINING)
    env.reset(seed=0, options={"q": env.arm.home, "dynamics": Dynamics(payload=2.0)})
    for _ in range(60):
        env.step(np.zeros(7))
    # At rest the servos hold the moment of the weight: tau = -J^T f.
    jacobian = env.kinematics.jacobian(env.data.qpos)
    np.testing.assert_allclose(env.data.actuator_force, jacobian.T @ [0, 0, 2.0 * 9.81], atol=1e-6)


def test_friction_holds_against_a_smaller_torque_and_is_proportional() -> None:
    env = ReachEnv(randomize=TRAINING)
    env.reset(seed=0, options={"q": env.arm.home, "dynamics": Dynamics(friction=12.0)})
    np.testing.assert_allclose(env.model.dof_frictionloss, 12.0 * env.arm.tau_max / 87.0)
    before = env.data.qpos.copy()
    env.data.qfrc_applied[:] = 0.8 * 12.0 * env.arm.tau_max / 87.0
    env.data.ctrl[:] = before
    env.model.actuator_gainprm[:] = 0.0  # nothing but friction holds the arm
    env.model.actuator_biasprm[:] = 0.0
    mujoco.mj_step(env.model, env.data, 250)
    assert np.abs(env.data.qpos - before).max() < 0.005  # within half a second


def test_delay_executes_the_action_of_earlier_steps() -> None:
    env, plain = ReachEnv(randomize=TRAINING), ReachEnv(randomize=TRAINING)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (12, 7))
    env.reset(seed=1, options={"dynamics": Dynamics(delay=2)})
    plain.reset(seed=1, options={"dynamics": Dynamics()})
    late = [env.step(a)[0]["observation"] for a in actions]
    prompt = [plain.step(a)[0]["observation"] for a in [*np.zeros((2, 7)), *actions[:-2]]]
    np.testing.assert_array_equal(late, prompt)


@pytest.mark.parametrize("delay", (0, 2))
def test_going_back_to_a_state_brings_its_dynamics_and_its_queue(delay: int) -> None:
    env = ReachEnv(randomize=TRAINING)
    dynamics = dataclasses.replace(HEAVY, delay=delay)
    run(env, 1, dynamics, 8)
    state = env.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 7))
    first = [env.step(a)[0]["observation"] for a in actions]
    for other in (env, ReachEnv(randomize="unseen")):
        run(other, 2, Dynamics(payload=1.0, delay=1), 3)
        other.set_state(state)
        assert other.dynamics == dynamics
        np.testing.assert_array_equal([other.step(a)[0]["observation"] for a in actions], first)
    with pytest.raises(ValueError, match="make it with randomize"):
        ReachEnv().set_state(state)


@pytest.mark.parametrize("horizon", (1, 8))
def test_simulator_of_the_environment_knows_the_truth(horizon: int) -> None:
    env = ReachEnv(randomize=TRAINING)
    simulator = env.simulator()
    for dynamics in (HEAVY, Dynamics(payload=1.0)):
        run(env, 3, dynamics, 5)
        state = env.get_state()
        actions = np.random.default_rng(4).uniform(-1, 1, (3, horizon, 7))
        predicted = simulator.rollout(
            state.physics, state.ref, actions, env.action_mode, state.warmstart, state.pending
        )
        for candidate, expected in zip(actions, predicted, strict=True):
            env.set_state(state)
            real = [env.step(a)[0]["observation"] for a in candidate]
            np.testing.assert_allclose(real, expected, atol=1e-5)
    simulator.close()


def test_random_dynamics_raise_no_warning_and_stay_in_bounds() -> None:
    env = ReachEnv(randomize=DynamicsRanges())
    space = env.observation_space["observation"]
    for episode in range(20):
        rng = np.random.default_rng(episode)
        env.reset(seed=episode)
        hold = np.repeat(np.sign(rng.uniform(-1, 1, (12, 7))), 5, axis=0)
        for action in hold if episode % 2 else rng.uniform(-1, 1, (60, 7)):
            assert space.contains(env.step(action)[0]["observation"])
        assert not any(int(warning.number) for warning in env.data.warning)


def test_registered_environment() -> None:
    gym.register_envs(envs)
    made = gym.make("LoopWM/PandaReachHidden-v0", render_mode="rgb_array", width=32, height=24)
    assert made.unwrapped.randomize is TRAINING
    assert '"randomize": "training"' in made.spec.to_json()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    made.close()


@pytest.mark.parametrize("task", ("PandaPush", "PandaStack"))
def test_objects_differ_as_compiled_ones_do_and_come_again(task: str) -> None:
    ranges = dataclasses.replace(
        DynamicsRanges.at(Dynamics()), object_mass=(0.5, 2.0), object_friction=(0.5, 1.5), object_size=(0.8, 1.2)
    )
    env = gym.make(f"LoopWM/{task}-v0", randomize=ranges).unwrapped
    model, geom = env.model, env.model.geom("object")
    fields = ("geom_size", "geom_friction", "geom_rbound", "geom_aabb", "body_mass", "body_inertia")
    nominal = {name: getattr(model, name).copy() for name in fields}
    env.reset(seed=1)
    drawn = env.dynamics
    assert ranges.contains(drawn) and len({drawn.object_mass, drawn.object_friction, drawn.object_size}) == 3
    body = int(geom.bodyid[0])
    assert model.body_mass[body] == pytest.approx(nominal["body_mass"][body] * drawn.object_mass)
    rough = nominal["geom_friction"][geom.id, 0] * drawn.object_friction
    assert model.geom_friction[geom.id, 0] == pytest.approx(rough)
    # What MuJoCo makes of a thing of this size and mass.
    spec = mujoco.MjSpec()
    kind, mass = mujoco.mjtGeom(int(geom.type[0])), float(model.body_mass[body])
    spec.worldbody.add_body().add_geom(type=kind, size=model.geom_size[geom.id], mass=mass)
    alone = spec.compile()
    np.testing.assert_allclose(model.body_inertia[body], alone.body_inertia[1], rtol=1e-9)
    np.testing.assert_allclose(model.geom_rbound[geom.id], alone.geom_rbound[0], rtol=1e-9)
    np.testing.assert_allclose(model.geom_aabb[geom.id], alone.geom_aabb[0], rtol=1e-9)
    assert model.geom_size[geom.id, 0] == pytest.approx(nominal["geom_size"][geom.id, 0] * drawn.object_size)
    for _ in range(10):
        env.step(np.zeros(env.nu))
    assert np.abs(env.data.qvel).max() < 0.05  # it stands as it was put
    env.reset(seed=1)
    assert env.dynamics == drawn
    env.reset(options={"dynamics": Dynamics()})
    for name, values in nominal.items():
        np.testing.assert_array_equal(getattr(model, name), values, err_msg=name)


@pytest.mark.parametrize("arm", ("panda", "ur5e", "so101"))
def test_links_differ_in_length_and_come_again(arm: str) -> None:
    ranges = dataclasses.replace(DynamicsRanges.at(Dynamics()), link_length=(0.93, 1.07))
    env = gym.make("LoopWM/PandaReach-v0", arm=arm, randomize=ranges).unwrapped
    pos, mass_at = env.model.body_pos.copy(), env.model.body_ipos.copy()
    obs, _ = env.reset(seed=1)
    scale, q = env.dynamics.link_length, env.data.qpos.copy()
    assert 0.93 <= scale <= 1.07 and abs(scale - 1.0) > 1e-3
    # The tip, joint by joint from the axis of the first: the same turns, other distances.
    first = env.data.body(env.model.joint(env.arm.joint_names[0]).bodyid[0]).xpos
    tip = env.data.site(env.arm.ee_site)
    nominal = env.kinematics.ee_pos(q)
    tool = tip.xpos - env.data.xpos[env.model.site_bodyid[tip.id]]  # the site's place in the last body stays
    np.testing.assert_allclose(tip.xpos - tool - first, scale * (nominal - tool - first), atol=1e-9)
    groups = env.column_groups()
    np.testing.assert_allclose(obs["observation"][groups["ee_pos"]], tip.xpos, atol=1e-6)
    drawn = env.dynamics
    env.reset(seed=1)
    assert env.dynamics == drawn
    env.reset(options={"dynamics": Dynamics()})
    np.testing.assert_array_equal(env.model.body_pos, pos)
    np.testing.assert_array_equal(env.model.body_ipos, mass_at)
    plain = gym.make("LoopWM/PandaReach-v0", arm=arm).unwrapped
    np.testing.assert_array_equal(plain.reset(seed=1)[0]["desired_goal"], obs["desired_goal"])
