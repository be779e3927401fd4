"""`loopwm emulate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hardware import emulators
from loopwm_robot.cli import emulate
from loopwm_robot.errors import RequestError


@pytest.fixture
def started(monkeypatch):
    """What would be started: name and arguments."""
    calls = []
    monkeypatch.setattr(emulate, "load", lambda name: lambda arguments: calls.append((name, list(arguments))) or 0)
    return calls


def test_without_a_name_it_lists_the_emulators(capsys):
    assert emulate.run([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in emulators.EMULATORS)


def test_an_unknown_name_lists_the_known(started):
    with pytest.raises(RequestError, match=r"unknown emulator 'toaster'; known: .*dynamixel"):
        emulate.run(["toaster"])


def test_the_arm_comes_from_the_configuration(started):
    assert emulate.run(["dynamixel", "arm=panda_dynamixel", "arm.driver_kwargs={port: /tmp/elsewhere}"]) == 0
    ((name, arguments),) = started
    arm = json.loads(arguments[arguments.index("--arm") + 1])
    assert name == "dynamixel" and arguments[arguments.index("--link") + 1] == "/tmp/elsewhere"
    assert [servo["joint"] for servo in arm["servos"]] == [f"joint{i}" for i in range(1, 8)]
    assert emulate.run(["dynamixel"]) == 0 and started[1][1][1] == arguments[1]


def test_an_arm_that_is_driven_in_another_way_is_refused(started):
    with pytest.raises(RequestError, match=r"arm\.driver is 'sim'"):
        emulate.run(["dynamixel", "arm=panda_sim"])


def test_arguments_of_its_own_go_through(started):
    assert emulate.run(["dynamixel", "--arm", "file.json"]) == 0
    assert started == [("dynamixel", ["--arm", "file.json"])]


def test_as_a_process_it_is_ready_and_quits(tmp_path):
    port = tmp_path / "bus"
    result = subprocess.run(
        [sys.executable, "-m", "loopwm_robot.cli.main", "emulate", "dynamixel", f"arm.driver_kwargs={{port: {port}}}"],
        input="truth\nnonsense\nquit\n",
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    ready, truth, refused, ended = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 0 and ready["ready"]["port"] == str(port)
    assert len(truth["q"]) == 7 and "unknown" in refused["error"] and ended == {"ok": True}
    assert not port.is_symlink()
