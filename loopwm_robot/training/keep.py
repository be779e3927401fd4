"""Which round of a training is the best so far, from the history that the run keeps."""

from __future__ import annotations

from collections.abc import Sequence

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
