"""Operations of torch that give the same bits every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use only operations that are deterministic, also on a GPU; one that is not raises instead of differing quietly.

    On the CPU with a fixed number of threads results are the same either way. On a GPU it costs some speed.

    Args:
        wanted: False changes nothing.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html; CUBLAS_WORKSPACE_CONFIG counts as long as no
    matrix was multiplied on the GPU yet.
    """
    if not wanted:
        yield
        return
    before, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
