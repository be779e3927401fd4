"""loopwm collect: record random episodes."""

from __future__ import annotations

import time

from ..config import CollectCommand
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "collect"
SCHEMA = CollectCommand


def run(overrides: list[str]) -> int:
    """Record episodes into episodes.npz of a new run folder."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..build import make_env, spaces_of
    from ..training.online import record_random

    env = make_env(config.env)
    with RunFolder.create("collect", config.out) as folder:
        folder.save_config(config)
        started = time.perf_counter()
        buffer = record_random(env, spaces_of(env, config.env), config.collect, config.seed)
        buffer.save(folder.file("episodes.npz"))
        wall_time = time.perf_counter() - started
        folder.write_summary(
            {
                "episodes": config.collect.episodes,
                "transitions": len(buffer),
                "steps_per_s": len(buffer) / wall_time,
                "env_id": config.env.id,
                "seed": config.seed,
                "wall_time_s": wall_time,
            }
        )
        report = f"{len(buffer)} transitions in {folder.file('episodes.npz')}"
        folder.log.info(report)
        print(report)
    return 0
