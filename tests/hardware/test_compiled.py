"""What is compiled does what its source says, never compiles within a tick, and is never out of date."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hardware
from hardware import Guard, SafetyFilter, geometry, joint_law

from .test_guard import CHAIN, DT, LIMITS, SCENE, START, hostile

MODULES = (joint_law, geometry)


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
    assert signatures() == known and known["hardware.joint_law.advance"] == 1


def test_compiled_functions_use_only_what_stands_in_their_own_file():
    """Numba looks at no other file when it decides whether its machine code is out of date."""
    for module in MODULES:
        tree = ast.parse(Path(module.__file__).read_text())
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level
            for alias in node.names
        }
        checked = 0
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Name) and d.id == "compiled" for d in node.decorator_list
            ):
                used = {n.id for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)}
                assert not used & imported, (node.name, used & imported)
                checked += 1
        assert checked >= 8
