"""The layout of the repository and the rules between its packages."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import loopwm_robot

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("loopwm_robot", "envs", "planners", "hardware")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def _tracked() -> list[Path]:
    """Text files that belong to the project: those git knows, or all of an unpacked sdist."""
    if shutil.which("git") and (ROOT / ".git").exists():
        names = _run("git", "ls-files", "-z").stdout.split("\0")
        files = [ROOT / name for name in names if name]
    else:
        files = [file for name in (*PACKAGES, "tests", "configs") for file in (ROOT / name).rglob("*")]
    kinds = {".py", ".toml", ".md", ".yaml", ".yml", ".txt", ".xml", ".json", ".cfg", ".html", ".svg", ""}
    return [file for file in files if file.is_file() and file.suffix in kinds]


def test_top_level_is_what_was_agreed() -> None:
    for name in (*PACKAGES, "configs", "tests"):
        assert (ROOT / name).is_dir(), name
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile"):
        assert (ROOT / name).is_file(), name
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file(), package


def test_configs_and_tests_are_folders_of_files_not_packages() -> None:
    for folder in ("configs", "tests"):
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_import_rules_hold() -> None:
    result = _run(
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as f; f(['--no-cache'])"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_packages_import_their_own_modules_relatively() -> None:
    absolute = []
    for file in SOURCES:
        own = file.relative_to(ROOT).parts[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            if any(name.partition(".")[0] == own for name in names):
                absolute.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not absolute


def test_nothing_unpickles() -> None:
    """A checkpoint or a data set from elsewhere must not be able to run code."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            bad = any(name.partition(".")[0] in modules for name in names)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                bad = node.func.attr == "load" and isinstance(owner, ast.Name) and owner.id == "torch"
                bad = bad or any(
                    keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True) is not False
                    for keyword in node.keywords
                )
            if bad:
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("hardware", {"torch", "mujoco", "gymnasium", "envs", "planners", "loopwm_robot"}),
        ("envs", {"torch", "planners", "hardware", "loopwm_robot"}),
        ("planners", {"mujoco", "gymnasium", "envs", "hardware", "loopwm_robot"}),
    ],
)
def test_a_package_loads_without_what_it_does_not_need(package: str, forbidden: set[str]) -> None:
    code = f"import sys, {package}; print(sorted({forbidden!r} & set(sys.modules)))"
    assert _run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_no_path_of_a_machine_is_written_down() -> None:
    pattern = re.compile(r"(?<![\w.$}])/(?:work|root|home)/\w")
    found = []
    for file in _tracked():
        if file == Path(__file__).resolve():
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


def test_the_pins_lie_in_the_ranges_and_cover_every_dependency() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints" / "tested.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    for requirement in map(requirements.Requirement, wanted):
        if requirement.name == project["name"]:
            continue
        assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement


def test_the_distribution_cannot_be_uploaded_by_accident() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]


def test_the_guard_accepts_this_project() -> None:
    loopwm_robot._check_siblings()


@pytest.mark.parametrize(
    "message",
    ["package 'envs' resolves to {other}, but loopwm_robot needs {own}", "package 'envs' was not found"],
)
def test_the_guard_names_both_places(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        if "not found" in message:
            raise ValueError("envs.__spec__ is None")
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / name)]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", find)
    expected = message.format(other=tmp_path / "envs", own=ROOT / "envs")
    with pytest.raises(ImportError, match=re.escape(expected)):
        loopwm_robot._check_siblings()


def test_the_guard_stops_a_stranger_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "planners").mkdir()
    (tmp_path / "planners" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import loopwm_robot"
    result = _run(sys.executable, "-c", code, cwd=tmp_path)
    assert result.returncode == 1
    assert str(tmp_path / "planners") in result.stderr and str(ROOT / "planners") in result.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("script", ["#!/bin/sh\ncase $2 in *print*) echo 3.9;; *) exit 1;; esac\n", None])
def test_make_says_which_python_it_needs(tmp_path: Path, script: str | None) -> None:
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    result = _run("make", "test", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert result.returncode != 0
    found = f"{python} (3.9)" if script else "none"
    assert f"Python 3.11 or newer is needed, found: {found}; install one" in result.stderr
    assert not (tmp_path / "venv").exists()
