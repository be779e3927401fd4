"""Data-parallel training: the processes that torchrun started, and what they tell one another.

    torchrun --nproc-per-node 2 -m loopwm_robot.cli.main train ...

All processes hold the same weights, the same replay buffer and the same generator of batches: each draws the same
batch and computes the gradient of its part. The first one, the lead, also explores, plans, measures and writes; after
each round the others read what it wrote, which is what a resumed run reads. So all of them have to see the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import RequestError

PATIENCE = timedelta(hours=6)
"""How long the others wait while the lead explores or plans; the death of a process is noticed at once."""


class LostProcessError(RuntimeError):
    """Another process of the training has ended."""


@dataclass(frozen=True)
class Team:
    """The processes of one training.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def lead(self) -> bool:
        """Whether this process explores, plans, measures and writes."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """The rows of a batch that are this process's."""
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def check(self, batch: int, device: str) -> None:
        """A batch can be split here.

        Raises:
            RequestError: it is no multiple of the number of processes, or the device is none for several.
        """
        if batch % self.size:
            raise RequestError(
                f"train.update.batch_size is {batch} for {self.size} processes, allowed multiples of {self.size}"
            )
        if self.size > 1 and device != "cpu":
            raise RequestError(f"device is '{device}' for {self.size} processes, allowed cpu; start one process")

    def mean(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """Let gradients be their means over the processes, and return those of some values.

        All of it goes in one message, whose latency is what an update of a small model pays. A gradient that no process
        has stays None.

        Args:
            parameters: whose gradients are averaged, the same everywhere.
            values: (n,).

        Returns:
            (n,).
        """
        if self.size == 1:
            return values
        had = values.new_tensor([float(p.grad is not None) for p in parameters])
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([values, had, *(grad.ravel() for grad in grads)])
        with self.noticing():
            dist.all_reduce(flat)
        values, had, means = flat.split([len(values), len(had), len(flat) - len(values) - len(had)])
        means = means / self.size
        for p, some, mean in zip(parameters, had.tolist(), means.split([p.numel() for p in parameters]), strict=True):
            p.grad = mean.view_as(p) if some else None
        return values / self.size

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values of all processes, in their order; of the same shape everywhere."""
        if self.size == 1:
            return [values]
        found = [torch.empty_like(values) for _ in range(self.size)]
        with self.noticing():
            dist.all_gather(found, values)
        return found

    def tell(self, text: str) -> str:
        """What the lead says, in all processes; only its own text counts."""
        if self.size == 1:
            return text
        told = [text]
        with self.noticing():
            dist.broadcast_object_list(told)
        return told[0]

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Say what happened where another process ends meanwhile."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error) for word in ("gloo", "onnection", "peer")):
                raise
            raise LostProcessError(
                f"process {self.rank} of {self.size} lost another one ({str(error).splitlines()[0][:200]}); "
                "see why that one ended, then start all again with resume=FOLDER"
            ) from error


ALONE = Team()


@contextmanager
def joined_team() -> Iterator[Team]:
    """Meet the processes that torchrun started; a process that was started otherwise is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
        with suppress(RuntimeError):  # all is done: one that is lost by now changes nothing
            dist.barrier()  # who leaves while others still work takes the connections along
    finally:
        dist.destroy_process_group()
