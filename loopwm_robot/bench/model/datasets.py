"""The recorded episodes that all models of the benchmark learn from and are measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.buffer import ReplayBuffer
from ...files import whole_file
from ...schema import plain
from ...types import Episode, Float32

FORMAT = 1
"""Raised when what is recorded changes: files of an earlier form are made again."""
MIN_STD = 2e-3
"""Numbers that vary less in the training data [rad, rad/s, m] are left out of the errors: they would have no unit."""
ARRAYS = ("obs", "achieved", "goal", "action", "reward", "terminated", "truncated")


@dataclass(frozen=True)
class DataConfig:
    """How much is recorded.

    Attributes:
        steps: control steps of an episode, at least 2.
        train: episodes to learn from, at least 1.
        calibrate: further ones that exit rules and monitor are calibrated on, at least 1.
        test: further ones that errors are measured on, at least 1.
        long: episodes of `long_steps` to compare long rollouts with, of each kind of action, at least 0.
        long_steps: control steps of those, at least 2.
    """

    steps: int = 150
    train: int = 320
    calibrate: int = 20
    test: int = 40
    long: int = 10
    long_steps: int = 1150

    def __post_init__(self) -> None:
        for name, low in (("steps", 2), ("train", 1), ("calibrate", 1), ("test", 1), ("long", 0), ("long_steps", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"data.{name} is {getattr(self, name)}, allowed >= {low}")


@dataclass(frozen=True)
class Split:
    """Episodes of one length with what models are not shown.

    Attributes:
        episodes: E of them, T steps each.
        contact: whether something was touched during each transition (E, T); None where there is nothing to touch.
        hidden: parameters of the dynamics of each episode (E, P); None where they never change.
    """

    episodes: list[Episode]
    contact: NDArray[np.bool_] | None = None
    hidden: Float32 | None = None

    def __len__(self) -> int:
        """Transitions."""
        return sum(map(len, self.episodes))


@dataclass(frozen=True)
class Dataset:
    """Episodes of one task.

    Attributes:
        name: of the data set.
        splits: train, calibrate, test, and where they exist test_seen, long_explore, long_uniform.
        groups: columns of the observation that belong together, by name.
        position: first and one past the last column of the position that the task is about; equal where there is none.
        ctrl_dt: control step [s].
        measured: columns that every model sees: the first ones.
    """

    name: str
    splits: Mapping[str, Split]
    groups: dict[str, tuple[int, ...]]
    position: tuple[int, int]
    ctrl_dt: float
    measured: int

    @property
    def sizes(self) -> tuple[int, int, int, float]:
        """n_obs, nu, n_goal and ctrl_dt, as `build_model` takes them."""
        first = self.splits["train"].episodes[0]
        return first.obs.shape[1], first.action.shape[1], first.goal.shape[-1], self.ctrl_dt

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every observed number in the training data, both (n_obs,)."""
        rows = np.concatenate([e.obs for e in self.splits["train"].episodes]).astype(np.float64)
        return torch.from_numpy(rows.mean(0)).float(), torch.from_numpy(rows.std(0)).float()

    @property
    def mean(self) -> Tensor:
        """Mean of every observed number in the training data (n_obs,)."""
        return self.statistics[0]

    @property
    def std(self) -> Tensor:
        """Deviation of every observed number in the training data (n_obs,): the unit of all errors."""
        return self.statistics[1]

    @cached_property
    def columns(self) -> list[int]:
        """Columns that errors are measured on: those that vary, without what only told models see."""
        return [column for column in range(self.measured) if self.std[column] >= MIN_STD]

    def contact_fraction(self, split: str = "train") -> float | None:
        """Share of the transitions that touch something; None where there is nothing to touch."""
        contact = self.splits[split].contact
        return None if contact is None else float(contact.mean())

    def buffer(self) -> ReplayBuffer:
        """The training episodes."""
        episodes = self.splits["train"].episodes
        buffer = ReplayBuffer(sum(len(e) + 1 for e in episodes), *self.sizes[:3])
        for episode in episodes:
            buffer.add(episode)
        return buffer

    def told(self) -> Dataset:
        """The same with the hidden parameters appended to every observation: what knowing them is worth.

        Raises:
            ValueError: there are no hidden parameters.
        """
        splits = {name: _told(split, self.name) for name, split in self.splits.items()}
        n_obs = self.sizes[0]
        columns = tuple(range(n_obs, splits["train"].episodes[0].obs.shape[1]))
        groups = {**self.groups, "hidden": columns} if self.groups else {}
        return replace(self, splits=splits, groups=groups)

    def digest(self) -> str:
        """A fingerprint of the training observations."""
        sha = hashlib.sha256()
        for episode in self.splits["train"].episodes:
            sha.update(np.ascontiguousarray(episode.obs).tobytes())
        return sha.hexdigest()[:16]


def load_dataset(path: Path) -> tuple[Dataset, dict[str, Any]]:
    """Read a data set and the settings it was made with.

    Raises:
        ValueError: the file is missing, damaged or of an earlier form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"form {about['format']}, allowed {FORMAT}")
            splits = {name: _read_split(file, name, entry, about) for name, entry in about["splits"].items()}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ValueError(f"data set {path} cannot be read ({error}); remove it, and it is made again") from error
    groups = {name: tuple(columns) for name, columns in about["groups"].items()}
    start, stop = about["position"]
    return Dataset(about["name"], splits, groups, (start, stop), about["ctrl_dt"], about["measured"]), about["settings"]


def save_dataset(path: Path, dataset: Dataset, settings: Any) -> None:
    """Write a data set as one npz file without pickles, in one step."""
    arrays: dict[str, NDArray[Any]] = {}
    entries: dict[str, Any] = {}
    for name, split in dataset.splits.items():
        for key in ARRAYS:
            arrays[f"{name}.{key}"] = np.stack([getattr(e, key) for e in split.episodes])
        arrays |= {f"{name}.{k}": v for k, v in (("contact", split.contact), ("hidden", split.hidden)) if v is not None}
        entries[name] = {"seeds": [e.seed for e in split.episodes], "env_id": split.episodes[0].env_id}
    about = {
        "format": FORMAT,
        "name": dataset.name,
        "settings": plain(settings),
        "splits": entries,
        "groups": dataset.groups,
        "position": dataset.position,
        "ctrl_dt": dataset.ctrl_dt,
        "measured": dataset.measured,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)


def _read_split(file: Any, name: str, entry: Mapping[str, Any], about: Mapping[str, Any]) -> Split:
    arrays = {key: file[f"{name}.{key}"] for key in ARRAYS}
    episodes = [
        Episode(**{k: a[i] for k, a in arrays.items()}, ctrl_dt=about["ctrl_dt"], env_id=entry["env_id"], seed=seed)
        for i, seed in enumerate(entry["seeds"])
    ]
    more = {key: file.get(f"{name}.{key}") for key in ("contact", "hidden")}
    return Split(episodes, **more)


def _told(split: Split, name: str) -> Split:
    if split.hidden is None:
        raise ValueError(f"data set '{name}' has no hidden parameters, allowed 'hidden' for models that are told them")
    episodes = []
    for episode, parameters in zip(split.episodes, split.hidden, strict=True):
        more = np.broadcast_to(parameters, (len(episode.obs), len(parameters)))
        episodes.append(replace(episode, obs=np.concatenate([episode.obs, more], axis=1, dtype=np.float32)))
    return replace(split, episodes=episodes)
