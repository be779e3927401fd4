"""The batch simulator predicts exactly what the environment does."""

import numpy as np
import pytest

from envs import BatchSimulator, JointDelta, ReachEnv, load_arm


@pytest.mark.parametrize("nthread", (1, 2))
@pytest.mark.parametrize("mode", ("joint_delta", "cartesian_delta"))
def test_rollout_equals_stepping(mode: str, nthread: int) -> None:
    env = ReachEnv(control_mode=mode)
    simulator = BatchSimulator(env.arm, nthread)
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    for _ in range(4):
        env.step(rng.uniform(-1, 1, env.action_space.shape))
    state = env.get_state()
    actions = rng.uniform(-1, 1, (5, 12, *env.action_space.shape))
    actions[0] = np.sign(actions[0, 0])  # one candidate that runs into limits and contacts
    for _ in range(2):  # the second call reuses the buffers of the first
        predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart)
    assert predicted.shape == (5, 12, 31) and predicted.dtype == np.float32
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        for action, obs in zip(candidate, expected, strict=True):
            # The same arithmetic; MuJoCo promises no more than this across its threads.
            np.testing.assert_allclose(env.step(action)[0]["observation"], obs, atol=1e-5)
    simulator.close()


def test_result_is_not_overwritten_by_the_next_call() -> None:
    env = ReachEnv()
    simulator = BatchSimulator(env.arm)
    env.reset(seed=0)
    state = env.get_state()
    first = simulator.rollout(state.physics, state.ref, np.zeros((2, 3, 7)), env.action_mode)
    copy = first.copy()
    simulator.rollout(state.physics, state.ref, np.ones((2, 3, 7)), env.action_mode)
    np.testing.assert_array_equal(first, copy)


def test_state_from_joints_alone() -> None:
    env = ReachEnv()
    simulator = BatchSimulator(env.arm)
    env.reset(seed=0)
    state = env.get_state()
    built = simulator.physics_state(env.data.qpos, env.data.qvel)
    np.testing.assert_array_equal(built, state.physics)
    moving = simulator.physics_state(env.data.qpos, np.full(7, 0.1))
    assert (moving != built).sum() == 7


def test_wrong_arguments_are_refused() -> None:
    env = ReachEnv()
    simulator = BatchSimulator(env.arm)
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(ValueError, match="physics state has shape"):
        simulator.rollout(np.zeros(3), state.ref, np.zeros((2, 3, 7)), env.action_mode)
    with pytest.raises(ValueError, match=r"need \(N, H, 7\)"):
        simulator.rollout(state.physics, state.ref, np.zeros((3, 7)), env.action_mode)
    arm = load_arm("panda")
    with pytest.raises(ValueError, match=r"ctrl_dt 0\.1 s"):
        simulator.rollout(
            state.physics, state.ref, np.zeros((2, 3, 7)), JointDelta(arm.q_min, arm.q_max, ctrl_dt=0.1)
        )
    with pytest.raises(ValueError, match="nthread is 0"):
        BatchSimulator(arm, nthread=0)
