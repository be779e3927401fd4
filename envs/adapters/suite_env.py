"""What the environments of other packages have in common here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float32]


class SuiteEnv(gym.Env[Any, Any]):
    """An environment of another package behind our interface.

    Actions are in [-1, 1]; observations are one vector whose columns have names, in `Box` or, where the task has goals,
    in the dict of Gymnasium's goal environments. Everything random in an episode follows from the seed of its reset.

    Attributes:
        groups: columns of the observation vector by name.
        ctrl_dt: duration of a control step [s].
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium wants it so)
    groups: dict[str, slice]
    ctrl_dt: float
    _env: Any = None
    """The suite's own environment, until it is closed."""

    def _describe(self, parts: Mapping[str, ArrayLike], ctrl_dt: float) -> None:
        """Take names and sizes from an observation, and make the space of its vector.

        Args:
            parts: numbers by name, as in every observation.
            ctrl_dt: duration of a control step [s].
        """
        self.groups, self.ctrl_dt, start = {}, float(ctrl_dt), 0
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.ctrl_dt)}
        for name, part in parts.items():
            self.groups[name] = slice(start, start + np.size(part))
            start += np.size(part)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (start,), np.float32)

    def _take(self, low: ArrayLike, high: ArrayLike) -> None:
        """Make the action space from the bounds of the suite's own (nu,)."""
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        if low.ndim != 1 or not np.isfinite([low, high]).all():
            raise ValueError(f"{type(self).__name__} has actions in [{low}, {high}], allowed a vector of finite bounds")
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self.action_space = gym.spaces.Box(-1.0, 1.0, low.shape, np.float32)

    def _scaled(self, action: ArrayLike) -> NDArray[np.float64]:
        """The suite's own action (nu,) for one in [-1, 1]; values outside are clipped.

        Raises:
            ValueError: the action has another shape or is not finite.
        """
        a = np.asarray(action, dtype=np.float64)
        if a.shape != self._half.shape or not np.isfinite(a).all():
            raise ValueError(
                f"action is {a.tolist()} for {type(self).__name__}, allowed {len(self._half)} finite numbers in [-1, 1]"
            )
        return self._middle + np.clip(a, -1.0, 1.0) * self._half

    def _vector(self, parts: Mapping[str, ArrayLike]) -> Vector:
        """Observation vector from its parts, a new array."""
        return np.concatenate([np.ravel(np.asarray(parts[name])) for name in self.groups]).astype(np.float32)

    def _episode_seed(self, seed: int | None) -> int:
        """Seed the environment as Gymnasium wishes and draw from that what the suite's generator gets."""
        super().reset(seed=seed)
        return int(self.np_random.integers(2**31))

    def close(self) -> None:
        """Free the simulation. Closing twice is harmless."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def column_groups(self) -> dict[str, slice]:
        """Columns of the observation vector by the name of what they say."""
        return dict(self.groups)

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together: each group."""
        return {name: tuple(range(columns.start, columns.stop)) for name, columns in self.groups.items()}


def suite(module: str, extra: str, how: str = "") -> ModuleType:
    """Import a package of others when it is needed.

    Args:
        module: to import.
        extra: of this project that brings it.
        how: to install it instead, where no extra can.

    Raises:
        ImportError: it is not installed, or does not work with what is.
    """
    try:
        return import_module(module)
    except ImportError as error:
        todo = how or f'pip install "loopwm-robot[{extra}]"'
        raise ImportError(f"{module} cannot be imported ({error}); install it by {todo}") from error


def checked_repeat(action_repeat: int) -> int:
    """A number of steps that each action is held for.

    Raises:
        ValueError: it is below 1.
    """
    if action_repeat != int(action_repeat) or action_repeat < 1:
        raise ValueError(f"action_repeat is {action_repeat} steps, allowed whole numbers from 1")
    return int(action_repeat)


def checked_render(render_mode: str | None) -> str | None:
    """A render mode that all adapters have.

    Raises:
        ValueError: it is another.
    """
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode is {render_mode!r}, allowed None or 'rgb_array'")
    return render_mode


def checked_name(what: str, name: str, known: tuple[str, ...]) -> str:
    """A name that is known.

    Raises:
        ValueError: it is not; the message lists those that are.
    """
    if name not in known:
        raise ValueError(f"{what} {name!r} is unknown, known: {', '.join(known)}")
    return name
