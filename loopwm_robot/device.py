"""Where tensors live: on the CPU, or on an NVIDIA GPU."""

from __future__ import annotations

import torch

from .errors import RequestError

DEVICES = ("cpu", "cuda", "auto")


def check_device(name: str) -> None:
    """Refuse a name that is no device.

    Raises:
        ValueError: lists the known ones.
    """
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (":" in name and not (kind == "cuda" and index.isdigit())):
        raise ValueError(f"device is '{name}', allowed {', '.join(DEVICES)}, or cuda:N for the GPU number N")


def find_device(name: str) -> torch.device:
    """The device that a setting names: cpu, cuda (the first GPU), cuda:N, or auto (a GPU where there is one).

    Raises:
        ValueError: the name is unknown.
        RequestError: there is no such GPU.
    """
    check_device(name)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if there else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= there:
        found = f"{there} GPU(s)" if there else "no GPU"
        raise RequestError(
            f"device is '{name}', but torch {torch.__version__} finds {found}; see loopwm doctor, or set device=cpu"
        )
    return torch.device("cuda", index)


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """A source of randomness on a device."""
    return torch.Generator(device).manual_seed(seed)


def settle() -> None:
    """Wait until a GPU that is in use has finished, so that clocks measure its work and not its queue."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
