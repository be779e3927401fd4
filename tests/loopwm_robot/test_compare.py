"""Runs side by side: their figures, what differs, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from loopwm_robot.checkpoint import save_tensors
from loopwm_robot.cli.main import main
from loopwm_robot.config import TrainCommand, TrainConfig
from loopwm_robot.report.compare import read_runs, settings, short_names
from loopwm_robot.runs import save_config, write_summary

HISTORY = [
    {"update": 25.0, "loss": 2.0},
    {"update": 50.0, "loss": 1.0, "val_rmse_h5": 0.5, "success_rate": 0.25, "round": 1},
    {"update": 75.0, "loss": 0.5, "val_rmse_h5": 0.4, "success_rate": 0.5, "round": 2},
]


def write_run(folder: Path, seed: int, finished: bool = True, **train: int) -> Path:
    (folder / "training").mkdir(parents=True)
    save_config(folder / "config.yaml", TrainCommand(seed=seed, out=str(folder), train=TrainConfig(**train)))
    for number in (2, 10):  # by number, not by name
        state = {"history": HISTORY if number == 10 else []}
        file = folder / "training" / f"round_{number}.safetensors"
        save_tensors(file, {"w": torch.zeros(1)}, {"state": json.dumps(state)})
    if finished:
        write_summary(folder / "summary.json", {"train_loss": 0.5 + seed, "parameters": 93214, "train_time_s": 12.0})
    return folder


def test_a_page_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a" / "run", seed=1, rounds=3)
    second = write_run(tmp_path / "b" / "run", seed=2, finished=False, rounds=7)
    assert main(["compare", str(first), str(second), f"out={tmp_path / 'page'}"]) == 0
    page = (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"comparison: {tmp_path / 'page' / 'compare.html'}\n"
    assert "a/run" in page and "Not finished: b/run." in page
    assert "data:image/png;base64," in page and "http" not in page.replace("http-equiv", "")
    assert '<data title="parameters" value="93214">' in page
    assert "train.rounds</th><td>3</td><td>7</td>" in page and "seed</th><td>1</td><td>2</td>" in page
    assert "updates_per_round</th>" not in page and "out</th>" not in page


def test_the_same_settings_make_no_table(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / name, seed=1) for name in "ab"])
    assert settings(runs) is None and [run.name for run in runs] == ["a", "b"]
    assert runs[0].history == HISTORY


def test_names_are_as_long_as_it_takes() -> None:
    names = ["/r/train/1", "/r/train/2"], ["/x/1", "/y/1"], ["/x/a/1", "/x/b/1", "/y/a/1"]
    found = [short_names([Path(name) for name in group]) for group in names]
    assert found == [["1", "2"], ["x/1", "y/1"], ["x/a/1", "x/b/1", "y/a/1"]]


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = write_run(tmp_path / "good", seed=1)
    damaged = write_run(tmp_path / "damaged", seed=1)
    (damaged / "training" / "round_10.safetensors").write_bytes(b"cut")
    begun = tmp_path / "begun"
    begun.mkdir()
    save_config(begun / "config.yaml", TrainCommand())
    for arguments, said in (
        ([good], "compare got 1 run(s)"),
        ([good, good], "the same run twice"),
        ([good, tmp_path / "gone"], "gone has no config.yaml"),
        ([good, damaged], "damaged cannot be read"),
        ([good, begun], "begun has no results yet"),
        ([good, damaged, "out=a", "out=b"], "2 out="),
    ):
        assert main(["compare", *map(str, arguments)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
