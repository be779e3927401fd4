"""What each control mode promises: targets reached, speeds held, torques given, limits kept."""

import warnings

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs import (
    CONTROL_MODES,
    ArmKinematics,
    BatchSimulator,
    CartesianDelta,
    CartesianPosition,
    JointDelta,
    JointPosition,
    JointReference,
    JointTorque,
    JointVelocity,
    PickAndPlaceEnv,
    ReachEnv,
    known_arms,
    load_arm,
)
from envs.control_modes import NO_LOAD
from loopwm_robot import config

gym.register_envs(envs)
EPS = 1e-9
ABSOLUTE = [mode for mode in CONTROL_MODES if not mode.endswith("delta")]


def joints(name: str = "panda") -> JointDelta:
    arm = load_arm(name)
    return JointDelta(arm.q_min, arm.q_max)


def within(mode: JointDelta, refs: JointReference, ctrl_dt: float = 0.05) -> None:
    """References from rest (num, steps, n) keep position, speed and acceleration limits."""
    assert (refs.q >= mode.q_min - EPS).all() and (refs.q <= mode.q_max + EPS).all()
    assert (np.abs(refs.dq) <= mode.dq_max + EPS).all()
    assert (np.abs(refs.dq[:, 0]) <= mode.ddq_max * ctrl_dt + EPS).all()
    assert (np.abs(np.diff(refs.dq, axis=1)) <= mode.ddq_max * ctrl_dt + EPS).all()


class TestJointPosition:
    @pytest.mark.parametrize("arm", known_arms())
    def test_target_is_reached_without_passing_it(self, arm: str) -> None:
        mode = JointPosition(joints(arm))
        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (40, 1, mode.nu))
        start = rng.uniform(mode.joints.q_min, mode.joints.q_max, (40, mode.nu))
        refs = mode.rollout(JointReference(start, np.zeros_like(start)), np.repeat(actions, 200, axis=1))
        target = mode.target(actions)
        np.testing.assert_allclose(refs.q[:, -1], target[:, 0], atol=1e-6)
        np.testing.assert_allclose(refs.dq[:, -1], 0.0, atol=1e-6)
        way = np.sign(target[:, 0] - start)[:, None]
        assert (way * (refs.q - target) <= EPS).all()

    def test_the_ends_of_the_action_are_those_of_the_range(self) -> None:
        mode = JointPosition(joints())
        np.testing.assert_allclose(mode.target(np.ones(7)), mode.joints.q_max, atol=1e-15)
        np.testing.assert_allclose(mode.target(np.full(7, -7.0)), mode.joints.q_min, atol=1e-15)

    def test_limits_hold_while_targets_jump(self) -> None:
        mode = JointPosition(joints())
        rng = np.random.default_rng(1)
        start = rng.uniform(mode.joints.q_min, mode.joints.q_max, (100, 7))
        actions = np.repeat(np.sign(rng.normal(size=(100, 40, 7))), rng.integers(1, 6), axis=1)
        within(mode.joints, mode.rollout(JointReference(start, np.zeros_like(start)), actions))


class TestJointVelocity:
    def make(self, name: str = "panda") -> JointVelocity:
        arm = load_arm(name)
        return JointVelocity(arm.q_min, arm.q_max, arm.dq_max)

    def test_each_joint_holds_the_share_of_its_own_speed(self) -> None:
        mode, arm = self.make(), load_arm("panda")
        refs = mode.rollout(JointReference(arm.home, np.zeros(7)), np.full((8, 7), -0.3))
        np.testing.assert_allclose(refs.dq[-4:], np.tile(-0.3 * arm.dq_max, (4, 1)), atol=EPS)

    def test_limits_hold(self) -> None:
        mode = self.make()
        rng = np.random.default_rng(2)
        start = rng.uniform(mode.q_min, mode.q_max, (100, 7))
        actions = np.repeat(rng.uniform(-2, 2, (100, 30, 7)), 4, axis=1)
        within(mode, mode.rollout(JointReference(start, np.zeros_like(start)), actions))

    def test_the_arm_follows(self) -> None:
        env = ReachEnv(control_mode="joint_velocity")
        env.reset(seed=0, options={"q": env.arm.home})
        action = np.zeros(7)
        action[0] = 0.5
        q = [float(env.step(action)[0]["observation"][0]) for _ in range(14)]
        # Over whole control steps: within one, the held set-points make the speed ripple.
        np.testing.assert_allclose(np.diff(q)[-3:] / 0.05, 0.5 * env.arm.dq_max[0], rtol=0.01)

    @pytest.mark.parametrize("speed", (0.0, np.nan, [1.0, -1.0]))
    def test_impossible_speeds_are_refused(self, speed: float | list[float]) -> None:
        with pytest.raises(ValueError, match="dq_max"):
            JointVelocity([-1.0, -1.0], [1.0, 1.0], speed)


