"""What is compiled does what its source says, never compiles within a tick, and is never out of date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hardware
from hardware import Guard, SafetyFilter, compiled, geometry, joint_law, tick, trajectory

from .test_guard import CHAIN, DT, LIMITS, SCENE, START, hostile

MODULES = (geometry, joint_law, tick, trajectory)


def commands() -> np.ndarray:
    """Commands, speeds and reasons (ticks, 3 arms, 9) of a guarded filter under hostile requests."""
    f, rng, rows = SafetyFilter(LIMITS, DT, guard=Guard(CHAIN, SCENE, DT)), np.random.default_rng(3), []
    f.reset(np.tile(START, (3, 1)))
    for k in range(60):
        out = f.step(hostile(rng, f.q, 40 * k), None if k % 2 else 0.1 * np.ones((3, 3)), 0.7 if k % 5 else 1.0)
        rows.append(np.concatenate([out.q, out.dq, out.reasons], axis=-1))
    return np.array(rows)


def signatures() -> dict[str, int]:
    return {
        f"{module.__name__}.{name}": len(function.signatures)
        for module in MODULES
        for name, function in vars(module).items()
        if hasattr(function, "signatures")
    }


def test_the_machine_code_does_what_the_source_says(tmp_path):
    """The same stream in an interpreter alone, where Numba compiles nothing, and with every index checked."""
    script = (
        "import sys, numpy; from hardware import joint_law; from tests.hardware.test_compiled import commands; "
        "assert not hasattr(joint_law.advance, 'signatures'); numpy.save(sys.argv[1], commands())"
    )
    root = Path(hardware.__file__).parents[1]
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.npy")], cwd=root, env=env, timeout=120)
    assert done.returncode == 0
    expected, found = np.load(tmp_path / "a.npy"), commands()
    assert len(np.unique(found[..., 6:])) > 5
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("guarded", [True, False])
def test_nothing_is_compiled_after_the_filter_was_made(guarded):
    f = SafetyFilter(LIMITS, DT, guard=Guard(CHAIN, SCENE, DT) if guarded else None)
    known, rng = signatures(), np.random.default_rng(0)
    for start in (START, np.tile(START, (4, 1)), np.asfortranarray(np.tile(START, (2, 1))), np.tile(START, (2, 3, 1))):
        f.reset(start)
        for k in range(200):
            request = hostile(rng, np.tile(START, (start.size // 3, 1)), 37 * k).reshape(start.shape)
            request.flags.writeable = bool(k % 2)
            velocity = np.asfortranarray(0.1 * request)[..., ::-1] if k % 3 else None
            for given in (request, request.tolist(), np.asfortranarray(request), request.astype(np.float32)):
                f.step(given, velocity, np.float64(0.5) if k % 7 else 1)
            if k % 50 == 49:
                f.brake()
    assert signatures() == known and known["hardware.tick.tick_apart"] == 1


def test_machine_code_is_kept_for_one_state_of_all_files_alone(tmp_path):
    folder = Path(compiled.__file__).parent
    with_compiled = {p.name for p in folder.rglob("*.py") if "from .compiled import" in p.read_text()}
    assert with_compiled | {"compiled.py"} == set(compiled.FILES)
    kept = compiled.cache_folder()
    assert kept is not None and kept.name.endswith(compiled.stamp(folder))
    for name in compiled.FILES:
        shutil.copy(folder / name, tmp_path)
    assert compiled.stamp(tmp_path) == compiled.stamp(folder)
    for name in compiled.FILES:
        before, file = compiled.stamp(tmp_path), tmp_path / name
        file.write_text(file.read_text() + "\n")
        assert compiled.stamp(tmp_path) != before


def test_where_nothing_can_be_written_functions_are_compiled_all_the_same(monkeypatch):
    monkeypatch.setattr(compiled, "_FOLDER", None)
    double = compiled.compiled(lambda x: 2.0 * x)
    assert double(3.0) == 6.0 and len(double.signatures) == 1
    monkeypatch.setattr(compiled.os, "access", lambda *_: False)
    assert compiled.cache_folder() is None
