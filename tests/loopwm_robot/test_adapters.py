"""Environments of other packages through the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import envs
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig, config_dir
from loopwm_robot.schema import build

FAST = ["planner.num_samples=8", "planner.num_elites=2", "planner.keep_elites=1", "planner.iterations=1"]
TINY = ["model=nano", "collect.episodes=2", "train.rounds=2", "train.updates_per_round=2", "train.held_out=1"]


def needs(module: str) -> None:
    """A package of others: part of the extra `dev`, but for robosuite, which cannot stand beside our versions."""
    if importlib.util.find_spec(module) is None:
        assert module == "robosuite", f"{module} is part of the extra 'dev'"
        pytest.skip("robosuite is not installed; see docs/environments.md")


def test_ready_settings_name_environments_that_are_registered() -> None:
    gym.register_envs(envs)
    seen = set()
    for file in (config_dir() / "env").glob("*.yaml"):
        config = build(EnvConfig, yaml.safe_load(file.read_text()))
        suite = config.id.partition("/")[0]
        if suite not in ("LoopWM", ""):
            assert config.id in gym.registry and config.control_mode == "", file
            seen.add(suite)
    assert seen == {"dm", "fetch", "metaworld", "robosuite"}


def test_collect_from_another_package(tmp_path: Path) -> None:
    needs("gymnasium_robotics")
    assert main(["collect", "env=fetch_push", "collect.episodes=2", f"out={tmp_path / 'run'}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["transitions"], summary["env_id"]) == (100, "fetch/Push-v4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "module", "goal"),
    [
        ("env=fetch_reach", "gymnasium_robotics", True),
        ("env=metaworld_reach", "metaworld", False),
        ("env=gym env.id=Pusher-v5", "mujoco", False),
    ],
)
def test_train_and_evaluate(env: str, module: str, goal: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    needs(module)
    run, result = tmp_path / "run", tmp_path / "result"
    assert main(["train", *env.split(), *TINY, "train.episodes_per_round=1", *FAST, f"out={run}"]) == 0
    few = ["evaluate.episodes=1", "evaluate.random_episodes=0", "evaluate.untrained_episodes=0", "evaluate.held_out=1"]
    assert main(["evaluate", *env.split(), f"checkpoint={run}", *few, *FAST, f"out={result}"]) == 0
    assert ("median final distance" if goal else "mean return") in capsys.readouterr().out
    assert "return_mean" in json.loads((result / "summary.json").read_text())
