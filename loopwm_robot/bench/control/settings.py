"""The settings of a training, from its run folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from ...config import TrainCommand
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
