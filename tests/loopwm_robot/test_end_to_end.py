"""The commands from end to end at smoke size: files, numbers, determinism, interruption."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from reach_spaces import reach_spaces
from safetensors.torch import load_file

from loopwm_robot import demo as demo_module
from loopwm_robot.build import make_env
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig
from loopwm_robot.data.datasets import read_dataset
from loopwm_robot.data.recorded import DatasetError
from loopwm_robot.deploy.record import load_recording
from loopwm_robot.report.video import VideoError
from loopwm_robot.training.explore import reward_function

ROOT = Path(__file__).resolve().parents[2]
SHORT = [
    *("evaluate.episodes=1", "evaluate.random_episodes=0", "evaluate.untrained_episodes=0"),
    *("evaluate.simulator_episodes=0", "video_episodes=0", "deploy.steps_per_goal=5"),
]
"""The stages after training, shorter still."""


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def assert_finite(summary: dict[str, Any]) -> None:
    for key, value in summary.items():
        assert isinstance(value, str | bool | int | float), key
        assert not isinstance(value, float) or math.isfinite(value), key


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke demo."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "experiment=smoke", f"out={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def training(demo: Path) -> list[str]:
    """Overrides that make `loopwm train` train what the demo did."""
    config = yaml.safe_load((demo / "config.yaml").read_text(encoding="utf-8"))
    return [text for part in ("model", "planner", "collect", "train") for text in overrides(part, config[part])]


def overrides(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for name, entry in value.items() for text in overrides(f"{key}.{name}", entry)]
    return [f"{key}={'null' if value is None else value}"]


@pytest.fixture(scope="module")
def checkpoint(demo: Path) -> Path:
    return demo / "checkpoint.safetensors"


def test_the_demo_leaves_all_that_it_promises(demo: Path) -> None:
    files = {str(p.relative_to(demo)) for p in demo.rglob("*") if p.is_file()}
    plots = {f"plots/{name}.png" for name in ("learning_curve", "predictions", "horizons", "loops", "distance")}
    promised = {"summary.json", "config.yaml", "log.txt", "checkpoint.safetensors", "open_loop.json", "report.html"}
    assert promised | plots | {"plots/timing.png", "plots/bridge.png", "bridge.npz", "events.jsonl"} <= files
    assert all((demo / name).stat().st_size > 0 for name in files)
    assert not [name for name in files if name.endswith(".tmp")]
    if summary_of(demo)["video_episodes"]:
        assert {"video/reaches.mp4", "video/poster.png"} <= files
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and 'src="plots/' not in page


def test_the_summary_has_the_documented_keys(demo: Path) -> None:
    summary = summary_of(demo)
    assert_finite(summary)
    timing = ["plan_time_s_p50", "plan_time_s_p95", "plan_time_s_p99", "deadline_met_fraction", "control_rate_hz"]
    result = ["success_rate", "episodes", "final_distance_m_median"]
    expected = [*result, *timing, "parameters", "mean_loops", "env_id", "seed", "wall_time_s"]
    expected += [f"random.{key}" for key in result]
    for name in ("untrained", "simulator", "bridge"):
        expected += [f"{name}.{key}" for key in result + timing]
    expected += ["bridge.limit_violations", "bridge.deadline_misses"]
    expected += [f"open_loop_rmse_h{h}" for h in (1, 5, 10, 20)]
    expected += [f"open_loop_rmse_h{h}_loops{loops}" for h in (1, 5, 10, 20) for loops in (1, 2, 8)]
    assert set(expected) <= set(summary)
    assert summary["env_id"] == "LoopWM/PandaReach-v0" and summary["seed"] == 0
    assert summary["bridge.limit_violations"] == 0
    for key, value in summary.items():
        if key.endswith(("success_rate", "deadline_met_fraction")):
            assert 0 <= value <= 1, key
    stages = [value for key, value in summary.items() if key.startswith("time_stage_")]
    assert summary["wall_time_s"] == pytest.approx(sum(stages))


def test_the_configuration_is_saved_whole(demo: Path) -> None:
    config = yaml.safe_load((demo / "config.yaml").read_text(encoding="utf-8"))
    assert config["model"]["latent_dim"] == 32 and config["train"]["updates_per_round"] == 30
    assert config["arm"]["driver"] == "sim" and config["seed"] == 0
    assert config["out"] is None and config["resume"] is None


def test_resuming_a_finished_demo_changes_no_result(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = [p for p in demo.rglob("*") if p.is_file() and p.name not in ("log.txt", "summary.json", "report.html")]
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in kept}
    summary = (demo / "summary.json").read_bytes()
    assert main(["demo", f"resume={demo}"]) == 0
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in kept} == before
    assert (demo / "summary.json").read_bytes() == summary
    assert f"report: {demo / 'report.html'}" in capsys.readouterr().out


def test_collect_then_train_on_its_episodes(
    training: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file alone: two of the three episodes are learnt from, one is measured on."""
    assert main(["collect", "collect.episodes=3", f"out={tmp_path / 'recorded'}"]) == 0
    recorded = summary_of(tmp_path / "recorded")
    assert_finite(recorded)
    assert recorded["episodes"] == 3 and recorded["transitions"] == 3 * 60
    episodes = tmp_path / "recorded" / "episodes.npz"
    before = episodes.read_bytes()
    request = [*training, "train.rounds=1", "train.updates_per_round=3", f"data={episodes}"]
    assert main(["train", *request, f"out={tmp_path / 'trained'}"]) == 0
    trained = summary_of(tmp_path / "trained")
    assert_finite(trained)
    assert trained["train_transitions"] == 120 and trained["train_updates"] == 3
    assert (tmp_path / "trained" / "checkpoint.safetensors").is_file()
    assert (tmp_path / "trained" / "plots" / "learning_curve.png").is_file()
    page = (tmp_path / "trained" / "report.html").read_text(encoding="utf-8")
    for name in ("learning curve", "depths", "predictions", "horizons"):
        assert f'alt="{name}"' in page, name
    assert episodes.read_bytes() == before
    assert str(tmp_path / "trained" / "checkpoint.safetensors") in capsys.readouterr().out
    tuned, finer = tmp_path / "tuned", ["train.rounds=1", "train.updates_per_round=3", "train.update.anchor=10"]
    request = [f"init={tmp_path / 'trained'}", f"data={episodes}", f"old_data={tmp_path / 'trained'}", *finer]
    assert main(["train", *request, "model=nano", f"out={tuned}"]) == 2
    assert "model=nano beside init, allowed nothing of model" in capsys.readouterr().err
    assert main(["train", *request, "train.gate.updates=1", f"out={tuned}"]) == 0
    assert_finite(summary_of(tuned))
    assert {f"{a}_rmse_h5_{b}" for a in ("old", "new") for b in ("before", "after")} <= set(summary_of(tuned))
    assert yaml.safe_load((tuned / "config.yaml").read_text(encoding="utf-8"))["model"]["latent_dim"] == 32


