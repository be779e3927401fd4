"""Checkpoints: weights in one safetensors file, with the configuration and the spaces they belong to in its header.

Nothing is ever unpickled. A damaged file, one of another environment, or one of another version gives one clear error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .config import ModelConfig
from .files import whole_file
from .models.build import build_model, exit_rule
from .models.dynamics import DynamicsModel
from .models.loopwm import LoopWM
from .models.shared import SharedModel
from .schema import build

FORMAT = "loopwm-robot checkpoint 2"
SEVERAL = f"{FORMAT}, several environments"
DIGEST = "sha256"
"""Key of the header under which the digest of the rest stands."""
CHECKPOINT_FILE = "checkpoint.safetensors"
"""Name of the checkpoint in a run folder."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used."""


@dataclass(frozen=True)
class Spaces:
    """What a model was trained on, and what an environment or an arm must match.

    Attributes:
        env_id: Gymnasium id.
        control_mode: meaning of an action; empty for environments that are not ours.
        n_obs, nu, n_goal: sizes of observation, action and goal.
        ctrl_dt: duration of an action [s].
        position: first and one past the last column in the observation of the position that the goal is about: that of
            the end effector, or of the object to be moved; both 0 where there is none.
        joints: the same of the joint positions.
        home: posture that the arm prefers [rad]; empty where the observation has no joints.
        groups: columns of the observation that belong to one body, by name; empty where nobody knows.
        image: height, width and channels of the pictures; empty where there are none.
        obs_mode: what the environment was asked to show, see `config.EnvConfig`.
        target: columns, as in position, of a goal that moves and then of its velocity; both 0 where goals stay.
    """

    env_id: str
    control_mode: str
    n_obs: int
    nu: int
    n_goal: int
    ctrl_dt: float
    position: tuple[int, int] = (0, 0)
    joints: tuple[int, int] = (0, 0)
    home: tuple[float, ...] = ()
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    image: tuple[int, ...] = ()
    obs_mode: str = "vector"
    target: tuple[int, int] = (0, 0)

    @property
    def of_model(self) -> tuple[int, int, int, float, dict[str, tuple[int, ...]], tuple[int, ...]]:
        """What `build_model` takes behind the configuration: sizes, control step, groups and pictures."""
        return self.n_obs, self.nu, self.n_goal, self.ctrl_dt, self.groups, self.image

    @property
    def sizes(self) -> tuple[int, int, int, tuple[int, ...]]:
        """Sizes of observation, action, goal and pictures, as a replay buffer takes them."""
        return self.n_obs, self.nu, self.n_goal, self.image

    @property
    def position_columns(self) -> slice:
        """Columns in the observation of the position that the goal is about [m]."""
        return slice(*self.position)

    @property
    def target_columns(self) -> slice | None:
        """Columns of a goal that moves and, as many, of its velocity; None where goals stay."""
        return slice(*self.target) if self.target[1] else None

    @property
    def joint_columns(self) -> slice:
        """Columns of the joint positions [rad] in the observation."""
        return slice(*self.joints)

    def require(self, other: Spaces, path: Path | str) -> None:
        """Check that a checkpoint with these spaces fits an environment.

        Raises:
            CheckpointError: names every field that differs.
        """
        mine, theirs = asdict(self), asdict(other)
        differing = [f"{key} {mine[key]!r} (environment {theirs[key]!r})" for key in mine if mine[key] != theirs[key]]
        if differing:
            raise CheckpointError(
                f"checkpoint {path} was trained for {', '.join(differing)}; "
                "use the environment it was trained on, or train a checkpoint for this one"
            )


def short_names(spaces: Sequence[Spaces]) -> list[str]:
    """Names of environments: PandaReach, or PandaReach_joint_delta where the id alone does not tell them apart."""
    names = [re.sub(r"^.*/|-v\d+$", "", s.env_id) for s in spaces]
    same = {name for name in names if names.count(name) > 1}
    return [f"{name}_{s.control_mode}" if name in same else name for name, s in zip(names, spaces, strict=True)]


