"""The benchmarks of the environment and the control step in tiny form, and their command."""

from __future__ import annotations

import json
import math
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from loopwm_robot.bench import BENCHMARKS, control_step
from loopwm_robot.bench.common import Claim, Findings
from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint, save_checkpoint
from loopwm_robot.cli import bench as command
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig, ModelConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.models.build import build_model

TINY_PLANNER = ["planner.num_samples=8", "planner.num_elites=2", "planner.keep_elites=1", "planner.horizon=2"]
TINY_STEP = ["model=nano", "planner.iterations=1", *TINY_PLANNER, "num_samples=[8]", "profile_steps=2", "steps=1"]


@dataclass(frozen=True)
class StubConfig:
    """Settings.

    Attributes:
        size: at least 1.
        name: a text.
    """

    size: int = 3
    name: str = ""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}, allowed >= 1")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A benchmark named stub that measures its own size."""
    module = types.ModuleType("stub_bench")
    module.SCHEMA, module.QUICK = StubConfig, {"size": 1}  # type: ignore[attr-defined]
    module.run = lambda config: Findings(  # type: ignore[attr-defined]
        [0], [{"table": "t", "size": config.size}], [Claim("size", config.size, 2, "higher")], ["First.", "Second."]
    )
    monkeypatch.setitem(sys.modules, "stub_bench", module)
    monkeypatch.setitem(BENCHMARKS, "stub", ("stub_bench", "measures nothing"))
    return module


def result(folder: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return values


def test_without_a_name_all_are_listed_with_their_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    text = capsys.readouterr().out
    for name, (_, about) in BENCHMARKS.items():
        assert name in text and about in text
    assert "repeats=5" in text and "planner.*" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "unknown benchmark 'nope'; known: envs, control_step, demo"),
        (["--quik", "envs"], "bench got --quik, allowed --quick, --page"),
        (["--quick"], "bench got --quick but no name"),
        (["envs", "demo"], "allowed one benchmark at a time"),
        (["envs", "step=3"], "unknown key 'step'; did you mean 'steps'?"),
        (["envs", "steps=0"], "steps is 0, allowed >= 1"),
        (["envs", "steps=[1"], "steps is '[1', allowed a whole number"),
        (["envs", "model=nano"], "unknown key 'model'"),
        (["control_step", "planner.horizn=3"], "unknown key 'planner.horizn'"),
        (["control_step", "loops=[0]"], "loops has 0, allowed >= 1"),
        (["control_step", "threads=0"], "threads is 0, allowed >= 1"),
        (["control_step", "num_samples=[2]"], "num_elites"),
        (["demo", "seeds=[]"], "seeds is [], allowed one or more"),
        (["demo", "seeds=[1,1]"], "seeds is [1, 1], allowed one or more different ones"),
        (["demo", "episodes=0"], "episodes is 0, allowed >= 1"),
        (["envs", "--page", "steps=3"], "bench envs --page got steps=3, allowed out=FOLDER"),
    ],
)
def test_a_wrong_request_gives_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_results_go_where_they_belong(
    stub: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "stub", f"name={tmp_path / 'x y'}"]) == 0
    text = capsys.readouterr().out
    assert "met   size: 3 (≥ 2)" in text and "Second." in text
    full = result(tmp_path / "docs" / "benchmarks", "stub")
    assert full["command"] == "loopwm bench stub 'name=x y'"
    assert full["config"] == {"size": 3, "name": "x y"}
    assert full["machine"]["cores"] >= 1

    assert main(["bench", "stub", "--quick", "out=elsewhere"]) == 0
    quick = result(tmp_path / "elsewhere", "stub_quick")
    assert quick["config"]["size"] == 1 and quick["claims"][0]["met"] is False
    assert quick["command"] == "loopwm bench stub --quick"
    assert command.settings(stub, True, ["size=7"]).size == 7, "what is asked for goes before the short form"


