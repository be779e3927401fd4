"""The physics stays sane whatever the actions."""

import numpy as np
import pytest

from envs import ReachEnv


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
    run_episodes(10_000, "joint_delta")


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