def test_what_the_bridge_recorded_can_be_learnt_from(demo: Path) -> None:
    """Actions as applied; goals and rewards are those of the deployment."""
    env = make_env(EnvConfig())
    recording = load_recording(demo)
    episodes = read_dataset(demo, reach_spaces(), reward_function(env))
    assert len(episodes) == len(recording.arrays["goal"]) >= 1
    first = episodes[0]
    assert np.array_equal(first.action, recording.arrays["action"][0].astype(np.float32)) and len(first) == 20
    assert np.array_equal(first.goal, recording.arrays["goal"][0].astype(np.float32))
    assert np.allclose(first.reward, env.unwrapped.compute_reward(first.achieved[1:], first.goal, {}), atol=1e-6)
    with pytest.raises(DatasetError, match="recorded with env_id 'LoopWM/PandaReach-v0'"):
        read_dataset(demo, replace(reach_spaces(), env_id="LoopWM/FR3Reach-v0"), None)


@pytest.mark.parametrize("form, package", [("minari", "minari"), ("lerobot", "pyarrow")])
def test_collecting_in_other_formats(tmp_path: Path, form: str, package: str) -> None:
    """The same episodes beside episodes.npz, and `train data=` takes them."""
    pytest.importorskip(package)
    run = tmp_path / "recorded"
    assert main(["collect", "collect.episodes=2", f"format={form}", f"out={run}"]) == 0
    first, second = (read_dataset(path, reach_spaces(), None) for path in (run, run / form))
    steps = len(second[1])
    assert np.array_equal(first[1].obs[:steps], second[1].obs[:steps]) and steps >= 59
    assert np.array_equal(first[1].reward[:steps], second[1].reward)


