"""Stacking: where things stand, what success asks for, state and prediction of two objects, a script that does it."""

import numpy as np
import pytest

from envs import StackEnv, known_arms, object_groups, observation_size
from envs.tasks.stack import BLOCK, CLEARANCE, HALF_SIZE, StackScript

STEPS = 120


def stacked(name: str, seeds: range) -> float:
    """Share of the episodes at whose end the cylinder stands on the block, untouched."""
    env = StackEnv(name)
    script, wins = StackScript(env), []
    for seed in seeds:
        obs, info = env.reset(seed=seed)
        script.reset(obs["desired_goal"])
        for _ in range(STEPS):
            obs, reward, *_, info = env.step(script.act(obs["observation"]))
            assert reward == env.compute_reward(obs["achieved_goal"], obs["desired_goal"], info)
        height = obs["achieved_goal"][2] - env._object_qpos[9]
        stands = abs(height - (env.rest_height + HALF_SIZE[2] * env.workspace.scale)) < 1e-3
        assert info["is_success"] <= stands
        wins.append(info["is_success"])
    assert not any(int(warning.number) for warning in env.data.warning)
    return float(np.mean(wins))


@pytest.mark.parametrize("name", known_arms())
def test_the_script_stacks(name: str) -> None:
    assert stacked(name, range(1)) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", known_arms())
def test_the_script_stacks_twenty_times(name: str) -> None:
    assert stacked(name, range(20)) >= 0.95


@pytest.mark.parametrize("name", known_arms())
def test_the_block_stands_below_the_goal_and_away_from_the_cylinder(name: str) -> None:
    env = StackEnv(name)
    groups = object_groups(env.robot_columns + 9)
    for seed in range(20):
        obs, info = env.reset(seed=seed)
        goal, block = obs["desired_goal"], obs["observation"][groups["object_pos"]]
        np.testing.assert_allclose(block[:2], goal[:2], atol=1e-6)
        np.testing.assert_allclose([block[2], goal[2]], [0.02 * env.workspace.scale, env.stack_height], atol=1e-6)
        assert np.linalg.norm((obs["achieved_goal"] - goal)[:2]) > 0.159 * env.workspace.scale
        assert not info["contact"] and not info["is_success"]
        env.step([0, 0, 0, 1])
        np.testing.assert_allclose(env.vector_observation()[groups["object_pos"]], block, atol=2e-4)


def test_success_needs_the_block_below_and_the_hand_away() -> None:
    env = StackEnv()
    env.reset(seed=0)
    x, y, z = env.goal
    hold = env.action_space.low * 0.0
    for place, wanted in (((x, y, z), True), ((x + 0.02, y, z), True), ((x, y + 0.06, env.rest_height), False)):
        env.reset(seed=0)
        env._object_qpos[:3] = place
        infos = [env.step(hold)[-1] for _ in range(10)]
        assert infos[-1]["is_success"] is wanted and not infos[-1]["contact"]
    obs, _ = env.reset(seed=3)
    script, held = StackScript(env), []
    script.reset(obs["desired_goal"])
    for _ in range(STEPS):
        obs, *_, info = env.step(script.act(obs["observation"]))
        if info["contact"] and info["distance"] < env.threshold:
            held.append(info["is_success"])
    assert held and not any(held) and info["is_success"]


def test_observation_has_the_block_behind_the_cylinder() -> None:
    env = StackEnv()
    obs, _ = env.reset(seed=1)
    n = observation_size(7) + 2
    assert obs["observation"].shape == (n + 18,)
    tokens = env.observation_tokens()
    assert list(tokens)[-4:] == ["ee", "gripper", "object", BLOCK]
    assert tokens["object"] == tuple(range(n, n + 9)) and tokens[BLOCK] == tuple(range(n + 9, n + 18))
    np.testing.assert_array_equal(obs["achieved_goal"], obs["observation"][n : n + 3])


def test_state_and_prediction_of_both_objects() -> None:
    env = StackEnv()
    obs, _ = env.reset(seed=3)
    script = StackScript(env)
    script.reset(obs["desired_goal"])
    while not (script._placed and env.data.ncon):
        obs, *_ = env.step(script.act(obs["observation"]))
    state, simulator = env.get_state(), env.simulator()
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4))
    predicted = simulator.rollout(state.physics, state.ref, actions, env.action_mode, state.warmstart)
    other = StackEnv()
    for candidate, expected in zip(actions, predicted, strict=True):
        env.set_state(state)
        other.set_state(state)
        real = [env.step(action)[0]["observation"] for action in candidate]
        np.testing.assert_allclose(real, expected, atol=1e-4)  # pressed between the fingers, roundings grow
        np.testing.assert_array_equal(real, [other.step(action)[0]["observation"] for action in candidate])
    simulator.close()


def test_wrong_requests_are_refused() -> None:
    env = StackEnv()
    for options, message in (
        ({"goal": (0.5, 0.0, 0.025)}, "goal is at a height of 0.025 m, allowed 0.065 m"),
        ({"goal": (2.0, 0.0, 0.065)}, "out of reach"),
        ({"goal": (0.5, 0.0, 0.065), "object": (0.53, 0.0, 0.0)}, rf"at least {CLEARANCE:.3g} m apart"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)


def test_wild_actions_raise_no_warning_and_stay_in_bounds() -> None:
    env, rng = StackEnv(), np.random.default_rng(0)
    for episode in range(4):
        env.reset(seed=episode)
        for action in np.repeat(np.sign(rng.uniform(-1, 1, (STEPS // 8, env.nu))), 8, axis=0):
            assert env.observation_space.contains(env.step(action)[0])
    assert not any(int(warning.number) for warning in env.data.warning)
