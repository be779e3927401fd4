"""Several processes train as one does with the whole batch; one that is lost ends all, and they go on after it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import make_run

from loopwm_robot.checkpoint import load_tensors
from loopwm_robot.errors import RequestError
from loopwm_robot.training.team import Team

ROOT = Path(__file__).parents[2]


def start(folder: Path, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """Both processes to their end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = ROOT / "tests" / "helpers" / "two_processes.py"
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), str(folder), *arguments],
            env={**os.environ, **told, "RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [(p, *p.communicate(timeout=300)) for p in processes]
    return [subprocess.CompletedProcess(p.args, p.returncode, out, errors) for p, out, errors in ended]


def losses(history: list[dict[str, float]]) -> list[list[float]]:
    return [[entry[key] for key in ("update", "loss", "obs", "grad_norm")] for entry in history]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Float tolerance: sums of halves are rounded otherwise; 16 updates of Adam let that grow."""
    both = start(tmp_path / "two")
    assert [p.returncode for p in both] == [0, 0], both[0].stderr + both[1].stderr
    one = make_run(tmp_path / "one")
    one.run()
    first, second = (losses(json.loads(p.stdout)) for p in both)
    assert len(first) == len(one.history) == 4
    for mine, theirs in zip(losses(one.history), first, strict=True):
        assert theirs == pytest.approx(mine, rel=2e-3)
    assert first == second
    tensors, _ = load_tensors(tmp_path / "two" / "round_2.safetensors")
    for name, weight in one.model.state_dict().items():
        assert torch.allclose(tensors[f"model.{name}"], weight, atol=2e-3), name
    assert {"random.generator", "random.generator.1"} <= set(tensors)


@pytest.mark.slow
def test_a_lost_process_ends_the_run_which_goes_on_from_its_last_round(tmp_path: Path) -> None:
    """Generators of both are restored: bit for bit what the unbroken run leaves."""
    assert [p.returncode for p in start(tmp_path / "a")] == [0, 0]
    lead, dead = start(tmp_path / "b", "DIE")
    assert (lead.returncode, dead.returncode) == (1, 9), lead.stderr
    line = [text for text in lead.stderr.splitlines() if text.startswith("loopwm: error")]
    assert len(line) == 1 and "process 0 of 2 lost another one" in line[0] and "resume=FOLDER" in line[0]
    assert "Traceback" not in lead.stderr
    assert [p.returncode for p in start(tmp_path / "b")] == [0, 0]
    unbroken, resumed = (load_tensors(tmp_path / name / "round_2.safetensors")[0] for name in ("a", "b"))
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in unbroken.items())


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(RequestError, match="batch_size is 255 for 2 processes, allowed multiples of 2"):
        Team(0, 2).check(255, "cpu")
    with pytest.raises(RequestError, match="device is 'cuda' for 2 processes, allowed cpu"):
        Team(0, 2).check(256, "cuda")
    Team().check(255, "cuda")
    assert [Team(rank, 2).part(8) for rank in range(2)] == [slice(0, 4), slice(4, 8)]
