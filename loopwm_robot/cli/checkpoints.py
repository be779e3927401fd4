"""Open the checkpoint that a command names and make sure that it fits the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from ..build import make_env, spaces_of
from ..checkpoint import Checkpoint, CheckpointError, find_checkpoint, load_checkpoint
from ..config import EnvConfig
from ..device import find_device
from ..errors import RequestError


def open_checkpoint(
    name: str, env_config: EnvConfig, device: str = "cpu"
) -> tuple[Checkpoint, gym.Env[Any, Any], Path]:
    """Load a checkpoint to a device and make the environment it was trained for.

    Raises:
        RequestError: nothing is named, the file is missing or damaged, or belongs to another environment; or there
            is no such device.
    """
    if not name:
        raise RequestError("checkpoint is not given, allowed a .safetensors file or a run folder; pass checkpoint=PATH")
    path = find_checkpoint(name)
    try:
        checkpoint = load_checkpoint(path, find_device(device))
        env = make_env(env_config)
        checkpoint = checkpoint.at(spaces_of(env, env_config), path)
    except CheckpointError as error:
        raise RequestError(str(error)) from error
    return checkpoint, env, path
