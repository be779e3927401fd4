"""Replay buffer: episodes end to end in flat arrays, in memory or in files; sequences are drawn in constant time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import whole_file
from ..types import Episode, Float32, History, SequenceBatch, UInt8
from .rows_file import DAMAGE, ages, check_file, fill, shape_of, unreadable
from .storage import IN_MEMORY, Column, Place, allocate

RewardFn = Callable[[Float32, Float32], NDArray[np.floating]]
"""compute_reward(achieved (..., n_goal), desired (..., n_goal)) -> (...): the task's own reward."""


class Misfit(ValueError):
    """A file holds rows of other sizes."""


class ReplayBuffer:
    """Holds whole episodes up to a number of rows; the oldest episodes make room for new ones.

    Args:
        capacity: rows (observations) at most, at least one episode.
        n_obs, nu, n_goal: sizes of observation, action and goal.
        image: height, width and channels of the pictures, kept as uint8; empty where there are none.
        place: where the rows lie, in memory or in files.

    Attributes:
        mapped: the rows lie in files.
    """

    def __init__(
        self, capacity: int, n_obs: int, nu: int, n_goal: int, image: Sequence[int] = (), place: Place = IN_MEMORY
    ) -> None:
        if capacity < 2:
            raise ValueError(f"buffer capacity is {capacity} rows, allowed >= 2; raise train.buffer_size")
        self.capacity = capacity
        columns: dict[str, Column] = {
            "obs": ((n_obs,), np.float32),
            "achieved": ((n_goal,), np.float32),
            "goal": ((n_goal,), np.float32),
            "action": ((nu,), np.float32),  # row t: the action taken after observation t
            "reward": ((), np.float32),
            "terminated": ((), np.float32),
            "remaining": ((), np.int64),  # transitions from here to the end of the episode
        }
        if image:
            columns["image"] = (tuple(image), np.uint8)
        self._rows, self.mapped = allocate(capacity, columns, place)
        self._age = np.zeros(capacity, np.int64)  # transitions from the start of the episode to here
        self._next = 0
        self._used = 0
        self._count = 0

    def __len__(self) -> int:
        """Transitions that a sequence can start from."""
        return self._count

    @property
    def observations(self) -> Float32:
        """All observations held (rows, n_obs); a view."""
        return self._rows["obs"][: self._used]

    @property
    def goals(self) -> Float32:
        """Desired goals of the held rows (rows, n_goal); a view."""
        return self._rows["goal"][: self._used]

    def transitions(self, limit: int | None = None) -> tuple[Float32, Float32]:
        """Observations before and after held transitions, thinned out evenly to at most `limit`, both (rows, n_obs)."""
        rows = np.flatnonzero(self._rows["remaining"][: self._used] > 0)
        if limit is not None and len(rows) > limit:
            rows = rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]
        return self._rows["obs"][rows], self._rows["obs"][rows + 1]

    def images(self, limit: int) -> UInt8 | None:
        """Pictures of held rows, thinned out evenly to at most `limit` (rows, H, W, C); None where there are none."""
        if "image" not in self._rows:
            return None
        return self._rows["image"][np.linspace(0, self._used - 1, min(limit, self._used)).astype(np.int64)]

    def add(self, episode: Episode) -> None:
        """Store an episode.

        Raises:
            ValueError: it is longer than the buffer or its sizes differ from the buffer's.
        """
        count = len(episode) + 1
        if count > self.capacity:
            raise ValueError(f"episode has {count} rows, allowed <= {self.capacity}; raise train.buffer_size")
        self._check_image(episode)
        if self._next + count > self.capacity:  # no episode wraps around the end
            self._count -= int(np.count_nonzero(self._rows["remaining"][self._next : self._used]))
            self._used = self._next
            self._next = 0
        self._forget(self._next, self._next + count)
        rows = slice(self._next, self._next + count)
        r = self._rows
        if "image" in r:
            r["image"][rows] = episode.image
        r["obs"][rows] = episode.obs
        r["achieved"][rows] = episode.achieved
        r["goal"][rows] = episode.goal
        for name in ("action", "reward", "terminated"):
            r[name][rows][:-1] = getattr(episode, name)
            r[name][rows][-1] = 0
        r["remaining"][rows] = np.arange(count - 1, -1, -1)
        self._age[rows] = np.arange(count)
        self._count += count - 1
        self._next += count
        self._used = max(self._used, self._next)

    def _check_image(self, episode: Episode) -> None:
        wanted = self._rows["image"].shape[1:] if "image" in self._rows else None
        given = None if episode.image is None else episode.image.shape[1:]
        if given != wanted:
            raise ValueError(f"episode has pictures of shape {given}, allowed {wanted}; make the buffer for them")

    def _forget(self, start: int, stop: int) -> None:
        """Make rows start..stop free: an episode that begins there and reaches further is dropped as a whole."""
        remaining = self._rows["remaining"]
        end = min(stop, self._used)
        if stop < self._used and remaining[stop - 1] > 0:
            end = stop + int(remaining[stop - 1])
        if start < end:
            self._count -= int(np.count_nonzero(remaining[start:end]))
            remaining[start:end] = 0

    def sample(
        self,
        batch: int,
        length: int,
        rng: np.random.Generator,
        relabel: RewardFn | None = None,
        relabel_fraction: float = 0.5,
        context: int = 0,
    ) -> SequenceBatch:
        """Draw sequences uniformly over their first transition, in a time that does not grow with the buffer.

        Args:
            batch: number of sequences B.
            length: transitions L in each; a sequence that reaches the end of its episode is padded and masked.
            rng: source of randomness.
            relabel: recomputes rewards for other goals; a share `relabel_fraction` of the sequences then gets a goal
                that some row in the buffer achieved (hindsight), the rest keeps its own.
            context: transitions of history before each sequence; fewer happened near the start of an episode.

        Raises:
            ValueError: the buffer holds no transition.
        """
        start = self._draw_starts(batch, rng)
        left = self._rows["remaining"][start]
        steps = np.arange(length + 1)
        rows = start[:, None] + np.minimum(steps, left[:, None])  # (B, L+1)
        mask = (steps[:-1] < left[:, None]).astype(np.float32)
        r = self._rows
        goal, reward = r["goal"][start], r["reward"][rows[:, :-1]]
        if relabel is not None:
            chosen = np.flatnonzero(rng.random(batch) < relabel_fraction)
            goal = goal.copy()
            goal[chosen] = r["achieved"][rng.integers(self._used, size=len(chosen))]
            reward = reward.copy()
            reward[chosen] = relabel(r["achieved"][rows[chosen, 1:]], goal[chosen, None])
        arrays = (r["obs"][rows], r["action"][rows[:, :-1]], reward, r["terminated"][rows[:, :-1]], goal, mask)
        history = self._history(start, context) if context else None
        obs, action, reward_, ended, goal_, mask_ = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
        image = torch.from_numpy(r["image"][rows]) if "image" in r else None
        return SequenceBatch(obs, action, reward_, ended, goal_, mask_, history, image)

    def _history(self, start: NDArray[np.int64], context: int) -> History:
        """The `context` transitions before each start; what lies before the episode repeats its first row, masked."""
        age = self._age[start]
        back = np.arange(context, 0, -1)  # (W,) transitions ago
        rows = start[:, None] - np.minimum(back, age[:, None])
        mask = (back <= age[:, None]).astype(np.float32)
        obs, action = self._rows["obs"][rows], self._rows["action"][rows]
        return History(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (obs, action, mask)))

    def _draw_starts(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows that a transition starts from, uniform; the few rows that end an episode are drawn again."""
        remaining = self._rows["remaining"][: self._used]
        if not self._count:
            raise ValueError("the buffer holds 0 transitions, allowed >= 1; collect episodes first")
        start = rng.integers(self._used, size=batch)
        while len(bad := np.flatnonzero(remaining[start] == 0)):
            start[bad] = rng.integers(self._used, size=len(bad))
        return start

    def save(self, path: Path, about: Mapping[str, str | float] | None = None) -> None:
        """Write the held rows as npz (no pickles): the file is the old one or the whole new one.

        Args:
            path: the file.
            about: env_id, control_mode and ctrl_dt [s] of the episodes, where a file shall say.
        """
        arrays = {name: rows[: self._used] for name, rows in self._rows.items()}
        if about is not None:
            arrays["about"] = np.array(json.dumps(about))
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, next=np.int64(self._next), **arrays)

    def load(self, path: Path) -> None:
        """Replace the content by that of a file written by `save` for the same sizes.

        Raises:
            ValueError: the file is missing or of other sizes, and the content is unchanged; or it is damaged, and the
                content is unchanged or gone.
        """
        check_file(path)
        try:
            with ZipFile(path) as file:
                shapes = {name: shape_of(file, name) for name in self._rows}
                used = shapes["obs"][0]
                self._check_fits(path, shapes)
                following = np.zeros((), np.int64)
                fill(file, "next", following)
                self._used = self._next = self._count = 0
                for name, rows in self._rows.items():
                    fill(file, name, rows[:used])
        except Misfit:
            raise
        except DAMAGE as error:
            raise unreadable(path, error) from error
        self._rows["remaining"][used:] = 0
        remaining = self._rows["remaining"][:used]
        self._age[:used] = ages(remaining)
        self._used, self._next, self._count = used, int(following), int(np.count_nonzero(remaining))

    def _check_fits(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, rows in self._rows.items():
            used = shapes["obs"][0]
            if used > self.capacity or shapes[name] != (used, *rows.shape[1:]):
                raise Misfit(
                    f"episodes {path}: {name} has shape {shapes[name]}, allowed up to {rows.shape}; "
                    "use the environment they were recorded in, or raise train.buffer_size"
                )


def shares(total: int, parts: int) -> list[int]:
    """A number in parts that differ by one at most, the larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]
