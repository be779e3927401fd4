"""From keys and sticks to actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Float32

DIRECTIONS: dict[str, tuple[int, int]] = {
    "w": (0, 1),
    "s": (0, -1),
    "a": (1, 1),
    "d": (1, -1),
    "q": (2, 1),
    "e": (2, -1),
    "up": (0, 1),
    "down": (0, -1),
    "left": (1, 1),
    "right": (1, -1),
    "page up": (2, 1),
    "page down": (2, -1),
}
"""Axis of the robot's frame (x ahead, y left, z up) and sign of each key that moves the hand while it is held."""
COMMANDS = {"return": "keep", "backspace": "discard", "escape": "quit"}
GRIPPER, SLOW = "space", "left shift"
SLOWLY = 0.25
"""Share of the speed while the key for it is held."""
DEAD = 0.15
"""Share of its way that a stick can be off its middle and still be at rest."""
HELP = """w s a d, or arrows: ahead, back, left, right; q e: up, down; left shift: slowly; space: gripper
return: keep this episode; backspace: begin it again; esc: end"""


@dataclass(frozen=True)
class Key:
    """A key, by its name in pygame, goes down or up."""

    name: str
    down: bool = True


@dataclass(frozen=True)
class Stick:
    """A stick of a gamepad stands at value in [-1, 1] along an axis of the robot's frame."""

    axis: int
    value: float


class Jog:
    """Actions (x, y, z) or (x, y, z, gripper) from what is held at the moment.

    Args:
        nu: action dimensions, 3 or 4; the gripper's is 1 open and -1 closed, and begins open.
        speed: action while a key is held, in (0, 1].

    Raises:
        ValueError: nu or speed is out of range.
    """

    def __init__(self, nu: int, speed: float = 1.0) -> None:
        if nu not in (3, 4):
            raise ValueError(f"actions have {nu} entries, allowed 3 (the hand along x, y, z) or 4 (and the gripper)")
        if not 0 < speed <= 1:
            raise ValueError(f"speed is {speed}, allowed (0, 1]")
        self.nu, self.speed = nu, speed
        self._sticks = np.zeros(3)
        self._held: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """A new episode: the gripper is open. Keys that are held stay so."""
        self.opening = 1.0

    @property
    def moving(self) -> bool:
        """Whether anything is held that moves the hand."""
        return bool(self._held & DIRECTIONS.keys()) or bool(np.any(self._sticks))

    def apply(self, event: Key | Stick) -> str | None:
        """Take in an event.

        Returns:
            The command that it gives: keep, discard or quit; gripper where that was moved; None for all others.
        """
        if isinstance(event, Stick):
            self._sticks[event.axis] = 0.0 if abs(event.value) < DEAD else np.clip(event.value, -1.0, 1.0)
            return None
        if not event.down:
            self._held.discard(event.name)
            return None
        self._held.add(event.name)
        if event.name == GRIPPER and self.nu == 4:
            self.opening = -self.opening
            return "gripper"
        return COMMANDS.get(event.name)

    def action(self) -> Float32:
        """Action (nu,) of this moment."""
        way = self._sticks.copy()
        for name in self._held & DIRECTIONS.keys():
            axis, sign = DIRECTIONS[name]
            way[axis] += sign
        way = self.speed * np.clip(way, -1.0, 1.0) * (SLOWLY if SLOW in self._held else 1.0)
        return np.append(way, [self.opening] * (self.nu - 3)).astype(np.float32)
