"""Commands, help and exit statuses."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import loopwm_robot
from hardware.errors import SafetyStop
from loopwm_robot.cli import compose as compose_module
from loopwm_robot.cli import errors, main
from loopwm_robot.errors import RequestError
from loopwm_robot.runs import RunFolder
from loopwm_robot.schema import field_types

Command = Callable[[Callable[[list[str]], int]], None]


@dataclass
class Schema:
    """Keys.

    Attributes:
        seed: of everything.
    """

    seed: int = 1


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Put a command named `try` into the table."""

    def put(run: Callable[[list[str]], int]) -> None:
        module = types.ModuleType("try_command", "Tries.\n\nA second paragraph.")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "try_command", module)
        monkeypatch.setitem(main.COMMANDS, "try", ("try_command", "try something"))

    return put


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def run(overrides: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_usage_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(arguments) == 0
    text = capsys.readouterr().out
    for name, (_, meaning) in main.COMMANDS.items():
        assert name in text and meaning in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"loopwm {loopwm_robot.__version__}\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_there(name: str) -> None:
    module = importlib.import_module(main.COMMANDS[name][0])
    assert callable(module.run)
    assert hasattr(module, "SCHEMA") == hasattr(module, "CONFIG_NAME")


def test_unknown_command_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["trian"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("loopwm: error: unknown command 'trian'; known: ")
    assert all(name in line for name in main.COMMANDS)
    assert line.count("\n") == 1


def test_arguments_reach_the_command_and_its_status_comes_back(command: Command) -> None:
    seen: list[str] = []

    def run(overrides: list[str]) -> int:
        seen.extend(overrides)
        return 5

    command(run)
    assert main.main(["try", "a=1", "b=2"]) == 5
    assert seen == ["a=1", "b=2"]


def test_help_of_a_plain_command_is_its_docstring(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(AssertionError("help must not run it")))
    assert main.main(["try", "--help"]) == 0
    assert "A second paragraph." in capsys.readouterr().out


def test_help_of_a_configured_command_lists_its_keys(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command(raising(AssertionError("help must not run it")))
    module = sys.modules["try_command"]
    module.SCHEMA, module.CONFIG_NAME = Schema, "try"  # type: ignore[attr-defined]
    (tmp_path / "try.yaml").write_text("seed: 4\n")
    monkeypatch.setattr(compose_module, "_config_dir", lambda folder: tmp_path)
    assert main.main(["try", "--help"]) == 0
    assert "seed 4 of everything." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RequestError("seed is -1,\n  allowed 0"), 2, "loopwm: error: seed is -1, allowed 0\n"),
        (ValueError("bad data"), 1, "loopwm: error: bad data\n"),
        (ValueError(), 1, "loopwm: error: ValueError\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "loopwm: error: Permission denied: /x/y\n"),
        (OSError("disk"), 1, "loopwm: error: disk\n"),
        (ImportError("no module"), 1, "loopwm: error: no module\n"),
        (SafetyStop("latched"), 1, "loopwm: error: latched\n"),
    ],
)
def test_expected_failures_give_one_line(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    line: str,
) -> None:
    command(raising(error))
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    assert main.main(["try"]) == status
    assert capsys.readouterr().err == line
    monkeypatch.setenv("LOOPWM_DEBUG", "1")
    assert main.main(["try"]) == status
    text = capsys.readouterr().err
    assert "Traceback" in text and text.endswith(line)


@pytest.mark.parametrize("error", [KeyError("k"), TypeError("t"), RuntimeError("r"), AssertionError("a")])
def test_a_bug_shows_its_traceback(
    command: Command, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    command(raising(error))
    assert main.main(["try"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text and "this is a bug" in text


def test_an_interrupted_run_says_how_to_go_on(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(overrides: list[str]) -> int:
        with RunFolder.create("try", tmp_path / "a run") as folder:
            folder.save_config(Schema())
            raise KeyboardInterrupt

    command(run)
    assert main.main(["try"]) == 130
    text = capsys.readouterr().err
    assert f"go on with: loopwm try resume='{tmp_path / 'a run'}'" in text
    assert "Traceback" not in text

    command(raising(KeyboardInterrupt()))
    monkeypatch.setenv("LOOPWM_DEBUG", "1")
    assert main.main(["try"]) == 130
    text = capsys.readouterr().err
    assert "nothing to resume" in text and "Traceback" in text


PLAIN = ("doctor", "bench", "emulate", "compare", "view")
"""Commands without a configuration."""


@pytest.mark.parametrize("name", [name for name in main.COMMANDS if name not in (*PLAIN, "sweep")])
def test_only_what_can_be_resumed_says_so(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(main.COMMANDS[name][0])
    folder = RunFolder.create(name, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt) as caught, folder:
        folder.save_config(Schema())
        raise KeyboardInterrupt
    assert bool(getattr(caught.value, "__notes__", [])) == ("resume" in field_types(module.SCHEMA))


def test_a_reader_that_leaves_early_is_no_failure_to_report(tmp_path: Path) -> None:
    code = (
        "import sys; from loopwm_robot.cli.errors import run_guarded\n"
        "def work():\n    for i in range(100000): print(i)\n    return 0\n"
        "sys.exit(run_guarded(work))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=_root(), text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 1


def test_the_module_runs_as_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "loopwm_robot.cli.main", "nope"],
        cwd=_root(),
        env={**os.environ, "LOOPWM_DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("loopwm: error: unknown command 'nope'")


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys, loopwm_robot.cli.main as m; m.main(['--help'])\n"
        "heavy = {'torch', 'mujoco', 'hydra', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=_root(), capture_output=True, text=True, timeout=60
    )
    assert result.stderr.strip() == "[]"


def test_one_line_is_never_empty() -> None:
    assert errors.one_line(KeyError()) == "KeyError"
    noted = ValueError("a")
    noted.add_note("and b")
    assert errors.one_line(noted) == "a; and b"
    assert errors.one_line(FileNotFoundError(2, "No such file", "a")) == "No such file: a"


def _root() -> Path:
    return Path(loopwm_robot.__file__).parents[1]
