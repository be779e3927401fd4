"""Sweeps: every combination once, some at a time, resumed where they ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from fake_runs import write_run

from loopwm_robot import sweep
from loopwm_robot.cli.main import main
from loopwm_robot.ray_runs import ray_start
from loopwm_robot.sweep import SweepError, SweepPlan, arguments, combinations, last_line, run_sweep


def test_every_combination_has_a_folder() -> None:
    found = combinations([["seed=0", "seed=1"], ["model=small"], ["train.rounds=2", "train.rounds=[3]"]])
    assert list(found.values()) == [
        ["seed=0", "model=small", "train.rounds=2"],
        ["seed=0", "model=small", "train.rounds=[3]"],
        ["seed=1", "model=small", "train.rounds=2"],
        ["seed=1", "model=small", "train.rounds=[3]"],
    ]
    assert list(found)[:2] == ["0_seed-0_train.rounds-2", "1_seed-0_train.rounds-3-"]
    assert combinations([["seed=0"]]) == {"0": ["seed=0"]} and combinations([]) == {"0": []}


def test_what_is_left_of_a_run(tmp_path: Path) -> None:
    plan = SweepPlan("train", {name: ["seed=1"] for name in "abc"})
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "a" / "summary.json").touch()
    assert [arguments(plan, tmp_path, name) for name in "abc"] == [
        None,
        ["train", f"resume={tmp_path / 'b'}"],
        ["train", "seed=1", f"out={tmp_path / 'c'}"],
    ]


class Starter:
    """Runs that take a moment and end with a status of their own."""

    def __init__(self, **statuses: int) -> None:
        self.statuses, self.begun, self.processes, self.most = statuses, [], [], 0

    def __call__(self, todo: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        self.most = max(self.most, 1 + sum(process.poll() is None for process in self.processes))
        self.begun.append(log.stem)
        status = self.statuses.get(log.stem, 0)
        log.write_text(f"began\nloopwm: error: status {status}\n\n", encoding="utf-8")
        code = f"import time, sys; time.sleep(.1); sys.exit({status})"
        self.processes.append(subprocess.Popen([sys.executable, "-Sc", code]))
        return self.processes[-1]


def test_runs_go_some_at_a_time_and_one_failure_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "POLL", 0.01)
    plan = SweepPlan("train", {name: [] for name in "abcde"}, jobs=2)
    start = Starter(b=1)
    with pytest.raises(SweepError, match=r"1 of 5 runs failed, first b \(loopwm: error: status 1\); see the"):
        run_sweep(plan, tmp_path, start)
    assert start.begun == list("abcde") and start.most == 2
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.json").touch()
    again = Starter()
    assert run_sweep(plan, tmp_path, again) == [tmp_path / name for name in "abcde"]
    assert again.begun == list("bcde")


def test_an_interrupted_sweep_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Starter()

    def interrupted(_: float) -> None:  # also while it waits for the runs: a second Ctrl-C
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SweepPlan("train", {name: [] for name in "ab"}, jobs=2), tmp_path, start)
    assert len(start.processes) == 2 and all(process.poll() is not None for process in start.processes)


def test_the_command_plans_runs_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = []

    def pretend(todo: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        begun.append(list(todo))
        out = next(text[4:] for text in todo if text.startswith("out="))
        write_run(Path(out), seed=len(begun))
        return subprocess.Popen([sys.executable, "-Sc", ""])

    monkeypatch.setattr(sweep, "start_process", pretend)
    monkeypatch.setattr(sweep, "POLL", 0.01)
    out = tmp_path / "all"
    assert main(["sweep", "train", "seed=range(1,3)", "model=nano", "jobs=2", f"out={out}"]) == 0
    assert [todo[:3] for todo in begun] == [["train", "seed=1", "model=nano"], ["train", "seed=2", "model=nano"]]
    assert f"comparison: {out / 'compare.html'}" in capsys.readouterr().out and (out / "compare.html").is_file()
    assert json.loads((out / "summary.json").read_text())["runs"] == 2
    kept = yaml.safe_load((out / "config.yaml").read_text())
    assert kept["settings"]["1_seed-2"] == ["seed=2", "model=nano"] and kept["jobs"] == 2
    assert main(["sweep", f"resume={out}", "jobs=1"]) == 0
    assert len(begun) == 2  # all of them are finished


@pytest.mark.parametrize(
    "request_, said",
    [
        ("", "sweep got '', allowed train or demo first"),
        ("collect seed=1,2", "sweep got 'collect'"),
        ("train seed=1,x", "seed is 'x', allowed a whole number"),
        ("train sede=1,2", "unknown key 'sede'"),
        ("train model=small,bse", "did you mean 'base'"),
        ("train seed=interval(1,2)", "names no single values"),
        ("train seed=1,2 jobs=0", "jobs is '0', allowed [1, 256]"),
        ("train seed=range(0,2000)", "sweep has 2000 runs, allowed 1000"),
        ("resume=gone", "allowed a run folder with config.yaml"),
        ("train seed=1,2 resume=x", "got also train seed=1,2"),
    ],
)
def test_wrong_requests_begin_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request_: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *request_.split()]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_last_words_of_a_run(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("one\ntwo\n \n")
    assert last_line(tmp_path / "a.log") == "two"


@pytest.mark.slow
def test_runs_on_ray_are_interrupted_lost_and_finished_as_here(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    small = ["model=nano", "planner=cem_fast", "collect.episodes=2", "train.rounds=1", "train.updates_per_round=3"]
    small += ["train.held_out=1", "train.episodes_per_round=0", "train.update.batch_size=8", "train.gate.updates=2"]
    folder = tmp_path / "sweep"
    assert main(["sweep", "train", *small, "seed=0,1", "ray=local", f"out={folder}"]) == 0
    assert len(list(folder.glob("?_seed*/summary.json"))) == 2
    with ray_start("local") as start:
        sleeper = start(["view", "--help"], tmp_path / "help.log")
        assert sleeper.wait(60.0) == 0 and "loopwm view" in (tmp_path / "help.log").read_text()
        long = ["train", "train.updates_per_round=100000"]
        runs = [start([*long, f"out={tmp_path / name}"], tmp_path / f"{name}.log") for name in ("a", "b")]
        with pytest.raises(subprocess.TimeoutExpired):
            runs[0].wait(0.1)
        until = time.monotonic() + 60.0
        while not (tmp_path / "a" / "config.yaml").exists():  # before, Python itself may not yet hear it
            assert runs[0].poll() is None and time.monotonic() < until, (tmp_path / "a.log").read_text()
            time.sleep(0.05)
        runs[0].send_signal(signal.SIGINT)
        assert runs[0].wait(60.0) == 130
        runs[1].kill()
        assert runs[1].poll() == -signal.SIGKILL
    assert main(["sweep", "train", *small, "seed=0,1", "ray=127.0.0.1:1", f"out={tmp_path / 'none'}"]) == 2
