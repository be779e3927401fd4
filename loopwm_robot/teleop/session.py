"""Episodes that a person drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..data.collect import EpisodeRecorder, control_interval
from ..types import Episode
from .jog import Jog, Key, Stick


class Device(Protocol):
    """Where keys come from and pictures go."""

    def poll(self) -> Sequence[Key | Stick]:
        """What happened since the last call, without waiting."""

    def show(self, picture: NDArray[np.uint8] | None, text: str) -> None:
        """Show a picture (H, W, 3) and a line of text."""

    def wait(self, dt: float) -> None:
        """Wait until dt [s] after this was called last."""


class Kept(NamedTuple):
    """An episode that was kept, and whether the task was done at its end."""

    episode: Episode
    success: bool


def teleoperate(
    env: gym.Env[Any, Any], device: Device, jog: Jog, episodes: int, seed: Callable[[int], int]
) -> Iterator[Kept]:
    """Drive one episode after the other until there are enough, or the person ends it.

    Time stands still until the first key. "keep" ends an episode, which is then truncated there, "discard" begins it
    again from the same start; one that the environment ends is kept.

    Args:
        env: with a Cartesian action, drawn by `render`.
        device: keys and picture.
        jog: makes actions of the keys.
        episodes: to keep.
        seed: of the reset of episode i.
    """
    dt, kept = control_interval(env), 0
    while kept < episodes:
        raw, info = env.reset(seed=seed(kept))
        recorder, over, begun = EpisodeRecorder(raw), False, False
        jog.reset()
        while not over:
            commands = [jog.apply(event) for event in device.poll()]
            if "quit" in commands:
                return
            if "discard" in commands:
                break
            over = "keep" in commands and len(recorder) > 0
            begun = begun or jog.moving or "gripper" in commands
            if begun and not over:
                action = jog.action()
                raw, reward, terminated, truncated, info = env.step(action)
                recorder.add(action, raw, float(reward), terminated, truncated)
                over = terminated or truncated
            done = ", done" if info.get("is_success") else ""
            picture: Any = env.render()
            device.show(picture, f"episode {kept + 1} of {episodes}, {len(recorder) * dt:.1f} s{done}")
            device.wait(dt)
        if over:
            recorder.truncated[-1] = not recorder.terminated[-1]
            kept += 1
            yield Kept(recorder.episode(env, seed(kept - 1)), bool(info.get("is_success", False)))