@pytest.mark.slow
def test_evaluating_twice_gives_the_same_numbers(demo: Path, tmp_path: Path) -> None:
    request = ["planner=cem_fast", "evaluate.episodes=2", "evaluate.untrained_episodes=1", "evaluate.held_out=2"]
    results = []
    for name in ("a", "b"):
        assert main(["evaluate", f"checkpoint={demo}", *request, f"out={tmp_path / name}"]) == 0
        summary = summary_of(tmp_path / name)
        assert_finite(summary)
        results.append({key: value for key, value in summary.items() if "time" not in key and "deadline" not in key})
    assert results[0] == results[1]
    assert results[0]["success_rate"] == summary_of(demo)["success_rate"]
    assert results[0]["final_distance_m_median"] == summary_of(demo)["final_distance_m_median"]
    assert results[0]["checkpoint"] == str(demo / "checkpoint.safetensors")


@pytest.mark.slow
def test_evaluating_the_true_model(checkpoint: Path, tmp_path: Path) -> None:
    request = ["planner=cem_fast", "planner.model=simulator", "evaluate.episodes=1", "evaluate.held_out=1"]
    assert main(["evaluate", f"checkpoint={checkpoint}", *request, f"out={tmp_path / 'run'}"]) == 0
    assert summary_of(tmp_path / "run")["success_rate"] == 1.0


@pytest.mark.slow
def test_a_model_with_tokens_and_context_goes_all_the_way(tmp_path: Path) -> None:
    """Hidden dynamics, a token for each part, and a belief about them; the arm in the bridge has its own."""
    parts = ["model.tokens=parts", "model.context=5", "model.latent_dim=16", "model.exit=converged"]
    request = ["experiment=smoke", "env=panda_reach_hidden", *parts, *SHORT, "train.updates_per_round=5"]
    assert main(["demo", *request, f"out={tmp_path / 'run'}"]) == 0
    summary = summary_of(tmp_path / "run")
    assert_finite(summary)
    assert summary["model"] == "loopwm" and 1 <= summary["mean_loops"] <= 4
    assert summary["bridge.episodes"] == 1 and summary["bridge.limit_violations"] == 0


def test_deploying_the_checkpoint(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = ["planner=cem_fast", "deploy.goals=1", "deploy.steps_per_goal=5", f"out={tmp_path / 'run'}"]
    assert main(["deploy", f"checkpoint={checkpoint}", *request]) == 0
    summary = summary_of(tmp_path / "run")
    assert_finite(summary)
    assert summary["episodes"] == 1 and summary["limit_violations"] == 0
    for name in ("config.yaml", "log.txt", "bridge.npz", "events.jsonl", "plots/bridge.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert "0 limit violations" in capsys.readouterr().out


def start(*arguments: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, which hears Ctrl-C also where this process ignores it.

    A shell without job control starts what it puts in the background with SIGINT ignored, and that is inherited.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOOPWM_DEBUG": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "loopwm_robot.cli.main", *arguments],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate(timeout=1)
        time.sleep(0.005)


@pytest.mark.slow
def test_an_interrupted_demo_resumes_to_the_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    process = start("demo", "experiment=smoke", *SHORT, f"out={folder}")
    wait_for(folder / "training" / "round_1.safetensors", process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C reaches everything that the terminal started
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("loopwm: ")]
    assert lines == [f"loopwm: interrupted; go on with: loopwm demo resume='{folder}'"]
    assert not (folder / "summary.json").exists()

    assert main(["demo", f"resume={folder}"]) == 0
    assert_same_weights(folder / "checkpoint.safetensors", checkpoint)
    assert_finite(summary_of(folder))
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(training: list[str], checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("train", *training, f"out={folder}")
    wait_for(folder / "training" / "round_1.safetensors", process)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "summary.json").exists()

    assert main(["train", f"resume={folder}"]) == 0
    assert_same_weights(folder / "checkpoint.safetensors", checkpoint)
    assert summary_of(folder)["train_updates"] == 60


def test_a_machine_that_cannot_draw_goes_on_without_a_film(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise VideoError("no GL context")

    monkeypatch.setattr(demo_module, "record_reaches", fail)
    shutil.copytree(demo, tmp_path / "run", ignore=shutil.ignore_patterns("video", "video.json", "report.html"))
    assert main(["demo", f"resume={tmp_path / 'run'}"]) == 0
    assert summary_of(tmp_path / "run")["video_episodes"] == 0
    assert "no video: no GL context" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "report.html").is_file()
