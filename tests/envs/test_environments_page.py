"""docs/environments.md says what the code does."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs import OBJECT_UNITS, OBSERVATION_UNITS, TRAINING, object_groups, observation_groups, observation_size
from envs.observation import FIXTURE_SIZES, FIXTURE_UNITS, HOLE_SIZES, HOLE_UNITS, groups_of
from envs.randomize import DYNAMICS_UNITS, HELD_OUT
from envs.tasks.push_scene import FRICTION, HALF_SIZE, MASS

PAGE = (Path(__file__).parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")


def test_registered_environments() -> None:
    gym.register_envs(envs)
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    for name in (name for name in gym.registry if name.startswith("LoopWM/")):
        made = gym.make(name)
        env = made.unwrapped
        arm = next(row for row in rows if row[0] == f"`{env.arm.name}`" and row[1].startswith("`"))
        assert arm[2] == str(env.arm.n) and arm[4] == f"{env.workspace.scale:g}"
        prefix = f"LoopWM/{arm[1].strip('`')}"
        assert name.startswith(prefix)
        task = next(row for row in rows if row[0] == f"`{name.removeprefix(prefix).removesuffix('-v0')}`")
        options = [*env.reset_options, *(["dynamics"] if env.randomize else [])]
        assert task[2:] == [str(made.spec.max_episode_steps), ", ".join(f"`{o}`" for o in options)]
        made.close()


def test_columns() -> None:
    groups = {**observation_groups(7), **object_groups(observation_size(7))}
    units = {**OBSERVATION_UNITS, **OBJECT_UNITS}
    assert list(groups) == list(units)
    for sizes, names in ((FIXTURE_SIZES, FIXTURE_UNITS), (HOLE_SIZES, HOLE_UNITS)):
        groups |= groups_of(sizes, observation_size(7))
        units |= names
    for name, group in groups.items():
        last = group.stop - 1
        columns = f"{group.start} to {last}" if last > group.start else f"{last}"
        assert f"| `{name}` | {columns} | {units[name]} |" in PAGE


@pytest.mark.parametrize("name", DYNAMICS_UNITS)
def test_ranges(name: str) -> None:
    low, high = getattr(TRAINING, name)
    assert f"| `{name}` | {low:g} to {high:g} " in PAGE


def test_held_out_combinations_and_object() -> None:
    assert len(HELD_OUT) == 3
    (payload, friction), (medium, late), (rough, prompt) = (
        [interval for interval in vars(c).values() if interval is not None] for c in HELD_OUT
    )
    assert "- payload from {:g} to {:g} kg with friction from {:g} to {:g} N m, any".format(*payload, *friction) in PAGE
    assert "- payload from {:g} to {:g} kg with a delay of {} steps, any".format(*medium, late[1]) in PAGE
    assert "- friction from {:g} to {:g} N m with a delay of {}, any".format(*rough, prompt[1]) in PAGE
    size = " x ".join(f"{200 * half:g}" for half in np.round(HALF_SIZE, 6))
    assert f"A box of {size} cm and {MASS:g} kg slides on the table with a friction of {FRICTION:g}" in PAGE