def test_a_folder_that_cannot_be_written_stops_before_the_measurement(
    stub: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    stub.run = None  # type: ignore[attr-defined]
    assert main(["bench", "stub", f"out={tmp_path / 'file'}"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_page_can_be_made_again(
    stub: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"out={tmp_path}"
    assert main(["bench", "stub", "--page", out]) == 2
    assert "measure first: loopwm bench stub" in capsys.readouterr().err
    assert main(["bench", "stub", out]) == 0
    page = tmp_path / "stub.md"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert main(["bench", "stub", "--page", out]) == 0
    assert page.read_text(encoding="utf-8") == before
    (tmp_path / "stub.json").write_text("{}")
    assert main(["bench", "stub", "--page", out]) == 1
    assert page.read_text(encoding="utf-8") == before


def test_settings_start_from_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    config = command.settings(control_step, True, ["model=nano", "planner.horizon=3", "checkpoint=007"])
    assert (config.model.latent_dim, config.planner.horizon, config.checkpoint) == (32, 3, "007")
    assert config.repeats == control_step.QUICK["repeats"]


def test_the_control_step_is_measured(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    assert main(["bench", "control_step", *TINY_STEP, "repeats=2", "loops=[1,2]", f"out={tmp_path}"]) == 0
    assert torch.get_num_threads() == threads
    values = result(tmp_path, "control_step")
    times = [row for row in values["rows"] if row["table"] == "planning time"]
    assert [(row["num_samples"], row["loops"], row["default"]) for row in times] == [(8, "1", True), (8, "2", False)]
    for row in times:
        assert row["control_steps"] == 120  # two repeats of one episode
        assert row["plan_time_s_p50"] <= row["plan_time_s_p95"] <= row["plan_time_s_p99"] <= row["plan_time_s_max"]
        assert row["loop_updates"] == 8 * 1 * 2 * int(row["loops"])
        assert "success_rate" not in row
    parts = [row for row in values["rows"] if "part" in row]
    assert math.isclose(sum(row["share_fraction"] for row in parts), 1, abs_tol=1e-4)
    p99, met = values["claims"]
    assert (p99["target"], p99["better"], met["better"]) == (50, "lower", "higher")
    assert p99["spread"] is not None and 0 <= met["value"] <= 1


def test_a_checkpoint_brings_its_own_model_and_its_quality(tmp_path: Path) -> None:
    model = ModelConfig(latent_dim=8, heads=2, exit="converged", max_loops=2)
    env = make_env(EnvConfig())
    spaces = spaces_of(env, EnvConfig())
    network = build_model(model, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt)
    save_checkpoint(tmp_path / "checkpoint.safetensors", Checkpoint(network, model, spaces, {}))
    chosen = [*TINY_STEP, "repeats=1", "loops=[]", f"checkpoint={tmp_path}"]
    assert main(["bench", "control_step", *chosen, f"out={tmp_path}"]) == 0
    values = result(tmp_path, "control_step")
    row = values["rows"][0]
    assert row["loops"] == "until converged" and "loop_updates" not in row and "p99_spread_s" not in row
    assert 0 <= row["success_rate"] <= 1 and row["final_distance_m_median"] > 0
    assert values["config"]["model"]["latent_dim"] == 8
    assert values["config"]["checkpoint"] == tmp_path.name
    with pytest.raises(RequestError, match="control_mode"):
        config = command.settings(control_step, False, ["env=panda_reach_cartesian", f"checkpoint={tmp_path}"])
        control_step.run(config)


def test_the_control_step_needs_a_checkpoint_that_is_there_and_a_learned_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "control_step", f"checkpoint={tmp_path / 'none'}", f"out={tmp_path}"]) == 2
    assert "does not exist" in capsys.readouterr().err
    with pytest.raises(ValueError, match="allowed 'learned'"):
        control_step.ControlStepBench(planner=control_step.PlannerConfig(model="simulator"))
