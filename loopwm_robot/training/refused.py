"""The batch that an update failed on, kept for a look at it: npz, no pickles."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import whole_file
from ..types import History, SequenceBatch

REFUSED = "refused_batch.npz"
"""Name of the file in the folder of the training state."""


def save_batch(path: Path, batch: SequenceBatch) -> None:
    """Write a batch, all or nothing; what it has no part of is left out."""
    arrays: dict[str, NDArray[Any]] = {}
    for field in fields(batch):
        part = getattr(batch, field.name)
        if isinstance(part, History):
            arrays |= {f"history.{f.name}": getattr(part, f.name).cpu().numpy() for f in fields(part)}
        elif part is not None:
            arrays[field.name] = part.detach().cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_batch(path: Path) -> SequenceBatch:
    """Read what `save_batch` wrote.

    Raises:
        ValueError: the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        history = {name[8:]: tensors.pop(name) for name in list(tensors) if name.startswith("history.")}
        return SequenceBatch(**tensors, history=History(**history) if history else None)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"batch {path} cannot be read ({error}); give a {REFUSED} of a failed training") from error
