"""The physics stays sane whatever the actions."""

import mujoco
import numpy as np
import pytest

from envs import ReachEnv
from envs.vector_env import ArmVectorEnv


def random_actions(rng: np.random.Generator, kind: int, steps: int, nu: int) -> np.ndarray:
    """Actions (steps, nu): noise, bang-bang, bang-bang held for up to a second, one corner throughout."""
    noise = rng.uniform(-1, 1, (steps, nu))
    if kind == 0:
        return noise
    if kind == 1:
        return np.sign(noise)
    hold = int(rng.integers(2, 21)) if kind == 2 else steps
    return np.repeat(np.sign(noise[::hold]), hold, axis=0)[:steps]


def run_episodes(num: int, mode: str, steps: int = 60) -> None:
    env = ReachEnv(control_mode=mode)
    rng = np.random.default_rng(0)
    low, high = env.observation_space["observation"].low, env.observation_space["observation"].high
    for episode in range(num):
        env.reset(seed=episode)
        for action in random_actions(rng, episode % 4, steps, env.action_mode.nu):
            vector = env.step(action)[0]["observation"]
            assert (vector >= low).all() and (vector <= high).all()
        counts = [int(warning.number) for warning in env.data.warning]
        assert not any(counts), f"episode {episode}: MuJoCo warnings {counts}"


@pytest.mark.parametrize("mode", ("joint_delta", pytest.param("cartesian_delta", marks=pytest.mark.slow)))
def test_random_episodes_raise_no_warning(mode: str) -> None:
    run_episodes(60, mode)


@pytest.mark.slow
def test_ten_thousand_random_episodes_raise_no_warning() -> None:
    """Many at once, which are bit by bit what single ones are."""
    num, steps = 500, 60
    many = ArmVectorEnv(ReachEnv, num, threads=1, autoreset_mode="Disabled")
    rng = np.random.default_rng(0)
    space = many.single_observation_space["observation"]
    for first in range(0, 10_000, num):
        many.reset(seed=first)
        actions = np.stack([random_actions(rng, episode % 4, steps, 7) for episode in range(num)], axis=1)
        for action in actions:
            vectors = many.step(action)[0]["observation"]
            assert (vectors >= space.low).all() and (vectors <= space.high).all()
        assert not many.physics.warnings.any(), f"episodes from {first} on: {many.physics.warnings}"
    many.close()


def test_warnings_of_many_at_once_are_counted() -> None:
    many = ArmVectorEnv(ReachEnv, 2, threads=2, autoreset_mode="Disabled")
    many.reset(seed=0)
    many.step(np.zeros((2, 7)))
    assert not many.physics.warnings.any()
    many.physics.state[1, 1] = 1e12
    many.step(np.zeros((2, 7)))
    assert many.physics.warnings[mujoco.mjtWarning.mjWARN_BADQPOS] == 1
    many.close()


def test_whatever_mujoco_warns_of_many_go_on_as_single_ones() -> None:
    many = ArmVectorEnv(ReachEnv, 3, threads=2, autoreset_mode="Disabled")
    many.reset(seed=0)
    single = ReachEnv()
    single.reset(seed=1)
    many.physics.state[1, 1 + many.single.model.nq] = 2e9  # [rad/s]
    single.set_state(many.state(1))
    for _ in range(3):
        many.step(np.zeros((3, 7)))
        single.step(np.zeros(7))
    assert many.physics.warnings.sum() > 0
    for wanted, found in zip(vars(single.get_state()).values(), vars(many.state(1)).values(), strict=True):
        if isinstance(wanted, np.ndarray):
            np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(many.physics.state).all()
    many.close()


def test_arm_pressed_into_the_table_rests() -> None:
    env = ReachEnv()
    env.reset(seed=0, options={"q": env.arm.home})
    action = np.array([0, 1, 0, 0.6, 0, 0, 0])
    for _ in range(60):
        env.step(action)
    for _ in range(40):
        vector = env.step(np.zeros(7))[0]["observation"]
    assert env.data.ncon > 0
    assert vector[-1] > -0.01  # the tip has not sunk into the table
    assert np.abs(env.data.qvel).max() < 0.02
    assert (np.abs(env.data.actuator_force) <= env.arm.tau_max + 1e-9).all()
