"""A shared model: its files, and a manifest that tells whether they are what was shared."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..checkpoint import CHECKPOINT_FILE, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from ..files import whole_file
from ..runs import write_summary, write_text
from .card import model_card

MANIFEST = "manifest.json"
FORMAT = "loopwm-robot model 1"
FILES = (CHECKPOINT_FILE, "README.md", "config.yaml", "summary.json")
"""All that a shared model may hold beside its manifest; nothing else is ever fetched."""
PRIVATE_KEYS = ("out", "resume", "data", "checkpoint")
"""Paths on the machine of whoever shares: they stay there."""


class HubError(ValueError):
    """A shared model cannot be made, fetched or trusted."""


def make_package(
    folder: Path, checkpoint: Checkpoint, summary: Mapping[str, Any], config: Mapping[str, Any], license_name: str
) -> None:
    """Write a model to share.

    Args:
        folder: new or empty.
        checkpoint: the model.
        summary: figures, flat; may be empty.
        config: settings of the run; may be empty.
        license_name: of the weights, as huggingface.co names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures, settings = _without_paths(summary), _without_paths(config)
    save_checkpoint(folder / CHECKPOINT_FILE, checkpoint)
    write_text(folder / "README.md", model_card(checkpoint, figures, settings, license_name))
    if settings:
        write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    if figures:
        write_summary(folder / "summary.json", figures)
    present = [name for name in FILES if (folder / name).is_file()]
    entries = {name: {"sha256": sha256(folder / name), "size": (folder / name).stat().st_size} for name in present}
    write_text(folder / MANIFEST, json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n")


def verify(folder: Path) -> Checkpoint:
    """Check every file of a fetched model against its manifest, and load the checkpoint.

    Raises:
        HubError: something is missing, damaged or changed; names the file.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        entries = {str(name): (str(e["sha256"]), int(e["size"])) for name, e in manifest["files"].items()}
        form = str(manifest["format"])
    except FileNotFoundError as error:
        raise HubError(f"{folder} has no {MANIFEST}, allowed what loopwm push made; ask its owner") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{path} cannot be read ({error!r}); fetch it again") from error
    if form != FORMAT:
        raise HubError(f"{path} has format '{form}', allowed '{FORMAT}'; update loopwm-robot")
    if CHECKPOINT_FILE not in entries:
        raise HubError(f"{path} does not list {CHECKPOINT_FILE}, allowed what loopwm push made; ask its owner")
    for name, (wanted, size) in entries.items():
        if name not in FILES:
            raise HubError(f"{path} lists '{name}', allowed {', '.join(FILES)}; ask its owner")
        file = folder / name
        if not file.is_file() or file.is_symlink():
            raise HubError(f"{file} is missing or is a link, allowed the file of the manifest; fetch it again")
        if file.stat().st_size != size or sha256(file) != wanted:
            raise HubError(f"{file} is not what was shared (size or SHA-256 differ from {MANIFEST}); fetch it again")
    try:
        return load_checkpoint(folder / CHECKPOINT_FILE)
    except CheckpointError as error:
        raise HubError(str(error)) from error


def copy(source: Path, target: Path) -> None:
    """Copy the files of a shared model, and nothing else, into an empty folder."""
    for name in (*FILES, MANIFEST):
        if (source / name).is_file():
            with (source / name).open("rb") as original, whole_file(target / name) as file:
                shutil.copyfileobj(original, file)


def _without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that may be shared: of a path only its last part."""
    kept = {key: value for key, value in values.items() if isinstance(value, Mapping) or key not in PRIVATE_KEYS}
    return {key: _without_path(value) for key, value in kept.items()}


def _without_path(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_paths(value)
    if isinstance(value, list | tuple):
        return [_without_path(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def sha256(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
