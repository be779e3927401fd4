"""A training that is killed at any moment, again and again, ends as the unbroken one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loopwm_robot.checkpoint import load_tensors

ROOT = Path(__file__).parents[2]
TIMES = ("train_time_s", "wall_time_s")


def parts(folder: Path, name: str) -> tuple[dict[str, list[Any]], list[dict[str, float]]]:
    """The tensors of a file in a run folder, and the history of losses that it holds but for its times."""
    tensors, header = load_tensors(folder / name)
    history = json.loads(header.get("state", "{}")).get("history", [])
    kept = [{key: value for key, value in entry.items() if key != "wall_time_s"} for entry in history]
    return {key: tensor.tolist() for key, tensor in tensors.items()}, kept


@pytest.mark.slow
def test_a_killed_training_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    """Weights, optimiser, losses: bit for bit, for the CPU always adds in the same order."""
    program = ROOT / "tests" / "helpers" / "killed_runs.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "0"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    attempts = [json.loads(line) for line in done.stdout.splitlines()]
    statuses = [entry["status"] for entry in attempts]
    assert statuses[-1] == 0 and set(statuses[:-1]) == {-signal.SIGKILL}, done.stderr
    assert len(attempts) >= 4 and any(entry["resumed"] for entry in attempts)
    left = attempts[-1]["left"]
    assert not [name for name in left if name.endswith(".tmp")]
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    names = ["checkpoint", *(f"training/{name}" for name in ("best", "last", "round_2"))]
    for name in names:
        assert parts(killed, f"{name}.safetensors") == parts(unbroken, f"{name}.safetensors"), name
    summaries = [json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in (killed, unbroken)]
    for summary in summaries:
        for key in TIMES:
            assert summary.pop(key) > 0
    assert summaries[0] == summaries[1]
