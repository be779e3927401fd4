"""Open the checkpoint that a command names and make sure that it fits the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from ..build import make_env, spaces_of
from ..checkpoint import Checkpoint, CheckpointError, load_checkpoint
from ..config import EnvConfig
from ..errors import RequestError

CHECKPOINT_FILE = "checkpoint.safetensors"


def find_checkpoint(name: str) -> Path:
    """The file that `checkpoint=` names: itself, or the one in a run folder.

    Raises:
        RequestError: nothing is named.
    """
    if not name:
        raise RequestError("checkpoint is missing, allowed a .safetensors file or a run folder; pass checkpoint=PATH")
    path = Path(name).expanduser()
    return path / CHECKPOINT_FILE if path.is_dir() else path


def open_checkpoint(name: str, env_config: EnvConfig) -> tuple[Checkpoint, gym.Env[Any, Any], Path]:
    """Load a checkpoint and make the environment it was trained for.

    Raises:
        RequestError: the file is missing or damaged, or belongs to another environment.
    """
    path = find_checkpoint(name)
    try:
        checkpoint = load_checkpoint(path)
        env = make_env(env_config)
        checkpoint.spaces.require(spaces_of(env, env_config), path)
    except CheckpointError as error:
        raise RequestError(str(error)) from error
    return checkpoint, env, path
