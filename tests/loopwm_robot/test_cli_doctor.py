"""The doctor's findings, on this machine and on invented ones."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from loopwm_robot import config
from loopwm_robot.cli import doctor, main
from loopwm_robot.cli.doctor import Finding

REQUIRES = [
    "numpy>=2",
    "mujoco<1",
    "rich>=1",
    "not-there>=1",
    "labmaze; python_version < '3'",
    "pytest; extra == 'test'",
    "not-there-either; extra == 'more'",
]


def test_report_runs_on_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rendering and scheduling depend on the machine, the other rows on the installation.
    monkeypatch.setattr(doctor, "check_packages", lambda: iter([Finding("numpy", "ok", "2 [x]")]))
    monkeypatch.setattr(doctor, "check_configs", lambda: Finding("configs", "ok", "/somewhere"))
    assert main.main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("numpy", "2 [x]", "cores", "torch", "CUDA", "rendering", "SCHED_FIFO", "ffmpeg", "Ready"):
        assert word in text


def test_a_broken_core_gives_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "check_packages", lambda: iter([Finding("numpy", "bad", "not installed")]))
    monkeypatch.setattr(doctor, "check_machine", lambda: iter([]))
    assert doctor.run([]) == 1
    assert "The core cannot work: numpy" in capsys.readouterr().out


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor", "seed=3"]) == 2
    assert "allowed no arguments" in capsys.readouterr().err


def test_packages_are_compared_with_range_and_tested_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(doctor, "tested_versions", lambda: {"numpy": _version("numpy"), "rich": "0.1"})
    found = {finding.subject: finding for finding in doctor.check_packages()}
    assert found["numpy"].state == "ok"
    assert found["mujoco"].state == "bad" and "allowed <1" in found["mujoco"].text
    assert found["rich"].state == "note" and "tested with 0.1" in found["rich"].text
    assert found["not-there"].state == "bad" and "pip install 'not-there>=1'" in found["not-there"].text
    assert found["labmaze"].state == "note" and "not for this Python" in found["labmaze"].text
    assert found["extra test"].state == "ok"
    assert found["extra more"].state == "note" and "not-there-either" in found["extra more"].text


def test_a_clone_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    (finding,) = doctor.check_packages()
    assert finding.state == "bad" and "pip install -e ." in finding.text


def test_without_packaging_the_ranges_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    (finding,) = doctor.check_packages()
    assert finding.subject == "packaging" and finding.state == "bad"


def test_tested_versions_cover_the_core() -> None:
    tested = doctor.tested_versions()
    assert {"torch", "mujoco", "numpy", "gymnasium", "dm-control", "hydra-core", "pytest"} <= set(tested)


def test_tested_versions_are_empty_where_the_list_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "a" / "b" / "doctor.py"))
    assert doctor.tested_versions() == {}


def test_configs_are_found_or_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "config_dir", lambda: tmp_path)
    assert doctor.check_configs() == Finding("configs", "ok", str(tmp_path))

    def gone() -> Path:
        raise FileNotFoundError("configs is gone")

    monkeypatch.setattr(config, "config_dir", gone)
    assert doctor.check_configs() == Finding("configs", "bad", "configs is gone")


def test_torch_that_cannot_be_imported_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor.check_torch()
    assert finding.state == "bad"


def test_an_accelerator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_name=lambda index: f"device {index}"
    )
    cpu = SimpleNamespace(get_cpu_capability=lambda: "DEFAULT")
    fake = SimpleNamespace(cuda=cuda, get_num_threads=lambda: 4, backends=SimpleNamespace(cpu=cpu))
    monkeypatch.setitem(sys.modules, "torch", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"amx_int8", "avx512f"})
    threads, device = doctor.check_torch()
    assert "4 threads" in threads.text and "avx512f, amx_int8" in threads.text
    assert device == Finding("CUDA", "ok", "cuda:0 device 0; device=cuda uses the first, device=cpu is the default")


@pytest.mark.parametrize(("version", "text"), [(None, "this torch is built without"), ("12.8", "built for 12.8, but")])
def test_why_there_is_no_accelerator_is_said(
    version: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", version)
    _, device = doctor.check_torch()
    assert device.state == "note" and device.text.startswith(text)


def test_one_core_and_unknown_memory_are_only_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError(name)))
    for name in ("check_rendering", "check_realtime", "check_ffmpeg"):
        monkeypatch.setattr(doctor, name, lambda: Finding("", "ok", ""))
    monkeypatch.setattr(doctor, "check_torch", lambda: iter([]))
    cores = next(doctor.check_machine())
    assert cores.state == "note" and "memory unknown" in cores.text and "share one core" in cores.text


@pytest.mark.parametrize("works", [True, False])
def test_rendering_and_scheduling_only_limit_what_needs_them(
    monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(doctor, "_try", lambda code, environment: (works, environment["MUJOCO_GL"]))
    rendering = doctor.check_rendering()
    assert rendering.state == ("ok" if works else "note")
    assert rendering.subject == "rendering (osmesa)" and rendering.text.startswith("osmesa")
    monkeypatch.setattr(os, "SCHED_FIFO", 1, raising=False)
    assert doctor.check_realtime().state == ("ok" if works else "note")
    monkeypatch.delattr(os, "SCHED_FIFO")
    assert "not on this system" in doctor.check_realtime().text


def test_a_missing_ffmpeg_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert doctor.check_ffmpeg().state == "note"


def test_attempts_report_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._try("print('a'); print('b')", dict(os.environ)) == (True, "b")
    assert doctor._try("raise SystemExit('no')", dict(os.environ)) == (False, "no")
    assert doctor._try("raise SystemExit(3)", dict(os.environ)) == (False, "exit status 3")

    def late(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(subprocess, "run", late)
    done, text = doctor._try("", {})
    assert not done and "timed out" in text


def test_flags_are_empty_off_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Path, **kwargs: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", gone)
    assert doctor.cpu_flags() == set()


def _version(name: str) -> str:
    return metadata.version(name)
