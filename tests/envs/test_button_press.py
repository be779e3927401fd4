"""The button: its spring pushes back, and a depth has to be held."""

import numpy as np
import pytest

from envs import ButtonPressEnv
from envs.tasks.button_press import CAP_HEIGHT, DEPTH, FORCE


def test_the_spring_pushes_back_and_brings_it_up_again() -> None:
    env = ButtonPressEnv()
    obs, _ = env.reset(seed=0)
    script, top = env.script(), obs["achieved_goal"][2]
    script.reset(obs["desired_goal"])
    for _ in range(60):
        obs, *_, info = env.step(script.act(obs["observation"]))
    assert info["is_success"] and info["contact"]
    pressed = top - obs["achieved_goal"][2]
    spring = env.data.qfrc_spring[-1]  # along the way, against which it acts [N]
    assert spring == pytest.approx(-FORCE / DEPTH * pressed, rel=0.05)
    for _ in range(20):
        obs, *_, info = env.step([0.0, 0.0, 1.0])
    assert obs["achieved_goal"][2] == pytest.approx(top, abs=1e-4) and not info["contact"]


def test_goals_are_depths() -> None:
    env = ButtonPressEnv("so101")
    size = env.workspace.scale
    depths = []
    for seed in range(40):
        obs, info = env.reset(seed=seed)
        np.testing.assert_allclose(obs["desired_goal"][:2], obs["achieved_goal"][:2], atol=1e-6)
        depths.append(info["distance"])
        assert CAP_HEIGHT * size <= obs["achieved_goal"][2] <= (CAP_HEIGHT + 0.015) * size + 1e-6
    shares = np.array(depths) / (DEPTH * size)
    assert 1 / 3 - 1e-6 <= shares.min() < 0.4 and 0.8 < shares.max() <= 0.9 + 1e-6
