"""What must fit before a run folder is made: a wrong request costs neither time nor a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from envs.arm_env import ArmEnv

from ..build import check_model, check_strides, make_env, spaces_of
from ..checkpoint import Spaces, find_checkpoint, load_checkpoint
from ..config import TrainCommand
from ..data.datasets import read_dataset, split
from ..data.recorded import check_recorded
from ..deploy.arm_config import ArmConfig
from ..deploy.preflight import preflight
from ..errors import RequestError
from ..models.shared import check_shared
from ..objective import check_objective
from ..training.explore import reward_function
from ..training.finetune import Origin
from ..types import Episode
from .compose import named

Environment = tuple[gym.Env[Any, Any], Spaces]
"""An environment, and what its observations and actions are."""


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


def environments(config: TrainCommand, overrides: Sequence[str] = ()) -> list[Environment]:
    """The environments of a training, each with its spaces.

    Args:
        config: of the run.
        overrides: as written on the command line.

    Raises:
        RequestError: one cannot be made, or is no good for the model or the planner; or env is given beside envs.
    """
    given = named(overrides, "env")
    if config.envs and given is not None:
        raise RequestError(f"{given} beside envs, allowed one of them; name the environment in envs")
    found = []
    for env_config in config.environments:
        env = make_env(env_config)
        found.append((env, spaces_of(env, env_config)))
    return found


def check_processes(config: TrainCommand, processes: int) -> None:
    """As many processes can train together.

    Raises:
        RequestError: there are several of them, and several environments.
    """
    if config.envs and processes > 1:
        raise RequestError(f"envs has {len(config.envs)} environments with {processes} processes, allowed with one")


def check_environments(config: TrainCommand, found: Sequence[Environment], processes: int) -> None:
    """The model can learn the environments, and the planner can act in them.

    Raises:
        RequestError: names what does not fit.
    """
    check_processes(config, processes)
    for env, spaces in found:
        check_objective(spaces, config.planner, config.model.kind)
        check_strides(config.planner, config.model.kind, config.model.form)
        check_model(env, spaces, config.model, config.train.update.chunks)
    if len(found) > 1:
        if config.train.update.batch_size < len(found):
            raise RequestError(
                f"train.update.batch_size is {config.train.update.batch_size} for {len(found)} environments, "
                f"allowed >= {len(found)}"
            )
        try:
            check_shared(config.model, [spaces for _, spaces in found])
        except ValueError as error:
            raise RequestError(str(error)) from error


def origin(config: TrainCommand, spaces: Spaces, overrides: Sequence[str] = ()) -> Origin | None:
    """What a run fine-tunes: None where its weights are new.

    Args:
        config: of the run.
        spaces: of its environment.
        overrides: as written on the command line.

    Raises:
        RequestError: the checkpoint or the old data cannot be read, or does not fit; or the model is asked to change.
    """
    if config.init is None:
        return None
    changed = named(overrides, "model")
    if changed is not None:
        raise RequestError(f"{changed} beside init, allowed nothing of model: it is that of the checkpoint")
    path = find_checkpoint(config.init)
    try:
        checkpoint = load_checkpoint(path)
        if checkpoint.shared is not None:
            raise RequestError(f"init {path} knows {len(checkpoint.known)} environments, allowed one; train anew")
        found = Origin(checkpoint)
        found.require(spaces, path)
        if config.old_data is None:
            return found
        source = Path(config.old_data).expanduser()
        return Origin(checkpoint, *split(read_dataset(source, checkpoint.spaces, None), config.train.held_out, source))
    except ValueError as error:
        raise RequestError(str(error)) from error


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