class TestCartesianPosition:
    @pytest.mark.parametrize("arm", known_arms())
    def test_tip_arrives_and_stays(self, arm: str) -> None:
        env = ReachEnv(arm, "cartesian_position")
        mode = env.action_mode
        assert isinstance(mode, CartesianPosition)
        rng = np.random.default_rng(0)
        env.reset(seed=0)
        for _ in range(3):
            target = rng.uniform(env.goal_low, env.goal_high)
            action = 2.0 * (target - mode.low) / (mode.high - mode.low) - 1.0
            np.testing.assert_allclose(mode.target(action), target, atol=1e-12)
            ref, tips = env.ref, []
            for _ in range(70):
                ref = mode.advance(ref, action)
                tips.append(env.kinematics.ee_pos(ref.q))
            env.ref = ref
            # The pull to the posture displaces the tip by the share that damping lets through.
            assert np.linalg.norm(np.array(tips[-10:]) - target, axis=1).max() < 0.005

    def test_limits_hold_while_targets_jump(self) -> None:
        arm = load_arm("panda")
        mode = CartesianPosition(
            CartesianDelta(joints(), ArmKinematics(arm), arm.home), (0.3, -0.3, 0.1), (0.7, 0.3, 0.6)
        )
        actions = np.repeat(np.sign(np.random.default_rng(3).normal(size=(3, 12, 3))), 5, axis=1)
        within(mode.joints, mode.rollout(JointReference(np.tile(arm.home, (3, 1)), np.zeros((3, 7))), actions))

    def test_no_box_is_refused(self) -> None:
        arm = load_arm("panda")
        delta = CartesianDelta(joints(), ArmKinematics(arm), arm.home)
        with pytest.raises(ValueError, match="box of targets"):
            CartesianPosition(delta, (0.3, 0.0, 0.1), (0.7, 0.0, 0.6))


class TestJointTorque:
    @pytest.mark.parametrize("arm", known_arms())
    def test_no_torque_keeps_the_arm_still(self, arm: str) -> None:
        env = ReachEnv(arm, "joint_torque")
        start = env.reset(seed=1)[0]["observation"]
        for _ in range(40):
            vector = env.step(np.zeros(env.nu))[0]["observation"]
        np.testing.assert_allclose(vector[: env.arm.n], start[: env.arm.n], atol=1e-4)  # a hundredth of a degree

    @pytest.mark.parametrize("cls", (ReachEnv, PickAndPlaceEnv))
    def test_the_torque_is_the_share_of_the_greatest(self, cls: type) -> None:
        env = cls(control_mode="joint_torque")
        env.reset(seed=1)
        action = np.linspace(-3.0, 0.5, env.nu)
        n, arm = env.arm.n, env.arm
        given = np.clip(action[:n], -1, 1) * arm.tau_max
        env.data.ctrl[:n] = given
        mujoco.mj_forward(env.model, env.data)
        np.testing.assert_allclose(env.data.actuator_force[:n], given)  # at rest
        env.step(action)
        np.testing.assert_allclose(env.data.ctrl[:n], given)
        # The last forces belong to the speeds before the last physics step, 2 ms earlier.
        lost = arm.tau_max * env.data.qvel[:n] / (NO_LOAD * arm.dq_max)
        np.testing.assert_allclose(env.data.actuator_force[:n], given - lost, atol=0.1 * arm.tau_max.max())

    def test_the_drives_keep_joints_from_running_away(self) -> None:
        env = ReachEnv(control_mode="joint_torque")
        rng = np.random.default_rng(0)
        for seed in range(5):
            env.reset(seed=seed)
            for _ in range(30):
                env.step(np.sign(rng.normal(size=env.nu)))
                # Blows against stops and table add to what the drives alone would reach.
                assert (np.abs(env.data.qvel) < 2.0 * NO_LOAD * env.arm.dq_max).all()

    def test_what_is_measured_stands_in_for_the_reference(self) -> None:
        env = ReachEnv(control_mode="joint_torque")
        env.reset(seed=1)
        vector = env.step(np.full(7, 0.2))[0]["observation"]
        np.testing.assert_array_equal(vector[14:21], 0.0)
        np.testing.assert_array_equal(vector[21:28], vector[7:14])
        assert np.abs(vector[7:14]).min() > 0

    def test_the_action_is_clipped(self) -> None:
        mode = JointTorque([2.0, 3.0], [1.0, 1.0])
        np.testing.assert_array_equal(mode.torque([[0.5, -4.0]]), [[1.0, -3.0]])


