"""Settings of `loopwm push` and `loopwm pull`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""OWNER/NAME, as huggingface.co writes them."""


def is_repository(text: str) -> bool:
    """True for OWNER/NAME, False for a folder: one that exists, or that is written with ./, ../, ~ or /."""
    return REPOSITORY.fullmatch(text) is not None and not Path(text).exists()


@dataclass(frozen=True)
class PushCommand:
    """`loopwm push`: share a trained model.

    Attributes:
        checkpoint: the .safetensors file, or the run folder that holds it.
        to: OWNER/NAME on huggingface.co, or a new folder, written as ./FOLDER where it has one slash.
        evaluation: folder of a loopwm evaluate of this checkpoint, whose figures go into the model card.
        license: of the weights, as huggingface.co names it, such as apache-2.0.
        private: make a new repository on huggingface.co private.
    """

    checkpoint: str = ""
    to: str = ""
    evaluation: str | None = None
    license: str = "apache-2.0"
    private: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise ValueError(f"license is '{self.license}', allowed an identifier such as apache-2.0, mit or cc-by-4.0")


@dataclass(frozen=True)
class PullCommand:
    """`loopwm pull`: fetch a shared model and verify it.

    Attributes:
        source: OWNER/NAME on huggingface.co, or a folder of loopwm push.
        revision: branch, tag or commit on huggingface.co; none takes the newest.
        out: folder of the model; none makes runs/pull/TIME.
    """

    source: str = ""
    revision: str | None = None
    out: str | None = None
