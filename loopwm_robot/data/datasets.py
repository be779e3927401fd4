"""Recorded episodes for offline training: our own files, Minari, LeRobot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from ..checkpoint import Spaces
from ..errors import RequestError
from ..types import Episode
from . import lerobot_format, minari_format, native
from .buffer import RewardFn
from .recorded import DatasetError, Source, checked

HELD_OUT_SHARE = 0.2
"""Of a dataset, the most that is held out."""


def read_dataset(path: Path, spaces: Spaces, reward_fn: RewardFn | None) -> list[Episode]:
    """Read all episodes of a dataset that fits an environment.

    Args:
        path: episodes.npz; a run folder of `loopwm collect`, `train`, `deploy` or `demo`; a folder of Minari or of
            LeRobot v3.
        spaces: of the environment.
        reward_fn: of the task, for datasets without rewards.

    Raises:
        DatasetError: it is damaged, empty, of another arm, or holds what no model can learn from.
    """
    source, raws = _open(path)
    source.require(spaces)
    episodes = [checked(raw, i, source, spaces, reward_fn) for i, raw in enumerate(raws)]
    if not episodes:
        raise DatasetError(f"dataset {source.path} has 0 episodes, allowed >= 1; record some")
    return episodes


def write_dataset(
    folder: Path, name: str, episodes: Sequence[Episode], env: gym.Env[Any, Any], about: Mapping[str, Any]
) -> Path:
    """Write a new dataset.

    Args:
        folder: of the run; the dataset is a folder in it.
        name: of the format, minari or lerobot.
        episodes: one or more, without pictures.
        env: that they were recorded in.
        about: env_id, control_mode and ctrl_dt [s].

    Returns:
        the dataset.
    """
    path = folder / name
    if name == "minari":
        minari_format.write(path / "data", episodes, env, about)
    else:
        lerobot_format.write(path, episodes, about)
    return path


def check_format(name: str, spaces: Spaces) -> None:
    """A format can be written here.

    Raises:
        RequestError: its packages are missing, or it cannot hold the pictures of the environment.
    """
    if name == "npz":
        return
    if spaces.image:
        raise RequestError(f"format is '{name}' with env.obs_mode '{spaces.obs_mode}', allowed npz for pictures")
    try:
        (minari_format if name == "minari" else lerobot_format).installed()
    except DatasetError as error:
        raise RequestError(str(error)) from error


def about(spaces: Spaces) -> dict[str, str | float]:
    """What a dataset says about its origin."""
    return {"env_id": spaces.env_id, "control_mode": spaces.control_mode, "ctrl_dt": spaces.ctrl_dt}


def split(episodes: Sequence[Episode], held_out: int, path: Path) -> tuple[list[Episode], list[Episode]]:
    """Episodes to learn from, and others, spread evenly, to measure on: up to `held_out`, and a fifth at most.

    Raises:
        DatasetError: there is only one.
    """
    if len(episodes) < 2:
        raise DatasetError(f"dataset {path} has {len(episodes)} episode, allowed >= 2: one is held out; record more")
    count = max(1, min(held_out, int(HELD_OUT_SHARE * len(episodes))))
    chosen = {(2 * i + 1) * len(episodes) // (2 * count) for i in range(count)}
    return (
        [episode for i, episode in enumerate(episodes) if i not in chosen],
        [episode for i, episode in enumerate(episodes) if i in chosen],
    )


def _open(path: Path) -> tuple[Source, Any]:
    if path.is_file():
        return native.read_collected(path)
    if (path / native.EPISODES).is_file():
        return native.read_collected(path / native.EPISODES)
    if (path / lerobot_format.INFO).is_file():
        return lerobot_format.read(path)
    minari = minari_format.find(path)
    if minari is not None:
        return minari_format.read(minari)
    if (path / "bridge.npz").is_file():
        return native.read_deployed(path)
    if (replay := native.newest_replay(path)) is not None:
        return native.read_collected(replay)
    kinds = "episodes.npz, a folder of loopwm collect, deploy or demo, a Minari or a LeRobot v3 dataset"
    raise DatasetError(f"dataset {path} {'is none' if path.exists() else 'does not exist'}, allowed {kinds}")
