"""Transitions of many environments at once, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
VectorPolicy = Callable[[Arrays, NDArray[np.bool_]], NDArray[Any]]
"""policy(observations (N, ...) by name, whether each environment begins an episode (N,)) -> actions (N, nu)."""
PLAIN = "observation"
"""Name of observations that are no dict."""


@dataclass(frozen=True, eq=False)
class Transitions:
    """K transitions, episode by episode and each in the order of time; none leads from one episode into another.

    Attributes:
        obs: observations before, (K, ...) by name; those that are no dict under `observation`.
        next_obs: observations after; after the last transition of an episode its true last one.
        action: (K, nu).
        reward: (K,).
        terminated: (K,) of bool, the task ended here.
        truncated: (K,) of bool, the time limit ended here.
        episode: (K,) number of the episode, in the order in which they began.
        step: (K,) control steps since the episode began.
        info: what `info` said after the transition, (K, ...) by name, such as `is_success` and `contact`.
    """

    obs: Arrays
    next_obs: Arrays
    action: NDArray[Any]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    info: Arrays

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.reward)

    def rows(self, chosen: Any) -> Transitions:
        """Some of the transitions. Args: chosen: mask (K,), indices or slice."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            named = isinstance(value, dict)
            values[field.name] = {key: array[chosen] for key, array in value.items()} if named else value[chosen]
        return Transitions(**values)

    def episodes(self) -> Iterator[Transitions]:
        """The transitions of one episode after the other."""
        starts = np.flatnonzero(np.diff(self.episode, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(self)], strict=True):
            yield self.rows(slice(start, stop))


class Collector:
    """Steps a vector environment with a policy and keeps what happens; goes on where it stopped."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], policy: VectorPolicy, seed: int | Sequence[int] | None = None
    ) -> None:
        """Begin the first episodes.

        Args:
            env: with any way to reset but `Disabled`.
            policy: chooses the actions.
            seed: of the first episodes, see `VectorEnv.reset`.

        Raises:
            ValueError: the environment does not reset by itself.
        """
        self.mode = env.metadata.get("autoreset_mode")
        if self.mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(f"autoreset_mode is {self.mode}, allowed NextStep, SameStep; make the environments so")
        self.env, self.policy = env, policy
        self._obs = _by_name(env.reset(seed=cast(int | None, seed))[0])
        self._begins = np.ones(env.num_envs, dtype=bool)
        self._resets = np.zeros(env.num_envs, dtype=bool)
        self._episode = np.arange(env.num_envs)
        self._step = np.zeros(env.num_envs, dtype=np.int64)

    def collect(self, steps: int) -> Transitions:
        """Go on for some steps.

        Args:
            steps: of every environment, at least 1.

        Returns:
            N times as many transitions, less those steps that only reset.

        Raises:
            ValueError: the number is smaller.
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}, must be at least 1")
        records = [self._advance() for _ in range(steps)]
        taken = np.concatenate([record[1] for record in records])
        every = _joined([record[0] for record in records]).rows(taken)
        return every.rows(np.lexsort((every.step, every.episode)))

    def _advance(self) -> tuple[Transitions, NDArray[np.bool_]]:
        """One step of all: the transitions (N,), and which of them are some."""
        before, taken = self._obs, ~self._resets
        actions = self.policy(before, self._begins)
        raw, reward, terminated, truncated, infos = self.env.step(actions)
        after, over = _by_name(raw), terminated | truncated
        info = {name: infos[name] for name in infos if f"_{name}" in infos and not name.startswith("final_")}
        last = after
        if self.mode == AutoresetMode.SAME_STEP and over.any():
            last = {name: value.copy() for name, value in after.items()}
            info = {name: value.copy() for name, value in info.items()}
            for i in np.flatnonzero(over):
                for name, value in _by_name(infos["final_obs"][i]).items():
                    last[name][i] = value
                for name in info:
                    info[name][i] = infos["final_info"][name][i]
        number, step = self._episode.copy(), self._step.copy()
        made = Transitions(before, last, np.array(actions), reward, terminated, truncated, number, step, info)
        same = self.mode == AutoresetMode.SAME_STEP
        self._begins = over if same else self._resets
        self._resets = np.zeros_like(over) if same else over
        self._episode[self._begins] = self._episode.max() + 1 + np.arange(self._begins.sum())
        self._step = np.where(self._begins, 0, self._step + 1)
        self._obs = after
        return made, taken


def _by_name(obs: Any) -> Arrays:
    return dict(obs) if isinstance(obs, dict) else {PLAIN: obs}


def _joined(parts: list[Transitions]) -> Transitions:
    """All rows of the parts; entries of `info` that some of them lack are left out."""
    joined: dict[str, Any] = {}
    for field in fields(Transitions):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], dict):
            names = [name for name in values[0] if all(name in value for value in values)]
            joined[field.name] = {name: np.concatenate([value[name] for value in values]) for name in names}
        else:
            joined[field.name] = np.concatenate(values)
    return Transitions(**joined)
