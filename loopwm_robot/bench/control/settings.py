"""What a finished training left in its run folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from ...checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint
from ...config import TrainCommand
from ...device import find_device
from ...schema import build
from ..common import BenchmarkError


def configured(folder: Path) -> TrainCommand:
    """The resolved settings of a `loopwm train`.

    Raises:
        BenchmarkError: the folder has none.
    """
    file = folder / "config.yaml"
    try:
        return build(TrainCommand, yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BenchmarkError(f"{file} cannot be read ({error}); move the run folder away") from error


def model_of(folder: Path, name: str = CHECKPOINT_FILE) -> tuple[Checkpoint, TrainCommand]:
    """A model of a training, where it was trained, and the settings of the training.

    Args:
        folder: of the run.
        name: of the checkpoint in it.
    """
    config = configured(folder)
    return load_checkpoint(folder / name, find_device(config.device)), config
