"""Pictures a second of a moving arm."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

import numpy as np

from ..common import Row
from .config import EnvsBench
from .peers import PEERS, Stepped, ours
from .speed import OURS

SIZES = (64, 128)
TASK = "Reach"


def image_rate(env: Stepped, size: int, frames: int, seed: int) -> float:
    """Pictures a second, drawn after every control step; the steps are not timed.

    Raises:
        RuntimeError: a picture has another size, or nothing is to be seen on it.
    """
    actions = np.random.default_rng(seed).uniform(-1, 1, (frames, env.nu))
    env.reset(seed)
    env.picture(size)
    spent = 0.0
    for action in actions:
        if env.step(action):
            env.reset(seed)
        begun = time.perf_counter()
        picture = env.picture(size)
        spent += time.perf_counter() - begun
        if picture.shape != (size, size, 3):
            raise RuntimeError(f"picture has shape {picture.shape}, wanted {(size, size, 3)}")
        if picture.std() < 1.0:
            raise RuntimeError("the picture is of one colour")
    return frames / spent


def image_rates(config: EnvsBench, advance: Callable[[], None]) -> tuple[dict[tuple[str, int], list[float]], list[str]]:
    """Rates by (package, size); all take turns in each repeat. The lines say what was left out.

    Each draws in a process of its own: some packages take the GL context of whoever drew last for theirs.
    """
    rates: dict[tuple[str, int], list[float]] = {}
    notes: list[str] = []
    packages = [OURS, *(peer.package for peer in PEERS if peer.version is not None and TASK in peer.ids)]
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        made = {}
        for package in packages:
            for size in SIZES:
                pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
                try:
                    pool.submit(_open, package, size).result()
                    made[package, size] = pool
                except Exception as error:  # whatever a package of others, or a machine without GL, raises
                    notes.append(f"Pictures of {package}, {size} pixels, were left out: {error}".splitlines()[0])
        for seed in config.seeds:
            for key, pool in made.items():
                rates.setdefault(key, []).append(pool.submit(_draw, config.frames, seed).result())
            advance()
    return rates, notes


_open_env: list[tuple[Stepped, int]] = []
"""What a process draws."""


def _open(package: str, size: int) -> None:
    if package == OURS:
        env = ours(f"LoopWM/Panda{TASK}-v0", size)
    else:
        peer = next(peer for peer in PEERS if peer.package == package)
        env = peer.make(peer.ids[TASK], size)
    image_rate(env, size, 2, 0)
    _open_env.append((env, size))


def _draw(frames: int, seed: int) -> float:
    env, size = _open_env[0]
    return image_rate(env, size, frames, seed)


def image_rows(rates: dict[tuple[str, int], list[float]]) -> list[Row]:
    """One table."""
    return [
        {
            "table": "pictures of reaching",
            "package": package,
            "pixels": size,
            "pictures_per_second": float(np.median(values)),
            "slowest_repeat": min(values),
            "fastest_repeat": max(values),
        }
        for (package, size), values in sorted(rates.items(), key=lambda item: item[0][1])
    ]
