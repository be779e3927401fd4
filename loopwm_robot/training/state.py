"""The whole state of a training after a round, in files that are written one after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..checkpoint import load_tensors, save_tensors
from .keep import saved_states

if TYPE_CHECKING:
    from .online import TrainingRun


def save_state(run: TrainingRun, generators: Sequence[torch.Tensor] = ()) -> None:
    """Write the whole state; the state file comes last and makes it valid.

    Args:
        run: the training.
        generators: states of `generator` in all processes; none is that of this one alone.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    tag = f"round_{run.rounds_done}"
    for arena, file in zip(run.arenas, buffer_files(run.folder, tag, len(run.arenas)), strict=True):
        arena.buffer.save(file)
    tensors, groups = _flatten_optimizer(run.trainer.optimizer)
    tensors |= {f"model.{name}": t.detach().cpu() for name, t in run.weights.state_dict().items()}
    for name, generator in (("generator", run.generator), ("planner", run.planner_noise)):
        tensors[f"random.{name}"] = generator.get_state()
    tensors |= {f"random.generator.{rank}": state for rank, state in enumerate(generators) if rank}
    noises = [arena.explorer.noise.tolist() for arena in run.arenas]
    header = {
        "groups": json.dumps(groups),
        "state": json.dumps(
            {
                "updates": run.trainer.updates,
                "rounds_done": run.rounds_done,
                "train_time_s": run.train_time_s,
                "history": run.history,
                "rng": run.rng.bit_generator.state,
                "explorer": noises[0] if len(noises) == 1 else noises,
            }
        ),
    }
    save_tensors(run.folder / f"{tag}.safetensors", tensors, header)
    for old in run.folder.glob("round_*"):
        if not old.name.startswith(f"{tag}."):
            old.unlink()


def restore_state(run: TrainingRun) -> bool:
    """Go on from the newest saved round; False when there is none."""
    saved = saved_states(run.folder)
    if not saved:
        return False
    tensors, header = load_tensors(saved[-1])
    state = json.loads(header["state"])
    run.weights.load_state_dict({k[6:]: t for k, t in tensors.items() if k.startswith("model.")})
    _restore_optimizer(run.trainer.optimizer, tensors, json.loads(header["groups"]))
    mine = f"random.generator.{run.team.rank}" if run.team.rank else "random.generator"
    if mine in tensors:  # otherwise there were fewer processes
        run.generator.set_state(tensors[mine])
    noise = tensors["random.planner"]
    if noise.shape == run.planner_noise.get_state().shape:  # otherwise it was drawn on another kind of device
        run.planner_noise.set_state(noise)
    noises = [state["explorer"]] if len(run.arenas) == 1 else state["explorer"]
    files = buffer_files(run.folder, saved[-1].stem, len(run.arenas))
    for arena, file, arena_noise in zip(run.arenas, files, noises, strict=True):
        arena.buffer.load(file)
        arena.explorer.noise = np.asarray(arena_noise)
    run.trainer.updates, run.rounds_done = state["updates"], state["rounds_done"]
    run.train_time_s, run.history = state["train_time_s"], state["history"]
    run.rng.bit_generator.state = state["rng"]
    run.model.eval()  # as a finished round leaves it
    return True


def buffer_files(folder: Path, tag: str, count: int) -> list[Path]:
    """Files of the replay buffers: one, or one for each of several environments."""
    return [folder / f"{tag}.npz"] if count == 1 else [folder / f"{tag}.{i}.npz" for i in range(count)]


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[Any]]:
    state = optimizer.state_dict()
    tensors = {f"optimizer.{i}.{k}": torch.as_tensor(v).cpu() for i, s in state["state"].items() for k, v in s.items()}
    return tensors, state["param_groups"]


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], groups: list[Any]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
