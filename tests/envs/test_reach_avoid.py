"""The wall between start and goal: it stands in the way, is noticed, and can be passed."""

import numpy as np
import pytest

from envs import ReachAvoidEnv, known_arms


def reach(env: ReachAvoidEnv, seed: int, over: bool) -> tuple[bool, bool]:
    """Head for the goal, over the wall or straight; success at the end, and whether the wall was touched."""
    obs, info = env.reset(seed=seed)
    assert not info["collision"]
    goal = obs["desired_goal"].astype(float)
    size, n = env.workspace.scale, env.arm.n
    top = 2.0 * env.wall[1][2] + 0.1 * size
    touched = False
    for _ in range(100):
        ee = obs["observation"][4 * n : 4 * n + 3]
        wanted = goal.copy()
        if over and abs(ee[1] - goal[1]) > 0.02 * size:
            wanted[2] = top
            if ee[2] < top - 0.03 * size:
                wanted[:2] = ee[:2]
        obs, *_, info = env.step(np.clip(0.4 * (wanted - ee) / env.action_mode.action_scale, -1, 1))
        touched = touched or info["collision"]
    return info["is_success"], touched


@pytest.mark.parametrize("name", known_arms())
def test_over_the_wall_it_works_and_straight_it_does_not(name: str) -> None:
    env = ReachAvoidEnv(name, control_mode="cartesian_delta")
    assert all(reach(env, seed, over=True) == (True, False) for seed in range(3))
    assert all(reach(env, seed, over=False)[1] for seed in range(3))
    assert not any(int(warning.number) for warning in env.data.warning)


def test_start_and_goal_lie_on_different_sides_below_the_edge() -> None:
    env = ReachAvoidEnv()
    (_, y, _), half = env.wall
    sides = []
    for seed in range(30):
        obs, _ = env.reset(seed=seed)
        ee, goal = obs["achieved_goal"], obs["desired_goal"]
        assert (ee[1] - y) * (goal[1] - y) < 0 and max(ee[2], goal[2]) < 2 * half[2] + 1e-3
        assert env.data.ncon == 0
        sides.append(goal[1] > y)
    assert 5 < sum(sides) < 25


def test_options_replace_one_draw_and_leave_the_others() -> None:
    env = ReachAvoidEnv()
    drawn = env.reset(seed=4)[0]
    fixed = env.reset(seed=4, options={"goal": (0.5, 0.2, 0.3)})[0]
    np.testing.assert_array_equal(fixed["observation"], drawn["observation"])
    np.testing.assert_allclose(fixed["desired_goal"], [0.5, 0.2, 0.3], atol=1e-7)
    with pytest.raises(ValueError, match="out of reach"):
        env.reset(options={"goal": (1.5, 0.2, 0.3)})
