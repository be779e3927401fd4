"""Which checkpoints a training keeps, and the batch that it failed on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.determinism import deterministic
from loopwm_robot.training.keep import best, newest_is_best
from loopwm_robot.training.refused import load_batch, save_batch
from loopwm_robot.types import Episode


def finished(number: int, error: float, success: float | None = None, distance: float = 0.1) -> dict[str, float]:
    entry = {"round": number, "val_rmse_h5": error}
    return entry if success is None else {**entry, "success_rate": success, "final_distance_m_median": distance}


def test_success_then_nearness_decides_and_the_earlier_of_equals_stays() -> None:
    history = [{"update": 25.0, "loss": 1.0}]
    assert best(history) is None and not newest_is_best(history) and not newest_is_best([])
    kept = []
    for entry in (
        finished(1, 0.9, 0.5),
        finished(2, 0.1, 0.4),  # errs less, reaches less
        finished(3, 0.9, 0.5),  # the same again
        finished(4, 0.9, 0.5, 0.05),
        finished(5, 0.9, 0.6, 0.2),
        finished(6, 0.01),  # the last round collects nothing
    ):
        history.append(entry)
        if newest_is_best(history):
            kept.append(entry["round"])
    assert kept == [1, 4, 5] and best(history)["round"] == 5


def test_without_episodes_the_error_decides() -> None:
    history = [finished(1, 0.5), finished(2, 0.3), finished(3, 0.4)]
    assert best(history)["round"] == 2


def test_a_batch_survives_its_file(tmp_path) -> None:
    buffer = ReplayBuffer(20, 2, 1, 1)
    rng = np.random.default_rng(0)
    parts = (rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), np.ones(1), rng.uniform(-1, 1, (8, 1)), np.ones(8))
    arrays = [np.asarray(part, np.float32) for part in parts]
    buffer.add(Episode(*arrays, np.zeros(8, bool), np.zeros(8, bool), 0.1, "x", 0))
    for context in (0, 3):
        batch = buffer.sample(4, 2, rng, context=context)
        save_batch(tmp_path / "sub" / "batch.npz", batch)
        again = load_batch(tmp_path / "sub" / "batch.npz")
        assert torch.equal(again.obs, batch.obs) and torch.equal(again.mask, batch.mask) and again.image is None
        assert (again.history is None) == (context == 0)
        if batch.history is not None:
            assert torch.equal(again.history.action, batch.history.action)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "sub" / "batch.npz").read_bytes()[:100])
    for name in ("cut.npz", "missing.npz"):
        with pytest.raises(ValueError, match=rf"batch .*{name} cannot be read"):
            load_batch(tmp_path / name)


def test_determinism_is_asked_for_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="broken"), deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("broken")
    assert not torch.are_deterministic_algorithms_enabled()
