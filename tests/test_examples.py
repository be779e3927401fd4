"""The examples run, and print what they promise."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.image import imread

import loopwm_robot
from hardware.conformance import ALL_CHECKS, ConformanceError
from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint, save_checkpoint
from loopwm_robot.config import EnvConfig, ModelConfig
from loopwm_robot.models.build import build_model

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_env(capsys: pytest.CaptureFixture[str]) -> None:
    """With too little training to be good: the lines are there, and the baselines come from the data."""
    threads = torch.get_num_threads()
    try:
        load("own_env").main(episodes=4, updates=15, steps=24, samples=24, trials=1)
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    rows = re.findall(r"(\d+) steps ahead: LoopWM ([\d.]+), 'nothing changes' ([\d.]+)", out)
    assert [int(k) for k, _, _ in rows] == [1, 5, 10, 20]
    error, still = ([float(row[i]) for row in rows] for i in (1, 2))
    assert 0 < still[0] < still[1]  # a pendulum moves on
    assert all(math.isfinite(e) for e in error)
    assert error[0] < still[0]  # a new model says "nothing changes", and a few updates improve on that
    assert re.findall(r"Gravity (\d+) m/s\^2: alarm in \d+ %", out) == ["10", "15"]
    returns = dict(re.findall(r"Return with (.+): (.+)", out))
    assert set(returns) == {"random actions", "plans in the model"}
    assert all(-17 * 24 <= float(value) <= 0 for value in returns.values())  # the reward of a step is in [-16.3, 0]


def test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With too little training to be good: the lines and the picture are there, the baseline comes from the data."""
    threads = torch.get_num_threads()
    try:
        load("images").main(tmp_path / "imagined.png", episodes=4, updates=3)
    finally:
        torch.set_num_threads(threads)
    rows = re.findall(r"(\d+) steps ahead: LoopWM ([\d.]+), 'the last picture' ([\d.]+)", capsys.readouterr().out)
    assert [int(k) for k, _, _ in rows] == [1, 3, 5, 10]
    error, still = ([float(row[i]) for row in rows] for i in (1, 2))
    assert 0 < still[0] < still[1] < still[2]  # an arm moves on
    assert all(e < 1.5 for e in error)  # about the mean picture
    assert imread(tmp_path / "imagined.png").shape[:2] == (6 * 64 * 3, 5 * 64 * 3)


def test_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model is enough to follow the README: load, reset, act."""
    config = EnvConfig()
    env = make_env(config)
    spaces = spaces_of(env, config)
    env.close()
    torch.manual_seed(0)
    settings = replace(ModelConfig(), latent_dim=8, heads=1, plan_loops=1)
    model = build_model(settings, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt, spaces.groups)
    save_checkpoint(tmp_path / "checkpoint.safetensors", Checkpoint(model, settings, spaces, {}))
    monkeypatch.setattr(sys, "argv", ["reach.py", str(tmp_path)])
    load("reach")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 60
    times, distances = zip(*(re.findall(r"[\d.]+", line) for line in lines), strict=True)
    assert float(times[1]) == spaces.ctrl_dt
    assert len(set(distances)) > 1 and all(math.isfinite(float(d)) for d in distances)


def test_planning(capsys: pytest.CaptureFixture[str]) -> None:
    """The point goes around the sphere and arrives; a plain function is planned for, too."""
    load("planning").main()
    out = capsys.readouterr().out
    way = [(0.0, 0.0), *((float(x), float(y)) for x, y in re.findall(r"x (\S+) m  y (\S+) m", out))]
    assert len(way) == 16 and "infeasible" not in out
    points = [torch.lerp(*map(torch.tensor, ends), s / 10) for ends in pairwise(way) for s in range(11)]
    assert min(float((p - torch.tensor([0.5, 0.05])).norm()) for p in points) > 0.19  # printed to 1 cm, radius 20 cm
    assert math.dist(way[-1], (1.0, 0.0)) < 0.05
    sums = [float(x) for x in re.findall(r"[\d.]+", out.splitlines()[-1])]
    assert len(sums) == 3 and all(abs(x - 3) < 0.5 for x in sums)


def test_the_package_is_light_and_hands_out_its_model() -> None:
    code = "import sys, loopwm_robot; print('torch' in sys.modules, loopwm_robot.LoopWM.__name__)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == ["False", "LoopWM"]
    with pytest.raises(AttributeError, match="no attribute 'LopWM'"):
        _ = loopwm_robot.LopWM


def test_new_arm(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("new_arm").main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ALL_CHECKS) and sum(line.endswith(" ok") for line in lines) == len(ALL_CHECKS) - 6


@pytest.mark.parametrize(
    ("name", "mistake", "check"),
    [
        ("SIGN", [1.0, 1.0, 1.0], "positions_have_unit_order_and_zero"),
        ("ZERO", [0.0, 2100.0, -4500.0], "positions_have_unit_order_and_zero"),
        ("NAMES", ("elbow", "shoulder", "wrist"), "opening_tells_what_the_arm_is"),
    ],
)
def test_a_mistake_in_the_new_arm_is_found(
    name: str, mistake: Sequence[float], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("new_arm")
    monkeypatch.setattr(module.MyArm, name, np.array(mistake) if name != "NAMES" else mistake)
    with module.MyRig() as rig, pytest.raises(ConformanceError):
        if name == "NAMES":
            rig.limits = replace(rig.limits, names=("shoulder", "elbow", "wrist"))
        ALL_CHECKS[check](rig)
