"""LeRobot datasets of version 3.0, in and out, through pyarrow alone (extra `loopwm-robot[lerobot]`).

Layout and names from https://huggingface.co/docs/lerobot/lerobot-dataset-v3 and from meta/info.json of published
datasets. A frame is an observation and the action taken after it, so an episode of T frames gives T - 1 transitions:
the observation after the last action is not part of the format.

    meta/info.json                             sizes, rate, names and shapes of the columns
    meta/tasks.parquet                         the tasks in words
    meta/episodes/chunk-000/file-000.parquet   where each episode begins and ends
    meta/stats.json                            mean, deviation, range of each column
    data/chunk-000/file-000.parquet            the frames
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runs import write_text
from ..types import Episode
from .recorded import DatasetError, Raw, Source

INFO = "meta/info.json"
VERSION = "v3.0"
STATE, ACTION, REWARD, DONE = "observation.state", "action", "next.reward", "next.done"
ACHIEVED, GOAL = "observation.achieved_goal", "observation.desired_goal"
INDICES = ("frame_index", "episode_index", "index", "task_index")
FIRST = {"chunk_index": 0, "file_index": 0}
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS = "meta/tasks.parquet"
ROBOT = "LoopWM/"
"""How robot_type begins where the dataset is ours: it is the id of the environment."""


def read(folder: Path) -> tuple[Source, Iterator[Raw]]:
    """Read a dataset: observation.state and action, and rewards and goals where there are some.

    Raises:
        DatasetError: it is damaged, of another version, or pyarrow is not installed.
    """
    pa = installed()
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        version, features = str(info["codebase_version"]), info["features"]
        interval = 1 / float(info["fps"])
        names = (features.get(ACTION) or {}).get("names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DatasetError(f"dataset {folder / INFO} cannot be read ({error!r}); download it again") from error
    if not version.startswith("v3."):
        raise DatasetError(f"dataset {folder} has LeRobot version {version}, allowed {VERSION}; convert it by lerobot")
    columns = [name for name in (STATE, ACTION, REWARD, DONE, ACHIEVED, GOAL) if name in features]
    for name in (STATE, ACTION):
        if name not in features:
            raise DatasetError(f"dataset {folder} has no {name}, allowed datasets with {STATE} and {ACTION}")
    frames: dict[str, list[NDArray[Any]]] = {name: [] for name in ("episode_index", *columns)}
    for file in sorted(folder.glob("data/*/*.parquet")):
        try:
            table = pa.parquet.read_table(file, columns=list(frames))
            for name, parts in frames.items():
                parts.append(_matrix(table[name]))
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise DatasetError(f"dataset {file} cannot be read ({_first_line(error)}); download it again") from error
    if not frames["episode_index"]:
        raise DatasetError(f"dataset {folder} has 0 files in data/, allowed >= 1; download it again")
    robot = str(info.get("robot_type") or "")
    mode = str(names[0]).rpartition("_")[0] if isinstance(names, list) and names and robot.startswith(ROBOT) else ""
    source = Source(folder, robot if robot.startswith(ROBOT) else "", mode, interval)
    try:
        whole = {name: np.concatenate(parts) for name, parts in frames.items()}
    except ValueError as error:
        raise DatasetError(f"dataset {folder} has files of different shapes ({error}); download it again") from error
    return source, _episodes(whole)


def write(folder: Path, episodes: Sequence[Episode], about: Mapping[str, Any]) -> None:
    """Write a new dataset.

    Args:
        folder: new or empty.
        episodes: without pictures.
        about: env_id, control_mode and ctrl_dt [s].

    Raises:
        DatasetError: there are pictures, the control rate is no whole number, or pyarrow is not installed.
    """
    pa = installed()
    if any(episode.image is not None for episode in episodes):
        raise DatasetError("episodes have pictures, allowed numbers in this format; set env.obs_mode=vector")
    fps = round(1 / about["ctrl_dt"])
    if abs(1 / fps - about["ctrl_dt"]) > 1e-6:
        raise DatasetError(f"control rate is {1 / about['ctrl_dt']:g} Hz, allowed whole numbers in the LeRobot format")
    lengths = np.array([len(episode) for episode in episodes])
    ends = np.cumsum(lengths)
    columns = _columns(episodes, lengths, fps)
    task = f"{about['env_id']}: random motion"
    features = {name: _feature(name, value, about["control_mode"]) for name, value in columns.items()}
    info = {
        "codebase_version": VERSION,
        "robot_type": about["env_id"],
        "total_episodes": len(episodes),
        "total_frames": int(ends[-1]),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": DATA,
        "video_path": None,
        "features": features,
    }
    count = len(episodes)
    listed = {
        "episode_index": np.arange(count),
        "tasks": [[task]] * count,
        "length": lengths,
        "data/chunk_index": np.zeros(count, np.int64),
        "data/file_index": np.zeros(count, np.int64),
        "dataset_from_index": ends - lengths,
        "dataset_to_index": ends,
        "meta/episodes/chunk_index": np.zeros(count, np.int64),
        "meta/episodes/file_index": np.zeros(count, np.int64),
    }
    tables = {
        DATA.format(**FIRST): pa.table({name: _column(pa, value) for name, value in columns.items()}),
        EPISODES.format(**FIRST): pa.table(listed),
        TASKS: _tasks(pa, task),
    }
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(table, folder / name)
    stats = {name: _stats(value) for name, value in columns.items()}
    write_text(folder / "meta/stats.json", json.dumps(stats, indent=4))
    write_text(folder / INFO, json.dumps(info, indent=4))  # last: it makes the dataset one


def _columns(episodes: Sequence[Episode], lengths: NDArray[np.int64], fps: int) -> dict[str, NDArray[Any]]:
    frame = np.concatenate([np.arange(n) for n in lengths])
    columns: dict[str, NDArray[Any]] = {
        STATE: np.concatenate([e.obs[:-1] for e in episodes]),
        ACTION: np.concatenate([e.action for e in episodes]),
        REWARD: np.concatenate([e.reward for e in episodes]),
        DONE: np.concatenate([e.terminated for e in episodes]),
    }
    if len(episodes[0].goal):
        columns[ACHIEVED] = np.concatenate([e.achieved[:-1] for e in episodes])
        columns[GOAL] = np.concatenate([np.tile(e.goal, (len(e), 1)) for e in episodes])
    columns["timestamp"] = (frame / fps).astype(np.float32)
    for name, value in zip(
        INDICES, (frame, np.repeat(np.arange(len(lengths)), lengths), np.arange(len(frame)), frame * 0), strict=True
    ):
        columns[name] = value.astype(np.int64)
    return columns


def _feature(name: str, value: NDArray[Any], control_mode: str) -> dict[str, Any]:
    width = value.shape[1] if value.ndim > 1 else 1
    names = [f"{control_mode or 'action'}_{i}" for i in range(width)] if name == ACTION else None
    return {"dtype": str(value.dtype), "shape": [width], "names": names}


def _stats(value: NDArray[Any]) -> dict[str, list[float]]:
    rows = value.reshape(len(value), -1).astype(np.float64)
    parts = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    return {**{name: part.tolist() for name, part in parts.items()}, "count": [len(rows)]}


def _column(pa: Any, value: NDArray[Any]) -> Any:
    """A column; rows of one number are plain numbers, as the format wants them."""
    if value.ndim == 1 or value.shape[1] == 1:
        return pa.array(value.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(value).reshape(-1)), value.shape[1])


def _matrix(column: Any) -> NDArray[Any]:
    """The rows of a column: numbers, or lists of the same length."""
    if not str(column.type).startswith(("list", "fixed_size_list", "large_list")):
        return np.asarray(column.to_numpy())
    rows = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if len(rows) % max(len(column), 1):
        raise ValueError("rows of different lengths")
    return np.asarray(rows).reshape(len(column), -1)


def _tasks(pa: Any, task: str) -> Any:
    """The table of tasks, whose words are the index of a pandas frame."""
    table = pa.table({"task_index": np.zeros(1, np.int64), "task": [task]})
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
        ],
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _episodes(frames: Mapping[str, NDArray[Any]]) -> Iterator[Raw]:
    number = frames["episode_index"]
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1), len(number)]
    for start, stop in pairwise(edges):
        part = {name: _rows(values[start:stop]) for name, values in frames.items()}
        achieved, goal = part.get(ACHIEVED), part.get(GOAL)
        reward, done = part.get(REWARD), part.get(DONE)
        yield Raw(
            part[STATE],
            part[ACTION][:-1],
            None if reward is None else reward[:-1, 0],
            None if done is None else done[:-1, 0],
            achieved,
            None if goal is None else goal[0],
        )


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def installed() -> Any:
    """The package that the format needs.

    Raises:
        DatasetError: it is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError("pyarrow is not installed; pip install 'loopwm-robot[lerobot]'") from error
    return pyarrow


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
