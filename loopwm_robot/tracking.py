"""Curves of a training for programs that show them while it runs: TensorBoard and Weights & Biases.

Events for TensorBoard are written with tensorboardX: three small pure-Python dependencies, against the web server, gRPC
and more that torch.utils.tensorboard takes with it. Any TensorBoard reads them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .errors import RequestError
from .schema import plain

log = logging.getLogger(__name__)

Entry = Mapping[str, float]
Note = Callable[[Entry], None]
"""Takes one entry of the history of a training."""

PROJECT = "loopwm-robot"
"""Where W&B keeps the runs, unless WANDB_PROJECT says otherwise."""
PLANNED = ("success_rate", "final_distance_m_median")
RUN = ("learning_rate", "grad_norm", "round", "wall_time_s")


class TrackingError(RuntimeError):
    """A service that was asked for does not work."""


def check_tracking(wandb: bool) -> None:
    """What is asked for is installed.

    Raises:
        RequestError: it is not.
    """
    if wandb and importlib.util.find_spec("wandb") is None:
        raise RequestError(
            "train.wandb is true, but wandb is not installed; pip install 'loopwm-robot[wandb]', or leave it out"
        )


@contextmanager
def tracking(folder: Path, config: Any, tensorboard: bool, wandb: bool, updates: int) -> Iterator[Note]:
    """Hand the history of a training on while it grows.

    Args:
        folder: of the run; TensorBoard reads its folder `tensorboard`.
        config: of the run, a dataclass.
        tensorboard: write events, where tensorboardX is installed.
        wandb: send to W&B; WANDB_MODE=offline keeps everything in the folder.
        updates: that an earlier part of the run has done; what was noted after them is done again.

    Yields:
        what takes the entries.
    """
    with ExitStack() as stack:
        notes: list[Callable[[int, dict[str, float]], None]] = []
        if tensorboard and importlib.util.find_spec("tensorboardX") is None:
            log.info("no events for TensorBoard: pip install 'loopwm-robot[tensorboard]'")
        elif tensorboard:
            notes.append(stack.enter_context(_tensorboard(folder / "tensorboard", updates)))
        if wandb:
            notes.append(stack.enter_context(_wandb(folder, config)))
        written: dict[str, tuple[int, float]] = {}

        def note(entry: Entry) -> None:
            step = int(entry["update"])
            values = {tag(key): float(value) for key, value in entry.items() if key != "update"}
            # The entry of a round repeats that of its last update.
            fresh = {name: value for name, value in values.items() if written.get(name) != (step, value)}
            written.update({name: (step, value) for name, value in fresh.items()})
            for send in notes:
                send(step, fresh)

        yield note


def tag(key: str) -> str:
    """Name of a curve, in a group: held_out, planned, run or loss; of one of several environments with its name."""
    if "." in key:
        name, _, rest = key.rpartition(".")
        return f"{tag(rest)}/{name}"
    if key.startswith("val_"):
        return f"held_out/{key[4:]}"
    group = "planned" if key in PLANNED else "run" if key in RUN else "loss"
    return f"{group}/{'total' if key == 'loss' else key}"


@contextmanager
def _tensorboard(folder: Path, updates: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder), purge_step=updates + 1) as writer:

        def send(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.flush()  # what a kill must not take

        yield send


@contextmanager
def _wandb(folder: Path, config: Any) -> Iterator[Callable[[int, dict[str, float]], None]]:
    import os

    import wandb

    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(folder),
            name=folder.name,
            id=hashlib.sha256(str(folder).encode()).hexdigest()[:16],  # a resumed run goes on with its curves
            resume="allow",
            config=plain(config),
        )
    except Exception as error:  # wandb raises its own family, and anything of the network
        raise TrackingError(
            f"train.wandb is true, but W&B did not start ({error}); set WANDB_MODE=offline, or train.wandb=false"
        ) from error
    failed = True
    try:
        yield lambda step, values: run.log(values, step=step)
        failed = False
    finally:
        run.finish(exit_code=int(failed))
