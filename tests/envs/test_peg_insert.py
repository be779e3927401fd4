"""The hole: narrow, and success is to be inside it."""

import numpy as np
import pytest

from envs import PegInsertEnv
from envs.tasks.fixture import LENGTH
from envs.tasks.peg_insert import CLEARANCE, RADIUS
from envs.tasks.push_scene import PEG


@pytest.mark.parametrize("arm", ("panda", "so101"))
def test_the_hole_is_wider_than_the_peg_by_the_clearance(arm: str) -> None:
    env = PegInsertEnv(arm)
    size = env.workspace.scale
    env.reset(seed=0)
    walls = [i for i in range(env.model.ngeom) if env.model.body(env.model.geom_bodyid[i]).name == "object"]
    gaps = [np.abs(env.model.geom_pos[i][:2]) - env.model.geom_size[i][:2] for i in walls]
    width = [2.0 * gap.max() for gap in gaps]
    np.testing.assert_allclose(width, 2.0 * (RADIUS + CLEARANCE) * size, atol=1e-9)
    assert env.model.geom(PEG).size[0] == pytest.approx(RADIUS * size)
    tip, ee = env.vector_observation()[env.goal_columns], env._ee_pos
    assert np.linalg.norm(tip - ee) == pytest.approx(LENGTH * size, abs=1e-6)


def test_on_the_rim_is_no_success() -> None:
    """Down on the block beside the hole the tip stays above it, farther from any goal than the threshold."""
    env = PegInsertEnv()
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        script = env.script()
        hole, touched = env.groups["hole_pos"], False
        aside = 0.03 * np.array([*obs["observation"][env.groups["hole_yaw"]], 0.0])
        script.reset(obs["desired_goal"] + aside)
        for _ in range(60):
            beside = obs["observation"].copy()
            beside[hole] += aside
            obs, *_, info = env.step(script.act(beside))
            touched = touched or info["contact"]
            assert not info["is_success"]
        assert touched and obs["achieved_goal"][2] > obs["observation"][hole][2] - 1e-3


def test_goals_are_deeper_than_the_threshold() -> None:
    env = PegInsertEnv("so101")
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        depth = obs["observation"][env.groups["hole_pos"]] - obs["desired_goal"]
        np.testing.assert_allclose(depth[:2], 0.0, atol=1e-6)
        assert depth[2] > 2.0 * env.threshold
