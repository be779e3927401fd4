"""Compute once, not in every transition, what follows from the parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")


class Steady(nn.Module):
    """A module that remembers, inside `steady`, what it made of its parameters."""

    _known: dict[Hashable, object] | None = None

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """make(), or inside `steady` what it gave the first time in the same grad mode."""
        known = self._known
        if known is None:
            return make()
        key = (name, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        if key not in known:
            known[key] = make()
        return known[key]  # type: ignore[return-value]


@contextmanager
def steady(*modules: Steady) -> Iterator[None]:
    """Inside, the parameters of the modules stay as they are: a rollout, or one loss."""
    mine = [module for module in modules if module._known is None]
    for module in mine:
        module._known = {}
    try:
        yield
    finally:
        for module in mine:
            module._known = None
