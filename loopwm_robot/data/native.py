"""Datasets in files of our own: episodes.npz of `loopwm collect`, bridge.npz of `loopwm deploy` and `demo`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .recorded import DatasetError, Raw, Source
from .rows_file import read_rows

EPISODES = "episodes.npz"


def newest_replay(folder: Path) -> Path | None:
    """The replay buffer that a training in one environment left in its run folder; None where there is none."""
    numbered = {path: path.stem.removeprefix("round_") for path in folder.glob("training/round_*.npz")}
    found = {path: int(number) for path, number in numbered.items() if number.isdigit()}
    return max(found, key=lambda path: found[path], default=None)


def read_collected(path: Path) -> tuple[Source, Iterator[Raw]]:
    """Read episodes.npz.

    Raises:
        DatasetError: it is missing, damaged or something else.
    """
    try:
        rows, about = read_rows(path)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return Source(path, **about), _split(rows)


def read_deployed(folder: Path) -> tuple[Source, Iterator[Raw]]:
    """Read what the bridge recorded: actions as applied, not as requested.

    Raises:
        DatasetError: it is damaged, or holds no episode.
    """
    from ..deploy.record import RECORDING, load_recording

    try:
        recording = load_recording(folder)
        summary_file = folder / "summary.json"
        summary = json.loads(summary_file.read_text(encoding="utf-8")) if summary_file.is_file() else {}
        env_id = str(summary.get("env_id", ""))
    except (ValueError, OSError, AttributeError) as error:
        raise DatasetError(f"dataset {folder} cannot be read ({error}); leave it out") from error
    arrays = recording.arrays
    if not {"obs", "action", "goal"} <= set(arrays):
        raise DatasetError(f"dataset {folder / RECORDING} has 0 episodes, allowed >= 1; deploy to one goal or more")

    def episodes() -> Iterator[Raw]:
        for obs, action, goal in zip(arrays["obs"], arrays["action"], arrays["goal"], strict=True):
            yield Raw(obs, action, goal=goal)

    return Source(folder / RECORDING, env_id, "", recording.ctrl_dt), episodes()


def _split(rows: dict[str, np.ndarray]) -> Iterator[Raw]:
    """Rows of a buffer, which may have lost the beginning of an episode, as episodes."""
    remaining = rows["remaining"]
    ends = np.flatnonzero(remaining == 0)
    for end in ends:
        start = end
        while start > 0 and remaining[start - 1] == remaining[start] + 1:
            start -= 1
        if start < end:
            steps = slice(start, end)
            whole = slice(start, end + 1)
            yield Raw(
                rows["obs"][whole],
                rows["action"][steps],
                rows["reward"][steps],
                rows["terminated"][steps],
                rows["achieved"][whole],
                rows["goal"][start],
                rows["image"][whole] if "image" in rows else None,
            )
