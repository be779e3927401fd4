"""A window of pygame with keyboard and gamepad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RequestError
from .jog import Key, Stick

AXES = {1: (0, -1.0), 0: (1, -1.0), 4: (2, -1.0)}
"""Axis of the gamepad: axis of the robot's frame and sign. The left stick is x and y, the right one z."""
BUTTONS = {0: "space", 4: "left shift", 6: "backspace", 7: "return", 8: "escape"}
"""A, left shoulder, back, start and guide, as pygame 2 counts an Xbox 360 controller; other pads differ.

Source: pygame documentation, joystick module, common controller axis mappings.
"""


class Window:
    """Shows pictures, and listens to the keyboard and to the first gamepad that is plugged in.

    Args:
        title: of the window.

    Raises:
        RequestError: pygame is not installed, or there is no display.
    """

    def __init__(self, title: str) -> None:
        try:
            import pygame
        except ImportError as error:
            raise RequestError(
                f'loopwm teleop needs pygame ({error}); install it by pip install "loopwm-robot[teleop]"'
            ) from error
        self._pygame: Any = pygame
        try:
            pygame.display.init()
            pygame.display.set_caption(title)
            self._surface = pygame.display.set_mode((640, 480), pygame.RESIZABLE)
        except pygame.error as error:
            raise RequestError(f"no window can be opened: {error}; run loopwm teleop where DISPLAY is set") from error
        pygame.joystick.init()
        self._pad = pygame.joystick.Joystick(0) if pygame.joystick.get_count() else None
        self._clock = pygame.time.Clock()

    def poll(self) -> Sequence[Key | Stick]:
        """What happened since the last call; closing the window is esc."""
        pygame, found = self._pygame, list[Key | Stick]()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                found.append(Key("escape"))
            elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
                found.append(Key(pygame.key.name(event.key), event.type == pygame.KEYDOWN))
            elif event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP) and event.button in BUTTONS:
                found.append(Key(BUTTONS[event.button], event.type == pygame.JOYBUTTONDOWN))
            elif event.type == pygame.JOYAXISMOTION and event.axis in AXES:
                axis, sign = AXES[event.axis]
                found.append(Stick(axis, sign * event.value))
        return found

    def show(self, picture: NDArray[np.uint8] | None, text: str) -> None:
        """Fill the window with a picture (H, W, 3); the text is its title."""
        pygame = self._pygame
        pygame.display.set_caption(text)
        if picture is not None:
            image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
            pygame.transform.scale(image, self._surface.get_size(), self._surface)
            pygame.display.flip()

    def wait(self, dt: float) -> None:
        """Wait until dt [s] after this was called last."""
        self._clock.tick(1.0 / dt)

    def close(self) -> None:
        """Close the window."""
        self._pygame.quit()
