"""The drawer: it faces the robot, and stays where it is left."""

import numpy as np

from envs import DrawerOpenEnv, known_arms
from envs.tasks.fixture import SPREAD


def test_it_opens_towards_the_robot() -> None:
    for name in known_arms():
        env = DrawerOpenEnv(name)
        for seed in range(10):
            obs, _ = env.reset(seed=seed)
            way = obs["desired_goal"][:2] - obs["achieved_goal"][:2]
            home = -obs["achieved_goal"][:2]
            angle = np.arccos(way @ home / np.linalg.norm(way) / np.linalg.norm(home))
            assert angle <= SPREAD + 0.05  # the start may be a little open


def test_it_stays_where_it_is_left() -> None:
    env = DrawerOpenEnv()
    obs, _ = env.reset(seed=1)
    script = env.script()
    script.reset(obs["desired_goal"])
    travel = env.groups["travel"]
    for _ in range(60):
        obs, *_, info = env.step(script.act(obs["observation"]))
    opened = obs["observation"][travel].copy()
    assert info["is_success"] and opened > 0.03
    for _ in range(30):
        obs, *_, info = env.step([0.0, 0.0, 1.0])
    assert not info["contact"] and info["is_success"]
    np.testing.assert_allclose(obs["observation"][travel], opened, atol=0.005)  # the hand drags it on its way out
