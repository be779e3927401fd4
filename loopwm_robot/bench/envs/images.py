"""Pictures a second of a moving arm."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..common import Row
from .config import EnvsBench
from .peers import PEERS, Stepped, ours

SIZES = (64, 128)
TASK = "Reach"


def image_rate(env: Stepped, size: int, frames: int, seed: int) -> float:
    """Pictures a second, drawn after every control step; the steps are not timed."""
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
    return frames / spent


def image_rates(config: EnvsBench, advance: Callable[[], None]) -> tuple[dict[tuple[str, int], list[float]], list[str]]:
    """Rates by (package, size); all take turns in each repeat. The lines say what was left out."""
    rates: dict[tuple[str, int], list[float]] = {}
    notes: list[str] = []
    makers = {"loopwm-robot": lambda size: ours(f"LoopWM/Panda{TASK}-v0", size)}
    for peer in PEERS:
        if peer.version is not None and TASK in peer.ids:
            makers[peer.package] = lambda size, peer=peer: peer.make(peer.ids[TASK], size)  # type: ignore[misc]
    made: dict[tuple[str, int], Stepped] = {}
    for package, make in makers.items():
        for size in SIZES:
            try:
                made[package, size] = make(size)
                image_rate(made[package, size], size, 2, 0)
            except Exception as error:  # whatever a package of others, or a machine without GL, raises
                made.pop((package, size), None)
                notes.append(f"Pictures of {package}, {size} pixels, were left out: {error}".splitlines()[0])
    for seed in config.seeds:
        for (package, size), env in made.items():
            rates.setdefault((package, size), []).append(image_rate(env, size, config.frames, seed))
        advance()
    for env in made.values():
        env.close()
    return rates, notes


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
