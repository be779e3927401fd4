"""A picture of every arm in every task."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import envs

Picture = NDArray[np.uint8]

CAPTION = 22
"""Height of a caption [pixels]."""


def gallery_ids(arm: str = "") -> list[list[str]]:
    """Ids of our environments, a row for each task and a column for each arm.

    Args:
        arm: name of one arm; empty takes all.
    """
    gym.register_envs(envs)
    rows: dict[str, list[str]] = {}
    for name, spec in gym.registry.items():
        if name.startswith("LoopWM/") and arm in ("", spec.kwargs.get("arm")) and "randomize" not in spec.kwargs:
            rows.setdefault(str(spec.entry_point), []).append(name)
    return list(rows.values())


def take_picture(env_id: str, width: int, height: int, seed: int, arm: str = "") -> Picture:
    """The start of an episode.

    Args:
        env_id: Gymnasium id of an environment of ours.
        width: of the picture [pixels].
        height: of the picture [pixels].
        seed: of the episode.
        arm: path of the YAML file of another arm; empty keeps the id's.

    Returns:
        Picture (height, width, 3).
    """
    other: dict[str, Any] = {"arm": arm} if arm else {}
    env: Any = gym.make(env_id, render_mode="rgb_array", width=width, height=height, samples=4, **other).unwrapped
    env.reset(seed=seed)
    picture: Picture = env.render()
    env.close()
    return picture


def contact_sheet(rows: list[list[tuple[str, Picture]]]) -> Image.Image:
    """All pictures on one, each over its caption. Args: rows: captions and pictures, all of one size."""
    height, width, _ = rows[0][0][1].shape
    sheet = Image.new("RGB", (width * max(map(len, rows)), (height + CAPTION) * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            x, y = j * width, i * (height + CAPTION)
            sheet.paste(Image.fromarray(picture), (x, y))
            draw.text((x + 6, y + height + 3), caption, fill="black", font=font)
    return sheet
