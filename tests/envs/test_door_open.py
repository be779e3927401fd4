"""The door: its handle goes on a circle about the hinge, and the angle of goals is in range."""

import numpy as np

from envs import DoorOpenEnv
from envs.tasks.door_open import ARM, WIDEST
from envs.tasks.fixture_scene import PANEL


def test_the_handle_keeps_its_distance_from_the_hinge() -> None:
    for name in ("panda", "so101"):
        env = DoorOpenEnv(name)
        size = env.workspace.scale
        path = env.path(env.sweep(50))
        radius = np.hypot(path[:, 0] + PANEL * size, path[:, 1] - ARM * size)
        np.testing.assert_allclose(radius, size * np.hypot(PANEL, ARM))
        assert (np.diff(path[:, 1]) > 0).all()  # to the left of who faces the door


def test_the_script_turns_the_door_and_its_stop_holds() -> None:
    env = DoorOpenEnv()
    obs, _ = env.reset(seed=2, options={"travel": 1.2})
    script = env.script()
    script.reset(obs["desired_goal"])
    for _ in range(70):
        obs, *_, info = env.step(script.act(obs["observation"]))
    assert info["is_success"]
    assert abs(float(obs["observation"][env.groups["travel"]][0]) - 1.2) < 0.15
    yaw = np.arctan2(*obs["observation"][env.groups["fixture_yaw"]][::-1])
    for _ in range(40):  # on, across the way of the handle where the door is widest
        obs, *_ = env.step([*np.array([np.cos(yaw + WIDEST), np.sin(yaw + WIDEST)]), 0.0])
        assert obs["observation"][env.groups["travel"]] < WIDEST + 0.1