@dataclass(frozen=True)
class Checkpoint:
    """A model with what is needed to use it.

    Attributes:
        model: in evaluation mode.
        config: its architecture.
        spaces: what it was trained on.
        info: further numbers and strings, such as the number of updates and library versions.
        shared: all of the model where it knows several environments, of which `model` and `spaces` are one; else None.
    """

    model: DynamicsModel
    config: ModelConfig
    spaces: Spaces
    info: dict[str, Any]
    shared: SharedModel | None = None

    @property
    def known(self) -> tuple[Spaces, ...]:
        """All environments that the model knows."""
        return (self.spaces,) if self.shared is None else self.shared.spaces

    def at(self, env: Spaces, path: Path | str) -> Checkpoint:
        """This checkpoint as an environment sees it.

        Args:
            env: its spaces.
            path: of the checkpoint, for messages.

        Raises:
            CheckpointError: names every field that differs or, where the model knows several environments, those.
        """
        if self.shared is None:
            self.spaces.require(env, path)
            return self
        for spaces, model in zip(self.shared.spaces, self.shared.views, strict=True):
            if (spaces.env_id, spaces.control_mode) == (env.env_id, env.control_mode):
                spaces.require(env, path)
                return replace(self, model=model.eval(), spaces=spaces)
        raise CheckpointError(
            f"checkpoint {path} knows no {_named(env)}, allowed {', '.join(map(_named, self.shared.spaces))}; "
            "use an environment it was trained on, or train a checkpoint for this one"
        )

    @property
    def parameters(self) -> int:
        """Number of trained numbers in the model."""
        return sum(p.numel() for p in self.model.parameters())


def _named(spaces: Spaces) -> str:
    return f"{spaces.env_id} ({spaces.control_mode})" if spaces.control_mode else spaces.env_id


def find_checkpoint(path: str | Path) -> Path:
    """The file that a path names: itself, or the checkpoint in a run folder."""
    path = Path(path).expanduser()
    return path / CHECKPOINT_FILE if path.is_dir() else path


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: the file at `path` is either the old one or the whole new one."""
    shared = checkpoint.shared
    views = [checkpoint.model] if shared is None else shared.views
    spaces, exits = [asdict(s) for s in checkpoint.known], [getattr(view, "exit_thresholds", {}) for view in views]
    header = {
        "format": FORMAT if shared is None else SEVERAL,
        "model": json.dumps(asdict(checkpoint.config)),
        "spaces": json.dumps(spaces[0] if shared is None else spaces),
        "info": json.dumps(checkpoint.info),
        "exits": json.dumps(exits[0] if shared is None else exits),
    }
    state = (checkpoint.model if shared is None else shared).state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_tensors(path, tensors, header)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file, all or nothing, with a digest of its content.

    Raises:
        OSError: names the file; the old one, if any, is untouched.
    """
    header = {**header, DIGEST: digest(tensors, header)}
    try:
        with whole_file(path) as file:  # safetensors' own writer hides the file from everybody else
            file.write(save(tensors, metadata=header))
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def digest(tensors: dict[str, torch.Tensor], header: dict[str, str]) -> str:
    """SHA-256 over names, types, shapes and numbers of tensors on the CPU, and over the texts beside them."""
    total = hashlib.sha256()
    for key in sorted(header):
        total.update(json.dumps([key, header[key]]).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file.

    Raises:
        CheckpointError: it is missing, damaged, or holds non-finite numbers.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}); train again or take another file") from error
    written = header.pop(DIGEST, None)  # files of earlier versions have none
    if written is not None and written != digest(tensors, header):
        raise CheckpointError(
            f"checkpoint {path} is damaged (its content does not have the digest in its header); "
            "train again or take another file"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"checkpoint {path}: tensor {name} has non-finite numbers; take an earlier file")
    return tensors, header


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: of the file; it may have been written on any device.
        device: where the model shall be.

    Returns:
        the checkpoint; of several environments it is shown as the first one sees it, see `Checkpoint.at`.

    Raises:
        CheckpointError: it is missing, damaged, of another format, or its weights do not fit its configuration.
    """
    tensors, header = load_tensors(path)
    if header.get("format") not in (FORMAT, SEVERAL):
        raise CheckpointError(
            f"checkpoint {path} has format {header.get('format')!r}, allowed '{FORMAT}'; "
            "it was not written by this version of loopwm-robot"
        )
    try:
        config, info = build(ModelConfig, json.loads(header["model"])), json.loads(header["info"])
        spaces, exits = json.loads(header["spaces"]), json.loads(header["exits"])
        if header["format"] == SEVERAL:
            known = [build(Spaces, some) for some in spaces]
            shared = SharedModel(config, known, device)
            shared.load_state_dict(tensors)
            for view, thresholds in zip(shared.views, exits, strict=True):
                _calibrated(view, config, thresholds)
            return Checkpoint(shared.views[0].eval(), config, known[0], info, shared)
        own = build(Spaces, spaces)
        model = build_model(config, *own.of_model)
        model.load_state_dict(tensors)
        _calibrated(model, config, exits)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} does not fit its own configuration ({error})") from error
    return Checkpoint(model.eval().to(device), config, own, info)


def _calibrated(model: DynamicsModel, config: ModelConfig, exits: dict[str, Any]) -> None:
    """Give a model the thresholds of its exit rules."""
    if isinstance(model, LoopWM) and config.kind == "loopwm":
        model.exit_thresholds = {str(k): float(v) for k, v in exits.items()}
        model.exit_rule = exit_rule(config, model)
