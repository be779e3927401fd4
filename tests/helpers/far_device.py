"""A second device without hardware: its tensors compute on the CPU, but refuse to mix with those of the CPU.

They say that they are on `meta`, which PyTorch lets pass everywhere. What runs inside `far_device` with a model that is
there puts every tensor where a GPU would need it, or raises as PyTorch would on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

FAR = torch.device("meta")


class Far(Tensor):
    """Holds the numbers in `data_on_cpu`."""

    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls, data: Tensor) -> Far:
        made = Tensor._make_wrapper_subclass(
            cls, data.shape, data.stride(), data.storage_offset(), dtype=data.dtype, device=FAR
        )
        made.data_on_cpu = data
        return made

    def __getitem__(self, index: Any) -> Any:
        """Lists of numbers become tensors here; PyTorch would make them on the device, unseen by this class."""
        return super().__getitem__(tree_map_only(list, torch.LongTensor, index, is_leaf=lambda x: isinstance(x, list)))

    def __repr__(self, **_: Any) -> str:
        return f"Far({self.data_on_cpu})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, where its tensors say they are."""
    tensors = list(_tensors((args, [*kwargs.values()])))
    asked = kwargs.get("device")
    anywhere = any(isinstance(x, Far) for x in tensors)
    name = func.overloadpacket.__name__
    if name not in ("copy_", "_to_copy", "_copy_from"):
        index = name in ("index", "index_put", "index_put_", "_index_put_impl_")  # may be given indices on the CPU
        for x in tensors:
            if x.device == FAR and not isinstance(x, Far):
                raise RuntimeError(f"{func}: a tensor of shape {x.shape} was made on the device unseen")
            integer = index and x.dtype in (torch.int64, torch.bool)
            if anywhere and not isinstance(x, Far) and x.ndim and not integer:
                raise RuntimeError(f"{func}: expected all tensors on the same device, one of {x.shape} is on the cpu")
    far = anywhere if asked is None else torch.device(asked).type == "meta"
    if name == "copy_":
        far = isinstance(args[0], Far)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(_down, args), tree_map(_down, kwargs)
    result = func(*args, **kwargs)
    return tree_map(lambda x: Far(x) if far and isinstance(x, Tensor) else x, result)


class _Factories(TorchDispatchMode):
    """Tensors that are made on, or moved to, a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class FarGenerator(torch.Generator):
    """A source of randomness on that device; the numbers are those of the CPU."""

    @property
    def device(self) -> torch.device:
        return FAR


@contextmanager
def far_device() -> Iterator[torch.device]:
    """Inside, the device that it yields can be used."""
    entering = torch.inference_mode  # its tensors cannot be wrapped
    with patch.object(entering, "__enter__", _no_grad), patch.object(entering, "__exit__", _grad), _Factories():
        yield FAR


def _no_grad(self: Any) -> None:
    self.instead = torch.no_grad()
    self.instead.__enter__()


def _grad(self: Any, *error: Any) -> None:
    self.instead.__exit__(*error)


def _down(x: Any) -> Any:
    return x.data_on_cpu if isinstance(x, Far) else x


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, list | tuple):
        for part in nested:
            yield from _tensors(part)
