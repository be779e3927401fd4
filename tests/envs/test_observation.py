"""Layout of the observation vector, and rewards."""

import mujoco
import numpy as np
import pytest

from envs import (
    OBJECT_UNITS,
    OBSERVATION_UNITS,
    JointReference,
    ReachEnv,
    arm_observation,
    distance,
    object_groups,
    object_observation,
    observation_groups,
    observation_size,
    observation_tokens,
    reach_reward,
)


@pytest.mark.parametrize("n", (1, 6, 7))
def test_groups_tile_the_vector(n: int) -> None:
    groups = observation_groups(n)
    assert list(groups) == list(OBSERVATION_UNITS)
    ends = [0] + [group.stop for group in groups.values()]
    assert [group.start for group in groups.values()] == ends[:-1]
    assert ends[-1] == observation_size(n)


def test_each_group_holds_what_its_name_says() -> None:
    rng = np.random.default_rng(0)
    q, dq, ref_q, ref_dq = rng.normal(size=(4, 3, 5, 7))
    ee = rng.normal(size=(3, 5, 3))
    obs = arm_observation(q, dq, JointReference(ref_q, ref_dq), ee)
    assert obs.shape == (3, 5, 31) and obs.dtype == np.float32
    groups = observation_groups(7)
    parts = {"q": q, "dq": dq, "q_error": ref_q - q, "ref_dq": ref_dq, "ee_pos": ee}
    for name, value in parts.items():
        np.testing.assert_allclose(obs[..., groups[name]], value, atol=1e-6)  # float32


@pytest.mark.parametrize("n", (1, 6, 7))
def test_tokens_cover_every_column_once(n: int) -> None:
    tokens = observation_tokens(n)
    assert list(tokens) == [*(f"joint{i + 1}" for i in range(n)), "ee"]
    columns = [column for token in tokens.values() for column in token]
    assert sorted(columns) == list(range(observation_size(n)))


def test_token_of_a_joint_holds_its_own_quantities() -> None:
    tokens = observation_tokens(7)
    obs = np.zeros((4, 7))
    obs[:, 2] = 1, 2, 3, 4  # everything about the third joint
    vector = arm_observation(obs[0], obs[1], JointReference(obs[0] + obs[2], obs[3]), np.full(3, 5.0))
    np.testing.assert_array_equal(vector[list(tokens["joint3"])], [1, 2, 3, 4])
    np.testing.assert_array_equal(vector[list(tokens["ee"])], 5)
    assert not any(vector[list(tokens[f"joint{i}"])].any() for i in (1, 2, 4, 5, 6, 7))
    assert ReachEnv().observation_tokens() == tokens


def test_object_is_observed_in_the_base_frame() -> None:
    """Against rotation matrices, for an object that is also tilted."""
    rng = np.random.default_rng(2)
    qpos, qvel = rng.normal(size=(3, 5, 7)), rng.normal(size=(3, 5, 6))
    qpos[..., 3:] /= np.linalg.norm(qpos[..., 3:], axis=-1, keepdims=True)
    obs = object_observation(qpos, qvel)
    groups = object_groups(0)
    assert list(groups) == list(OBJECT_UNITS) and obs.shape == (3, 5, 9) and obs.dtype == np.float32
    assert [groups[name].stop for name in groups] == [3, 5, 8, 9]
    for i in np.ndindex(3, 5):
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, qpos[i][3:])
        matrix = matrix.reshape(3, 3)
        np.testing.assert_allclose(obs[i][groups["object_pos"]], qpos[i][:3], atol=1e-6)
        np.testing.assert_allclose(
            obs[i][groups["object_yaw"]], matrix[:2, 0] / np.linalg.norm(matrix[:2, 0]), atol=1e-5
        )
        np.testing.assert_allclose(obs[i][groups["object_vel"]], qvel[i][:3], atol=1e-6)
        np.testing.assert_allclose(obs[i][groups["object_yaw_rate"]], (matrix @ qvel[i][3:])[2], atol=1e-5)


def test_rewards_are_vectorised_and_maximal_at_the_goal() -> None:
    rng = np.random.default_rng(1)
    achieved, desired = rng.uniform(-0.1, 0.1, (2, 6, 4, 3))
    d = distance(achieved, desired)
    np.testing.assert_allclose(d, np.linalg.norm(achieved - desired, axis=-1))
    np.testing.assert_array_equal(reach_reward(achieved, desired), -d)
    np.testing.assert_array_equal(
        reach_reward(achieved, desired, "sparse", 0.1), np.where(d < 0.1, 0.0, -1.0)
    )
    assert reach_reward(desired, desired).max() == 0.0


def test_unknown_reward_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'shaped' is unknown, known rewards: dense, sparse"):
        reach_reward(np.zeros(3), np.zeros(3), "shaped")
