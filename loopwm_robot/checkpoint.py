"""Checkpoints: weights in one safetensors file, with the configuration and the spaces they belong to in its header.

Nothing is ever unpickled. A damaged file, one of another environment, or one of another version gives one clear error.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
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
from .schema import build

FORMAT = "loopwm-robot checkpoint 2"
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


@dataclass(frozen=True)
class Checkpoint:
    """A model with what is needed to use it.

    Attributes:
        model: in evaluation mode.
        config: its architecture.
        spaces: what it was trained on.
        info: further numbers and strings, such as the number of updates and library versions.
    """

    model: DynamicsModel
    config: ModelConfig
    spaces: Spaces
    info: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Number of trained numbers in the model."""
        return sum(p.numel() for p in self.model.parameters())


def find_checkpoint(path: str | Path) -> Path:
    """The file that a path names: itself, or the checkpoint in a run folder."""
    path = Path(path).expanduser()
    return path / CHECKPOINT_FILE if path.is_dir() else path


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: the file at `path` is either the old one or the whole new one."""
    header = {
        "format": FORMAT,
        "model": json.dumps(asdict(checkpoint.config)),
        "spaces": json.dumps(asdict(checkpoint.spaces)),
        "info": json.dumps(checkpoint.info),
        "exits": json.dumps(getattr(checkpoint.model, "exit_thresholds", {})),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.model.state_dict().items()}
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

    Raises:
        CheckpointError: it is missing, damaged, of another format, or its weights do not fit its configuration.
    """
    tensors, header = load_tensors(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {header.get('format')!r}, allowed '{FORMAT}'; "
            "it was not written by this version of loopwm-robot"
        )
    try:
        config = build(ModelConfig, json.loads(header["model"]))
        spaces = build(Spaces, json.loads(header["spaces"]))
        info = json.loads(header["info"])
        model = build_model(config, *spaces.of_model)
        model.load_state_dict(tensors)
        if isinstance(model, LoopWM) and config.kind == "loopwm":
            model.exit_thresholds = {str(k): float(v) for k, v in json.loads(header["exits"]).items()}
            model.exit_rule = exit_rule(config, model)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} does not fit its own configuration ({error})") from error
    return Checkpoint(model.eval().to(device), config, spaces, info)
