"""Run folders keep earlier results and write all or nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from loopwm_robot import runs
from loopwm_robot.errors import RequestError
from loopwm_robot.runs import RunFolder, open_log, write_summary, write_text


@dataclass
class Config:
    seed: int = 1


def test_each_run_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.time, "strftime", lambda form: "2026-01-02_03-04-05")
    paths = [RunFolder.create("train", root=tmp_path).path for _ in range(3)]
    assert [path.name for path in paths] == [
        "2026-01-02_03-04-05",
        "2026-01-02_03-04-05_2",
        "2026-01-02_03-04-05_3",
    ]
    assert all(path.parent == tmp_path / "train" for path in paths)


def test_out_may_be_new_or_empty_but_never_holds_anything(tmp_path: Path) -> None:
    assert RunFolder.create("train", tmp_path / "a" / "b").path.is_dir()
    run = RunFolder.create("train", tmp_path / "a" / "b")
    run.write_summary({"x": 1})
    with pytest.raises(RequestError, match="which is not empty"):
        RunFolder.create("train", tmp_path / "a" / "b")
    assert json.loads((run.path / "summary.json").read_text()) == {"x": 1}


def test_a_run_with_its_configuration_can_be_resumed(tmp_path: Path) -> None:
    first = RunFolder.create("train", tmp_path / "run")
    with pytest.raises(RequestError, match=r"allowed a run folder with config\.yaml"):
        RunFolder.create("train", resume=first.path)
    first.save_config(Config())
    again = RunFolder.create("train", resume=first.path)
    assert (again.path, again.resumed, first.resumed) == (first.path, True, False)
    with pytest.raises(RequestError, match="allowed only one of them"):
        RunFolder.create("train", tmp_path / "other", resume=first.path)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_written_gives_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("precious")
    for make in (
        lambda: RunFolder.create("train", tmp_path / "file" / "run"),
        lambda: RunFolder.create("train", tmp_path / "file"),
        lambda: RunFolder.create("train", root=tmp_path / "file"),
    ):
        with pytest.raises(OSError, match=r"output folder .* cannot be written .*; choose another with out="):
            make()
    assert (tmp_path / "file").read_text() == "precious"

    def read_only(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", read_only)
        with pytest.raises(OSError, match="read-only file system"):
            RunFolder.create("train", tmp_path / "run")
    monkeypatch.setattr(runs, "_make_folder", lambda path: None)
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(OSError, match="read-only file system"):
        RunFolder.create("train", root=tmp_path / "runs")


def test_a_thousand_runs_in_one_second_end_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs.time, "strftime", lambda form: "now")
    for attempt in range(1, 1000):
        (tmp_path / "train" / ("now" if attempt == 1 else f"now_{attempt}")).mkdir(parents=True)
    with pytest.raises(FileExistsError):
        RunFolder.create("train", root=tmp_path)


def test_summary_is_flat_plain_json(tmp_path: Path) -> None:
    values = {
        "success_rate": np.float32(0.5),
        "episodes": np.int64(3),
        "done": np.bool_(True),
        "zero": np.array(2.0),
        "env_id": "a/b",
        "bridge.limit_violations": 0,
    }
    file = write_summary(tmp_path / "summary.json", values)
    assert json.loads(file.read_text()) == {
        "success_rate": 0.5,
        "episodes": 3,
        "done": True,
        "zero": 2.0,
        "env_id": "a/b",
        "bridge.limit_violations": 0,
    }


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float64("nan"), None, [1], {"a": 1}, np.zeros(2)]
)
def test_a_summary_that_is_not_finite_and_flat_leaves_the_old_one(tmp_path: Path, value: object) -> None:
    file = write_summary(tmp_path / "summary.json", {"a": 1})
    with pytest.raises(ValueError, match="summary key 'b'"):
        write_summary(file, {"a": 2, "b": value})
    assert json.loads(file.read_text()) == {"a": 1}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_text(tmp_path / "x", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_log_takes_the_packages_and_their_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("hardware.some.part")
    level = logging.getLogger("hardware").level
    with open_log(tmp_path / "log.txt") as log:
        log.info("begin")
        logger.info("quiet")
        logger.warning("loud")
        logging.getLogger("somebody.else").info("foreign")
    logger.warning("after")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO    loopwm_robot: begin" in text and "hardware.some.part: quiet" in text and "loud" in text
    assert "foreign" not in text and "after" not in text
    assert logging.getLogger("hardware").level == level
    screen = capsys.readouterr().err
    assert "WARNING: loud" in screen and "quiet" not in screen


def test_a_failure_is_in_the_log_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), RunFolder.create("train", tmp_path / "run") as run:
        run.log.info("begin")
        raise ValueError("broken")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "begin" in text and "Traceback" in text and "ValueError: broken" in text


def test_an_interrupted_run_without_configuration_offers_no_resume(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, RunFolder.create("train", tmp_path / "run"):
        raise KeyboardInterrupt
    assert not getattr(caught.value, "__notes__", [])


def test_file_makes_the_folder_around_it(tmp_path: Path) -> None:
    run = RunFolder.create("train", tmp_path / "run")
    write_text(run.file("plots/curve.svg"), "x")
    assert (run.path / "plots" / "curve.svg").read_text() == "x"


def test_warnings_of_python_are_not_swallowed(tmp_path: Path) -> None:
    with open_log(tmp_path / "log.txt"), pytest.warns(UserWarning, match="still seen"):
        warnings.warn("still seen", stacklevel=1)
