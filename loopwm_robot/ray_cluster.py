"""A Ray cluster to work on: one that is there, or one that is started on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import RequestError

ANSWER_S = 5.0
"""How long the machine of a cluster may take to answer [s]."""


def require_ray(setting: str) -> Any:
    """The package.

    Args:
        setting: that asks for it, as KEY=VALUE.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise RequestError(
            f"{setting}, but ray cannot be imported ({error}); pip install 'loopwm-robot[ray]', or leave it out"
        ) from error
    return ray


@contextmanager
def cluster(setting: str, address: str = "", cores: int | None = None) -> Iterator[Any]:
    """Belong to a cluster for a while.

    Args:
        setting: that asks for it, as KEY=VALUE.
        address: of the cluster, such as auto or 10.0.0.1:6379; empty starts one on this machine.
        cores: that one on this machine has to give away; None: all there are.

    Yields:
        the package. Who belonged to a cluster before still does afterwards.

    Raises:
        RequestError: ray is not installed, or there is no such cluster.
    """
    ray = require_ray(setting)
    if ray.is_initialized():
        yield ray
        return
    _require_answer(setting, address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that it is used
    # Without an address Ray would join a cluster that it finds on this machine.
    options = {"address": address} if address else {"address": "local", "num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RequestError(f"{setting}: no Ray cluster answers ({error}); start one with `ray start --head`") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(setting: str, address: str) -> None:
    """Something listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise RequestError(f"{setting}: nobody answers there ({error}); start one with `ray start --head`") from error
