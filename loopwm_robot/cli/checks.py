"""What must fit before a run folder is made: a wrong request costs neither time nor a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from envs.arm_env import ArmEnv

from ..checkpoint import Spaces
from ..data.buffer import ReplayBuffer
from ..deploy.arm_config import ArmConfig
from ..deploy.preflight import preflight
from ..errors import RequestError


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


def check_episodes(path: Path, spaces: Spaces, capacity: int) -> None:
    """Recorded episodes can be read and fit the environment.

    Raises:
        RequestError: they cannot be used.
    """
    try:
        ReplayBuffer(capacity, *spaces.sizes).load(path)
    except ValueError as error:
        raise RequestError(str(error)) from error
