"""Open the checkpoint that a command names and make sure that it fits the environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from ..build import make_env, spaces_of, trained_on
from ..checkpoint import Checkpoint, CheckpointError, find_checkpoint, load_checkpoint
from ..config import EnvConfig
from ..device import find_device
from ..errors import RequestError
from .compose import named


def open_checkpoint(
    name: str, env_config: EnvConfig, overrides: Sequence[str], device: str = "cpu"
) -> tuple[Checkpoint, gym.Env[Any, Any], Path, EnvConfig]:
    """Load a checkpoint to a device and make the environment it was trained for.

    Args:
        name: of the file, or of the run folder that holds it.
        env_config: the environment that is asked for; where `overrides` do not name one and the checkpoint does not
            know this one, its own takes the place.
        overrides: as written on the command line.
        device: to plan on.

    Returns:
        the model, the environment, the file, and the configuration of the environment.

    Raises:
        RequestError: nothing is named, the file is missing or damaged, or belongs to another environment; or there
            is no such device.
    """
    if not name:
        raise RequestError("checkpoint is not given, allowed a .safetensors file or a run folder; pass checkpoint=PATH")
    path = find_checkpoint(name)
    try:
        checkpoint = load_checkpoint(path, find_device(device))
        known = [(spaces.env_id, spaces.control_mode, spaces.obs_mode) for spaces in checkpoint.known]
        asked = env_config.id, env_config.control_mode, env_config.obs_mode
        if named(overrides, "env") is None and asked not in known:
            env_config = trained_on(checkpoint.known[0])
        env = make_env(env_config)
        checkpoint = checkpoint.at(spaces_of(env, env_config), path)
    except CheckpointError as error:
        raise RequestError(str(error)) from error
    return checkpoint, env, path, env_config