@pytest.mark.parametrize("mode", ABSOLUTE)
def test_the_simulator_predicts_every_mode(mode: str) -> None:
    env = PickAndPlaceEnv(control_mode=mode)
    simulator = env.simulator()
    assert isinstance(simulator, BatchSimulator)
    rng = np.random.default_rng(0)
    env.reset(seed=2)
    env.step(rng.uniform(-1, 1, env.nu))
    state = env.get_state()
    actions = 0.3 * rng.uniform(-1, 1, (2, 6, env.nu))
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart)
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        for action, obs in zip(candidate, expected, strict=True):
            np.testing.assert_allclose(env.step(action)[0]["observation"], obs, atol=1e-5)


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known modes: joint_delta, cartesian_delta, joint_position"):
        ReachEnv(control_mode="torque")


def test_the_configuration_knows_the_same_modes() -> None:
    assert config.CONTROL_MODES == CONTROL_MODES


def run_random(arm: str, mode: str, steps: int) -> None:
    for name in sorted(gym.registry):
        if not name.startswith("LoopWM/") or gym.registry[name].kwargs.get("arm") != arm:
            continue
        env = gym.make(name, control_mode=mode).unwrapped
        rng = np.random.default_rng(0)
        space = env.observation_space["observation"]
        for step in range(steps):
            if step % 50 == 0:
                env.reset(seed=step)
            action = rng.uniform(-1, 1, env.nu)
            vector = env.step(np.sign(action) if step % 100 >= 50 else action)[0]["observation"]
            assert (vector >= space.low).all() and (vector <= space.high).all(), (name, step)
        counts = [int(warning.number) for warning in env.data.warning]
        assert not any(counts), f"{name} {mode}: MuJoCo warnings {counts}"


@pytest.mark.parametrize("mode", ABSOLUTE)
def test_random_actions_raise_no_warning(mode: str) -> None:
    run_random("so101", mode, 60)


@pytest.mark.slow
@pytest.mark.parametrize("arm", known_arms())
@pytest.mark.parametrize("mode", CONTROL_MODES)
def test_a_thousand_random_actions_raise_no_warning(arm: str, mode: str) -> None:
    run_random(arm, mode, 1000)


def check_contract(arm: str, mode: str) -> None:
    env = ReachEnv(arm, mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("mode", ABSOLUTE)
def test_the_contract_of_gymnasium(mode: str) -> None:
    check_contract("panda", mode)


@pytest.mark.slow
@pytest.mark.parametrize("arm", known_arms())
@pytest.mark.parametrize("mode", CONTROL_MODES)
def test_the_contract_of_gymnasium_with_every_arm(arm: str, mode: str) -> None:
    check_contract(arm, mode)
