"""Recorded episodes from anywhere, checked: sizes, finite numbers, range of the actions, the arm and its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checkpoint import Spaces
from ..types import Episode, Float32, UInt8
from .buffer import RewardFn

ACTION_SLACK = 1e-4
"""What rounding may add to an action of 1."""
INTERVAL_SLACK = 0.01
"""Accepted relative difference of control steps: formats keep whole or rounded rates."""


class DatasetError(ValueError):
    """A dataset cannot be used; names the file, and the episode and step where there are some."""
MEASURED = 5
"""Steps ahead that the held-out error of a round of training looks."""


@dataclass(frozen=True)
class Source:
    """What a dataset says about its origin; what it does not say is empty.

    Attributes:
        path: of the dataset.
        env_id: environment, or arm and task.
        control_mode: meaning of an action.
        ctrl_dt: control step [s]; 0 where it is unknown.
    """

    path: Path
    env_id: str = ""
    control_mode: str = ""
    ctrl_dt: float = 0.0

    def require(self, spaces: Spaces) -> None:
        """Check that the dataset was recorded with the arm and task of an environment.

        Raises:
            DatasetError: names what differs.
        """
        for name in ("env_id", "control_mode"):
            mine, wanted = getattr(self, name), getattr(spaces, name)
            if mine and mine != wanted:
                raise DatasetError(
                    f"dataset {self.path} was recorded with {name} '{mine}', allowed '{wanted}' here; "
                    "choose the environment it was recorded in, or record another"
                )
        if self.ctrl_dt and abs(self.ctrl_dt - spaces.ctrl_dt) > INTERVAL_SLACK * spaces.ctrl_dt:
            raise DatasetError(
                f"dataset {self.path} has a control step of {self.ctrl_dt:g} s, allowed {spaces.ctrl_dt:g} s here; "
                "choose the environment it was recorded in, or record another"
            )


@dataclass(frozen=True)
class Raw:
    """One episode of T steps as a file holds it.

    Attributes:
        obs: (T+1, n_obs). action: (T, nu).
        reward: (T,). terminated: (T,). achieved: (T+1, n_goal). goal: (n_goal,). None where the file has none.
        image: (T+1, H, W, C) uint8; None without.
        seed: of the reset; 0 where it is unknown.
    """

    obs: ArrayLike
    action: ArrayLike
    reward: ArrayLike | None = None
    terminated: ArrayLike | None = None
    achieved: ArrayLike | None = None
    goal: ArrayLike | None = None
    image: UInt8 | None = None
    seed: int = 0


def checked(raw: Raw, index: int, source: Source, spaces: Spaces, reward_fn: RewardFn | None) -> Episode:
    """An episode for an environment from what a file holds.

    A file without what was achieved is completed from the position in the observation; one without a goal gets the
    one that it achieved in the end; one without rewards those of the task.

    Args:
        raw: the episode.
        index: its number in the dataset, for messages.
        source: of the dataset.
        spaces: of the environment.
        reward_fn: of the task; None gives reward 0 where the file has none.

    Raises:
        DatasetError: names the file, the episode and the step.
    """
    where = f"dataset {source.path}: episode {index}"
    action = _array(raw.action, "action", where)
    steps = len(action)
    if steps == 0:
        raise DatasetError(f"{where} has no step, allowed >= 1; drop it")
    sizes = {"obs": (steps + 1, spaces.n_obs), "action": (steps, spaces.nu), "reward": (steps,)}
    sizes |= {"terminated": (steps,), "achieved": (steps + 1, spaces.n_goal), "goal": (spaces.n_goal,)}
    arrays: dict[str, Float32] = {}
    for name, size in sizes.items():
        value = getattr(raw, name)
        if value is not None:
            arrays[name] = _array(value, name, where)
            _check(arrays[name], name, size, where)
    outside = np.flatnonzero(np.abs(arrays["action"]).max(axis=1, initial=0) > 1 + ACTION_SLACK)
    if len(outside):
        worst = np.abs(arrays["action"][outside[0]]).max()
        raise DatasetError(
            f"{where}, step {outside[0]}: an action of size {worst:g}, allowed [-1, 1]; "
            "scale the actions to the range of the environment"
        )
    if raw.image is None and spaces.image:
        raise DatasetError(f"{where} has no pictures, allowed {spaces.image} of uint8; set env.obs_mode=vector")
    obs = arrays["obs"]
    achieved = arrays.get("achieved")
    if achieved is None:
        achieved = obs[:, spaces.position_columns] if spaces.n_goal else np.zeros((steps + 1, 0), np.float32)
        if achieved.shape[1] != spaces.n_goal:
            raise DatasetError(
                f"{where} does not say what was achieved, allowed (T+1, {spaces.n_goal}); record it as achieved_goal"
            )
    goal = arrays.get("goal", achieved[-1])
    reward = arrays.get("reward")
    if reward is None:
        reward = np.zeros(steps, np.float32)
        if reward_fn is not None:
            reward = np.asarray(reward_fn(achieved[1:], goal), np.float32)
    terminated = arrays.get("terminated", np.zeros(steps, np.float32)) > 0.5
    truncated = np.zeros(steps, np.bool_)
    truncated[-1] = not terminated[-1]
    clipped = np.clip(arrays["action"], -1, 1)
    about = (spaces.ctrl_dt, spaces.env_id, raw.seed)
    return Episode(obs, achieved, goal, clipped, reward, terminated, truncated, *about, image=raw.image)


def check_recorded(episodes: Sequence[Episode], held_out: Sequence[Episode], capacity: int) -> None:
    """Check that a training can use episodes.

    Args:
        episodes: to learn from.
        held_out: to measure on; may be empty.
        capacity: rows that the replay buffer holds.

    Raises:
        DatasetError: there are too many, or all to measure on are too short.
    """
    rows = sum(len(episode) + 1 for episode in episodes)
    if rows > capacity:
        raise DatasetError(f"the dataset has {rows} rows, allowed {capacity}; raise train.buffer_size")
    longest = max(map(len, held_out), default=MEASURED)
    if longest < MEASURED:
        raise DatasetError(f"held-out episodes have {longest} steps at most, allowed >= {MEASURED}; record longer ones")


def _array(value: Any, name: str, where: str) -> NDArray[np.float32]:
    try:
        return np.array(value, np.float32)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: {name} is no array of numbers ({error}); record it again") from error


def _check(array: Float32, name: str, size: tuple[int, ...], where: str) -> None:
    if array.shape != size:
        raise DatasetError(
            f"{where}: {name} has shape {array.shape}, allowed {size}; "
            "choose the environment it was recorded in, or record another"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        step = "" if name == "goal" else f", step {bad[0][0]}"
        value = array[tuple(bad[0])]
        raise DatasetError(f"{where}{step}: {name} is {value}, allowed finite numbers; drop or mend the episode")
