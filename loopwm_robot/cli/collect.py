"""loopwm collect: record episodes of random motion, or of the script that solves the task."""

from __future__ import annotations

import time
from dataclasses import replace

from ..config import CollectCommand
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "collect"
SCHEMA = CollectCommand


def run(overrides: list[str]) -> int:
    """Record episodes into episodes.npz of a new run folder, and in another format where one is asked for."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..build import make_env, spaces_of
    from ..data.datasets import about, check_format, read_dataset, write_dataset
    from ..data.demonstrate import Demonstrator, demonstrate
    from ..training.explore import record_random, stored, training_seed

    env = make_env(config.env)
    spaces = spaces_of(env, config.env)
    check_format(config.format, spaces)
    scripted = config.policy == "script"
    if scripted:
        Demonstrator(env)
    with RunFolder.create("collect", config.out) as folder:
        folder.save_config(config)
        started = time.perf_counter()
        summary: dict[str, float | int | str] = {}
        if scripted:
            seeds = [training_seed(config.seed, 0, i) for i in range(config.collect.episodes)]
            result = demonstrate(env, seeds)
            buffer = stored(result.episodes, spaces)
            summary = {"success_rate": float(result.success.mean())}
        else:
            buffer = record_random(env, spaces, config.collect, config.seed)
        origin = about(spaces)
        buffer.save(folder.file("episodes.npz"), origin)
        if config.format != "npz":
            raw = read_dataset(folder.path, spaces, None)
            episodes = [replace(e, seed=training_seed(config.seed, 0, i)) for i, e in enumerate(raw)]
            write_dataset(folder.path, config.format, episodes, env, origin)
        wall_time = time.perf_counter() - started
        folder.write_summary(
            {
                **summary,
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
