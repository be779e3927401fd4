"""What must fit before a run folder is made: a wrong request costs neither time nor a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from envs.arm_env import ArmEnv

from ..checkpoint import Spaces
from ..config import TrainCommand
from ..data.datasets import read_dataset, split
from ..data.recorded import check_recorded
from ..deploy.arm_config import ArmConfig
from ..deploy.preflight import preflight
from ..errors import RequestError
from ..training.online import reward_function
from ..types import Episode


def check_arm(spaces: Spaces, env: gym.Env[Any, Any], arm: ArmConfig, allow_motion: bool) -> None:
    """The arm can run what is trained on the environment.

    Raises:
        RequestError: names what differs, or asks for consent to move.
    """
    base = env.unwrapped
    if not isinstance(base, ArmEnv):
        raise RequestError(
            f"env.id '{spaces.env_id}' is no arm environment, allowed those of envs/; it cannot drive an arm"
        )
    if spaces.image:
        raise RequestError(
            f"env.obs_mode is '{spaces.obs_mode}', allowed 'vector' for an arm: the bridge has no camera; "
            "set env.obs_mode=vector"
        )
    preflight(spaces, arm, base.arm, base.joint_delta, allow_motion)


def recorded(config: TrainCommand, env: gym.Env[Any, Any], spaces: Spaces) -> tuple[list[Episode], list[Episode]]:
    """Recorded episodes to learn from, and others to measure on: none where the run acts in the environment as well.

    Raises:
        RequestError: they cannot be read, or do not fit the environment.
    """
    if config.data is None:
        return [], []
    path = Path(config.data).expanduser()
    try:
        episodes = read_dataset(path, spaces, reward_function(env))
        parts = (episodes, []) if config.interact else split(episodes, config.train.held_out, path)
        check_recorded(*parts, config.train.buffer_size)
        return parts
    except ValueError as error:
        raise RequestError(str(error)) from error
