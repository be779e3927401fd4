"""Curves for TensorBoard and W&B: what is sent, and what happens where they are missing."""

from __future__ import annotations

import importlib.util
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from loopwm_robot.config import TrainCommand
from loopwm_robot.errors import RequestError
from loopwm_robot.tracking import TrackingError, check_tracking, tag, tracking

HISTORY = [
    {"update": 25, "round": 1, "wall_time_s": 1.0, "loss": 2.0, "obs": 1.5, "learning_rate": 1e-3},
    {"update": 50, "round": 1, "wall_time_s": 2.0, "loss": 1.0, "obs": 0.5, "learning_rate": 2e-3},
]
ROUND = {**HISTORY[-1], "val_rmse_h1": 0.1, "success_rate": 0.5}


def events(folder: Path) -> list[Any]:
    """All events in order; a record is its length, a checksum, the event and a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_curves_are_grouped() -> None:
    names = {key: tag(key) for key in ROUND if key != "update"}
    assert names == {
        "round": "run/round",
        "wall_time_s": "run/wall_time_s",
        "loss": "loss/total",
        "obs": "loss/obs",
        "learning_rate": "run/learning_rate",
        "val_rmse_h1": "held_out/rmse_h1",
        "success_rate": "planned/success_rate",
    }


def test_tensorboard_gets_each_number_once_and_forgets_what_is_done_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with tracking(tmp_path, TrainCommand(), tensorboard=True, wandb=False, updates=0) as note:
        for entry in (*HISTORY, ROUND):
            note(entry)
    scalars = [(e.step, v.tag, v.simple_value) for e in events(tmp_path / "tensorboard") for v in e.summary.value]
    assert len(scalars) == len({(step, name) for step, name, _ in scalars}) == 2 * 5 + 2
    assert (50, "loss/total", 1.0) in scalars and (50, "planned/success_rate", 0.5) in scalars
    with tracking(tmp_path, TrainCommand(), tensorboard=True, wandb=False, updates=25) as note:
        note(HISTORY[1])
    starts = [e.step for e in events(tmp_path / "tensorboard") if e.HasField("session_log")]
    assert starts[-1] == 26  # a reader drops what it has from this step on


def test_without_tensorboardx_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hide(monkeypatch, "tensorboardX")
    with caplog.at_level("INFO"), tracking(tmp_path, TrainCommand(), True, False, 0) as note:
        note(ROUND)
    assert "pip install 'loopwm-robot[tensorboard]'" in caplog.text and not list(tmp_path.iterdir())


def test_wandb_is_missed_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "wandb")
    check_tracking(wandb=False)
    with pytest.raises(RequestError, match=r"wandb is not installed; pip install 'loopwm-robot\[wandb\]'"):
        check_tracking(wandb=True)


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.settings, self.sent, self.exit_code = settings, [], None

    def log(self, values: dict[str, float], step: int) -> None:
        self.sent.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_wandb_gets_settings_numbers_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[FakeRun] = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **settings: runs.append(FakeRun(**settings)) or runs[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    with tracking(tmp_path, TrainCommand(seed=3), False, True, 0) as note:
        note(HISTORY[0])
    with pytest.raises(ValueError, match="broken"), tracking(tmp_path, TrainCommand(seed=3), False, True, 0):
        raise ValueError("broken")
    first, second = runs
    assert first.settings["config"]["seed"] == 3 and first.settings["project"] == "loopwm-robot"
    assert first.settings["id"] == second.settings["id"] and first.settings["resume"] == "allow"
    assert first.sent == [(25, {tag(key): value for key, value in HISTORY[0].items() if key != "update"})]
    assert (first.exit_code, second.exit_code) == (0, 1)

    def unreachable(**_: Any) -> None:
        raise OSError("no network")

    fake.init = unreachable  # type: ignore[attr-defined]
    with pytest.raises(TrackingError, match=r"did not start \(no network\); set WANDB_MODE=offline"):
        tracking(tmp_path, TrainCommand(), False, True, 0).__enter__()


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *m: None if wanted == name else find(wanted, *m))
