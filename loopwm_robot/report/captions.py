"""Small texts in the pictures of a film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
DIM: Colour = (206, 213, 221)
REACHED: Colour = (122, 240, 165)
PLANNED: Colour = (255, 140, 20)
TRAVELLED: Colour = (58, 132, 196)
SHADE = (18, 24, 32, 150)


class Captions:
    """Writes the number of the goal, time, distance and planning time into pictures.

    Args:
        title: text of this reach.
        width: of the finished pictures [pixels]; None keeps theirs.
        further: more lines that the pictures hold: what they mean, and their colour.
    """

    def __init__(
        self, title: str, width: int | None = None, further: Sequence[tuple[str, Colour]] = ()
    ) -> None:
        self.title, self.width, self.further = title, width, further

    def add(self, picture: Frame, time: float, distance: float, plan_time: float, success: bool) -> Frame:
        """Write into a copy of a picture.

        Args:
            picture: (height, width, 3).
            time: since the reach began [s].
            distance: to the goal [m].
            plan_time: duration of planning [s].
            success: whether the distance counts as reached.

        Returns:
            New picture, of the width asked for.
        """
        image = Image.fromarray(picture)
        if self.width is not None and image.width > self.width:
            height = round(image.height * self.width / image.width)
            image = image.resize((self.width, height), Image.Resampling.BOX)
        draw = ImageDraw.Draw(image, "RGBA")
        size = max(9, image.height // 26)
        plain, bold = _font("DejaVuSans.ttf", size), _font("DejaVuSans-Bold.ttf", size)
        strip = int(2.15 * size)  # at the top, for players cover the bottom with their controls
        draw.rectangle((0, 0, image.width, strip), fill=SHADE)
        fields = (
            (0.03, self.title, bold, WHITE),
            (0.29, f"{time:.2f} s", plain, DIM),
            (0.45, f"{100 * distance:.1f} cm to goal", bold if success else plain, REACHED if success else WHITE),
            (0.78, f"plan {1000 * plan_time:.0f} ms", plain, DIM),
        )
        for share, text, font, colour in fields:
            draw.text((share * image.width, strip // 2), text, font=font, fill=colour, anchor="lm")
        legend = (("planned path", PLANNED), ("travelled", TRAVELLED), *self.further)
        for row, (text, colour) in enumerate(legend):
            y, x = strip + int((1.3 + 1.7 * row) * size), 0.03 * image.width
            draw.line((x, y, x + 1.6 * size, y), fill=colour, width=max(2, size // 5))
            draw.text((x + 2.1 * size, y), text, font=plain, fill=(30, 38, 48), anchor="lm")
        return np.asarray(image).copy()

    @staticmethod
    def save(picture: Frame, path: Path) -> None:
        """Write a picture as PNG in one step."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            Image.fromarray(picture).save(temporary, format="png", optimize=True)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


_FONTS: dict[tuple[str, int], ImageFont.FreeTypeFont] = {}


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, so that texts look the same on every machine."""
    if (name, size) not in _FONTS:
        _FONTS[name, size] = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
    return _FONTS[name, size]
