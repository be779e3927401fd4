"""Demonstrations by the scripts that solve the tasks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig
from loopwm_robot.data.datasets import read_dataset
from loopwm_robot.data.demonstrate import Demonstrator
from loopwm_robot.errors import RequestError

PICK = EnvConfig("LoopWM/PandaPickAndPlace-v0", "cartesian_delta")


def test_collect_writes_episodes_that_solve_the_task(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["collect", "env=panda_pick_and_place", "policy=script", "collect.episodes=2", "format=lerobot"]
    assert main([*words, f"out={out}"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["success_rate"], summary["transitions"]) == (1.0, 200)
    env = make_env(PICK)
    for path, steps in ((out, 100), (out / "lerobot", 99)):  # that format has no observation after the last action
        episodes = read_dataset(path, spaces_of(env, PICK), None)
        assert [len(episode) for episode in episodes] == [steps, steps]
        for episode in episodes:
            assert np.linalg.norm(episode.achieved[-1] - episode.goal) < 0.05
    env.close()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EnvConfig("LoopWM/PandaReach-v0"), "'joint_delta' for a script, .* set env.control_mode=cartesian_delta"),
        (EnvConfig("Pendulum-v1", "", ""), "policy is 'script' for Pendulum-v1, which has no script"),
    ],
)
def test_what_has_no_script_is_refused(config: EnvConfig, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Demonstrator(make_env(config))
