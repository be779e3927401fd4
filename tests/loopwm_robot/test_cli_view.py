"""`loopwm view`: begins, ends by itself or by Ctrl-C, and says what does not fit."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from envs import GeomMesh
from loopwm_robot.cli import view
from loopwm_robot.config import ViewConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.view.frame import Frame
from loopwm_robot.view.readings import numbers
from loopwm_robot.view.scene import merged, segments
from planners import Plan

HAS_VISER = importlib.util.find_spec("viser") is not None
needs_viser = pytest.mark.skipif(not HAS_VISER, reason="the extra 'view' is not installed")
QUICK = [
    *("planner=cem_fast", "planner.model=simulator"),
    *("planner.num_samples=8", "planner.num_elites=4", "planner.keep_elites=2"),
]


@needs_viser
def test_it_ends_by_itself_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert view.run([*QUICK, "view.port=0", "view.steps=2"]) == 0
    text = capsys.readouterr().out
    assert re.fullmatch(r"view at http://127\.0\.0\.1:\d+; Ctrl-C ends it\nview ended after 2 control steps\n", text)
    assert not list(tmp_path.iterdir())


@needs_viser
def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"view.port {port}, which cannot be listened on .*view.port=0 takes"):
            view.run([*QUICK, f"view.port={port}", "view.steps=1"])


def test_without_viser_it_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(RequestError, match=r"needs viser .*pip install 'loopwm-robot\[view\]'"):
        view.run([*QUICK, "view.steps=1"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(RequestError, match="checkpoint is not given"):
        view.run([])
    with pytest.raises(RequestError, match=r"env.id is 'MountainCarContinuous-v0', allowed environments of ours"):
        view.run([*QUICK, "env.id=MountainCarContinuous-v0", "env.control_mode=", "env.reward="])
    with pytest.raises(RequestError, match=r"view.port is 70000, allowed \[0, 65535\]"):
        view.run(["view.port=70000"])
    assert ViewConfig().host == "127.0.0.1"


def test_numbers_in_words():
    plan = Plan(  # type: ignore[arg-type]
        np.zeros((2, 1)), np.zeros((2, 1)), -1.25, 0.05, 3, 4, 0.01, scored=96, scored_shallow=40, violation=0.5
    )
    nothing = Frame(7, np.zeros(1), np.zeros(3, np.float32))
    assert numbers(nothing) == "| | |\n|---|---|\n| step | 7 |"
    frame = Frame(
        7, np.zeros(1), np.zeros(3, np.float32), plan, plan_time=0.06, deadline=0.05, loops=2.5, missed=0.0012,
        distance=0.034, success=True,
    )  # fmt: skip
    text = numbers(frame)
    for part in (
        "| distance | 3.4 cm, **reached** |",
        "| score | -1.250, breaks a constraint by 0.5 |",
        "| planning | 60.0 of 50 ms **late** |",
        "| iterations | 3, 96 candidates scored |",
        "| shallow | 40 candidates scored |",
        "| not finite | 4 candidates |",
        "| loops | 2.50 a transition |",
        "| foreseen | 1 step ahead, 1.2 mm off |",
    ):
        assert part in text


def test_paths_are_cut_and_meshes_are_put_together():
    paths = np.arange(18, dtype=float).reshape(2, 3, 3)
    lines = segments(paths)
    assert lines.shape == (4, 2, 3)
    assert np.array_equal(lines[1], paths[0, 1:]) and np.array_equal(lines[2], paths[1, :2])
    grey, red = (0.5, 0.5, 0.5, 1.0), (1.0, 0.0, 0.0, 1.0)
    triangle, corners = np.array([[0, 1, 2]]), np.eye(3)
    parts = [GeomMesh(f"{i}", i // 3, corners + i, triangle, red if i == 1 else grey) for i in range(4)]
    by_colour, by_body = merged(parts, colours=True), merged(parts, colours=False)
    assert [(m.body, m.rgba, len(m.faces)) for m in by_colour] == [(0, grey, 2), (0, red, 1), (1, grey, 1)]
    assert [(m.body, len(m.faces)) for m in by_body] == [(0, 3), (1, 1)]
    for whole in (by_colour, by_body):
        drawn = [m.vertices[face] for m in whole for face in m.faces]
        assert sorted(t[0, 1] for t in drawn) == [0, 1, 2, 3] and all(np.ptp(t, axis=0).max() == 1 for t in drawn)


@needs_viser
@pytest.mark.slow
def test_ctrl_c_is_a_good_end(tmp_path: Path):
    """It listens, hands out viser's page, and ends with status 0."""
    root = Path(view.__file__).resolve().parents[2]
    command = [sys.executable, "-m", "loopwm_robot.cli.main", "view", *QUICK, "view.port=0"]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url is not None
        with urllib.request.urlopen(url[0], timeout=60) as page:
            assert b"viser" in page.read().lower()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and re.search(r"view ended after \d+ control steps\n", out), err
    assert "Traceback" not in err
