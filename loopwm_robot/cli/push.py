"""loopwm push: share a trained model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ..errors import RequestError
from ..hub.config import PushCommand, is_repository
from .compose import compose, read

CONFIG_NAME = "push"
SCHEMA = PushCommand


def run(overrides: list[str]) -> int:
    """Write the model with its card to a folder, or to huggingface.co."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..checkpoint import CheckpointError, find_checkpoint, load_checkpoint
    from ..hub.package import make_package

    if not config.checkpoint or not config.to:
        raise RequestError("push needs checkpoint=PATH and to=FOLDER or to=OWNER/NAME, got less; see --help")
    path = find_checkpoint(config.checkpoint)
    try:
        checkpoint = load_checkpoint(path)
    except CheckpointError as error:
        raise RequestError(str(error)) from error
    figures = _figures(path, config.evaluation)
    settings = dict(read(path.parent / "config.yaml")) if (path.parent / "config.yaml").is_file() else {}
    if is_repository(config.to):
        from ..hub.remote import upload

        with tempfile.TemporaryDirectory() as folder:
            make_package(Path(folder), checkpoint, figures, settings, config.license)
            where = upload(Path(folder), config.to, config.private)
    else:
        target = Path(config.to).expanduser().absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RequestError(f"to is {target}, which is not empty; choose a new folder")
        make_package(target, checkpoint, figures, settings, config.license)
        where = str(target)
    print(f"shared: {where}")
    return 0


def _figures(checkpoint: Path, evaluation: str | None) -> dict[str, Any]:
    """The figures of the run, and those of an evaluation of the same checkpoint over them."""
    own = _summary(checkpoint.parent / "summary.json")
    if evaluation is None:
        return own
    file = Path(evaluation).expanduser() / "summary.json"
    measured = _summary(file)
    if not measured:
        raise RequestError(f"evaluation is {evaluation}, allowed a folder of loopwm evaluate with summary.json")
    of = str(measured.get("checkpoint", ""))
    if Path(of).absolute() != checkpoint.absolute():
        raise RequestError(f"evaluation {evaluation} measured checkpoint '{of}', allowed {checkpoint}; evaluate that")
    return own | measured


def _summary(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RequestError(f"{file} cannot be read ({error}); run it again") from error
    if not isinstance(values, dict):
        raise RequestError(f"{file} is no JSON object, allowed one; run it again")
    return values
