"""Minari datasets, in and out: https://minari.farama.org/content/dataset_standards/ (extra `loopwm-robot[minari]`).

A dataset is the folder that holds metadata.json, or its parent as it lies in Minari's store; HDF5 or Arrow. Written
ones can be put into that store: `$MINARI_DATASETS_PATH/<name>/data`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from ..types import Episode
from .recorded import DatasetError, Raw, Source

METADATA = "metadata.json"
GOAL_KEYS = ("achieved_goal", "desired_goal")


def find(path: Path) -> Path | None:
    """The folder of a dataset that a path names; None where there is none."""
    return next((folder for folder in (path, path / "data") if (folder / METADATA).is_file()), None)


def read(folder: Path) -> tuple[Source, Iterator[Raw]]:
    """Read a dataset.

    Raises:
        DatasetError: it is damaged, or Minari is not installed.
    """
    storage_type = installed().dataset.minari_storage.MinariStorage
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        spec = json.loads(metadata.get("env_spec") or "{}")
        storage = storage_type.read(folder)
        count = int(metadata["total_episodes"])
    except Exception as error:  # h5py, pyarrow and Minari each have their own, asserts among them
        raise DatasetError(f"dataset {folder} cannot be read ({_first_line(error)}); download it again") from error
    env_id = str(spec.get("id") or "")
    kwargs = spec.get("kwargs") or {}
    source = Source(folder, env_id, str(kwargs.get("control_mode", "")), float(metadata.get("ctrl_dt", 0.0)))

    def episodes() -> Iterator[Raw]:
        for index in range(count):
            try:
                (entry,) = storage.get_episodes([index])
            except Exception as error:
                raise DatasetError(
                    f"dataset {folder}: episode {index} cannot be read ({_first_line(error)}); download it again"
                ) from error
            yield _raw(entry)

    return source, episodes()


def write(folder: Path, episodes: Sequence[Episode], env: gym.Env[Any, Any], about: Mapping[str, Any]) -> None:
    """Write a new dataset as HDF5.

    Args:
        folder: new; metadata.json and main_data.hdf5 go there.
        episodes: without pictures.
        env: that they were recorded in; its spec and spaces are kept.
        about: env_id, control_mode and ctrl_dt [s].

    Raises:
        DatasetError: there are pictures, or Minari is not installed.
    """
    if any(episode.image is not None for episode in episodes):
        raise DatasetError("episodes have pictures, allowed numbers in this format; set env.obs_mode=vector")
    minari = installed()
    buffer_type = minari.data_collector.EpisodeBuffer
    folder.mkdir(parents=True, exist_ok=True)
    storage = minari.dataset.minari_storage.MinariStorage.new(
        folder, env.observation_space, env.action_space, env.spec, "hdf5"
    )
    goals = isinstance(env.observation_space, gym.spaces.Dict)

    def buffers() -> Iterator[Any]:
        for i, episode in enumerate(episodes):
            goal = episode.goal[None].repeat(len(episode) + 1, axis=0)
            parts = dict(zip(GOAL_KEYS, (episode.achieved, goal), strict=True))
            yield buffer_type(
                id=i,
                seed=episode.seed,
                observations={"observation": episode.obs, **parts} if goals else episode.obs,
                actions=episode.action,
                rewards=episode.reward,
                terminations=episode.terminated,
                truncations=episode.truncated,
            )

    storage.update_episodes(buffers())
    name = str(about["env_id"]).replace("/", "-").rsplit("-v", 1)[0]
    storage.update_metadata(
        {
            "dataset_id": f"{name.lower()}/random-v0",
            "minari_version": minari.__version__,
            "algorithm_name": "loopwm collect",
            "ctrl_dt": about["ctrl_dt"],
        }
    )


def _raw(entry: Mapping[str, Any]) -> Raw:
    obs = entry["observations"]
    achieved = goal = None
    if isinstance(obs, Mapping):
        achieved, desired = (obs.get(key) for key in GOAL_KEYS)
        goal = None if desired is None or not len(desired) else desired[0]
        obs = obs.get("observation", obs.get("state"))
    seed = entry.get("seed")
    seed = int(seed) if isinstance(seed, int) else 0
    return Raw(obs, entry["actions"], entry["rewards"], entry["terminations"], achieved, goal, seed=seed)


def installed() -> Any:
    """The package that the format needs.

    Raises:
        DatasetError: it is missing.
    """
    try:
        import h5py  # noqa: F401 - Minari imports it late, and then says less
        import minari
        import minari.data_collector
        import minari.dataset.minari_storage
    except ImportError as error:
        raise DatasetError(f"Minari is not complete ({error}); pip install 'loopwm-robot[minari]'") from error
    return minari


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
