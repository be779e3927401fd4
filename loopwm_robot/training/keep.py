"""The history of a training: which round is the best so far, and what a folder has kept of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

Entry = dict[str, float]
BEST, LAST = "best.safetensors", "last.safetensors"
"""Checkpoints in the folder of the training state: of the best round, and of the last finished one."""


def rounds(history: Sequence[Entry]) -> list[Entry]:
    """The entries that can be compared: of rounds with planner-made episodes, or of all where there are none."""
    finished = [entry for entry in history if "val_rmse_h5" in entry]
    return [entry for entry in finished if "success_rate" in entry] or finished


def rating(entry: Entry) -> tuple[float, ...]:
    """Larger is better: success of the planner-made episodes, then nearness; without them the open-loop error."""
    if "success_rate" in entry:
        return entry["success_rate"], -entry["final_distance_m_median"]
    return (-entry["val_rmse_h5"],)


def best(history: Sequence[Entry]) -> Entry | None:
    """The entry of the best round, the earlier of equals; None before the first round has ended."""
    return max(rounds(history), key=rating, default=None)


def newest_is_best(history: Sequence[Entry]) -> bool:
    """True when the last entry is of the best round."""
    return bool(history) and best(history) is history[-1]


def saved_states(folder: Path) -> list[Path]:
    """The state files in the folder of a training, the newest last."""
    return sorted(folder.glob("round_*.safetensors"), key=lambda path: int(path.stem.split("_")[1]))


def saved_history(folder: Path) -> list[Entry]:
    """The history in the newest state of a training, without loading its weights; empty where there is none.

    Raises:
        SafetensorError, ValueError, KeyError: the file is damaged or something else.
    """
    saved = saved_states(folder)
    if not saved:
        return []
    with safe_open(saved[-1], framework="np") as file:
        history: list[Entry] = json.loads((file.metadata() or {})["state"])["history"]
    return history
