"""Wheel and sdist are whole; the wheel installs into a bare environment and works there, far from the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints" / "tested.txt"

pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path) -> str:
    # A bare environment: nothing of this process's search path or coverage.
    dropped = ("PYTHON", "COVERAGE", "COV_", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


def test_the_wheel_holds_the_packages_and_the_configs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"loopwm_robot", "envs", "planners", "hardware"}
    configs = {file.relative_to(ROOT).as_posix() for file in (ROOT / "configs").rglob("*.yaml")}
    assert configs
    assert configs == {
        name.removeprefix("loopwm_robot/") for name in names if name.startswith("loopwm_robot/configs/")
    }
    assert "loopwm_robot/tested.txt" in names
    assert {file.relative_to(ROOT).as_posix() for file in (ROOT / "envs").rglob("*.xml")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_its_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "Makefile",
        "constraints/tested.txt",
        "tests/test_layout.py",
    } <= names
    assert not any(name.startswith((".venv", "runs", "dist")) for name in names)


def test_the_wheel_installs_into_a_bare_environment_and_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")  # made from the sdist, so that speaks for both
    _run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python, loopwm = (tmp_path / "venv" / "bin" / name for name in ("python", "loopwm"))
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", CONSTRAINTS, wheel)
    _run(python, *install, cwd=tmp_path)
    _run(python, "-m", "pip", "check", cwd=tmp_path)

    report = _run(loopwm, "doctor", cwd=tmp_path)
    assert "Ready." in report
    assert str(ROOT) not in report

    _run(loopwm, "demo", "experiment=smoke", "out=smoke run", cwd=tmp_path)
    summary = json.loads((tmp_path / "smoke run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["episodes"] >= 1
    assert summary["env_id"] == "LoopWM/PandaReach-v0"
    assert {"success_rate", "final_distance_m_median", "plan_time_s_p50", "parameters", "seed"} <= set(
        summary
    )
    for name in ("config.yaml", "log.txt", "report.html"):
        assert (tmp_path / "smoke run" / name).stat().st_size > 0
