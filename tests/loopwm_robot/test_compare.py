"""Runs side by side: their figures, what differs, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import HISTORY, write_run

from loopwm_robot.cli.main import main
from loopwm_robot.config import TrainCommand
from loopwm_robot.report.compare import read_runs, settings, short_names
from loopwm_robot.runs import save_config


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
