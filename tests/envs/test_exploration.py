"""Scripted exploration meets the object, and stays out of trouble."""

import numpy as np
import pytest

from envs import PushEnv, PushExplorer, observation_groups


def episode(env: PushEnv, explorer: PushExplorer, seed: int, steps: int = 100) -> dict[str, np.ndarray]:
    obs, _ = env.reset(seed=seed)
    explorer.reset(obs["desired_goal"])
    rows = []
    for _ in range(steps):
        action = explorer.act(obs["observation"])
        obs, _, _, _, info = env.step(action)
        rows.append({"action": action, "obs": obs["observation"], **info})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_a_fifth_of_the_transitions_or_more_have_contact() -> None:
    env, explorer = PushEnv(), PushExplorer(np.random.default_rng(0))
    arm, groups = env.arm, observation_groups(7)
    runs = [episode(env, explorer, seed) for seed in range(20)]
    contact = np.array([run["contact"].mean() for run in runs])
    assert contact.mean() > 0.2 and (contact > 0.0).mean() > 0.9
    obs = np.concatenate([run["obs"] for run in runs])
    assert (obs[:, groups["q"]] >= arm.q_min).all() and (obs[:, groups["q"]] <= arm.q_max).all()
    moved = np.array([np.ptp(run["obs"][:, env.goal_columns], axis=0).max() for run in runs])
    assert np.median(moved) > 0.1
    assert not any(int(warning.number) for warning in env.data.warning)
    # The peg scratches the table in passing at most.
    assert (obs[:, 30] < 0.039).mean() < 0.02


def test_pushes_go_in_all_directions() -> None:
    env, explorer = PushEnv(), PushExplorer(np.random.default_rng(1))
    velocity = np.concatenate([episode(env, explorer, seed)["obs"][:, 36:38] for seed in range(20)])
    fast = velocity[np.linalg.norm(velocity, axis=1) > 0.05]
    counts, _ = np.histogram(np.arctan2(fast[:, 1], fast[:, 0]), 4, (-np.pi, np.pi))
    assert counts.min() > 0.1 * len(fast)


def test_steering_without_noise_solves_the_task() -> None:
    env = PushEnv()
    explorer = PushExplorer(np.random.default_rng(0), noise=0.0, goal_share=1.0, wander_share=0.0)
    best = [episode(env, explorer, seed)["distance"].min() for seed in range(10)]
    assert (np.array(best) < 0.05).sum() >= 9


def test_same_generator_same_actions_in_bounds() -> None:
    env = PushEnv()
    first, second = (episode(env, PushExplorer(np.random.default_rng(5)), 3, 40)["action"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32 and first.shape == (40, 3) and np.abs(first).max() <= 1.0
    assert not np.array_equal(first, episode(env, PushExplorer(np.random.default_rng(6)), 3, 40)["action"])


def test_without_a_goal_it_pushes_anywhere() -> None:
    env = PushEnv()
    explorer = PushExplorer(np.random.default_rng(0), goal_share=1.0)
    obs, _ = env.reset(seed=0)
    explorer.reset(np.zeros(0))
    touched = False
    for _ in range(60):
        obs, _, _, _, info = env.step(explorer.act(obs["observation"]))
        touched |= info["contact"]
    assert touched


@pytest.mark.parametrize("name", ("goal_share", "wander_share", "noise"))
def test_shares_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 1.5, allowed \[0, 1\]"):
        PushExplorer(np.random.default_rng(0), **{name: 1.5})
