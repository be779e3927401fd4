"""Control steps a second of other packages on two cores: two processes with an environment each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from envs.batch_physics import usable_cores

from .config import EnvsBench
from .peers import PEERS, TASKS, Stepped
from .speed import WARM_UP, Rates, single_rate

CORES = 2


def pair_rates(config: EnvsBench, advance: Callable[[], None]) -> tuple[Rates, list[str]]:
    """Rates by (package, task, physics steps in a control step), both processes together; all take turns.

    The processes wait for nobody and hand on nothing, so this is the most that any vector environment of two
    processes could reach.

    Returns:
        The rates, none with less than two cores, and a line for each environment that was left out.
    """
    if usable_cores() < CORES:
        return {}, []
    rates: Rates = {}
    notes: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        made = {}
        for peer in PEERS:
            for task in [task for task in TASKS if task in peer.ids and peer.version is not None]:
                pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in range(CORES)]
                try:
                    for opened in [pool.submit(_open, peer.make, peer.ids[task]) for pool in pools]:
                        opened.result()
                except Exception as error:  # whatever a package of others raises
                    left_out = f"{peer.ids[task]} of {peer.package} was left out on {CORES} cores"
                    notes.append(f"{left_out}: {type(error).__name__}: {error}".splitlines()[0])
                    continue
                made[peer.package, task, str(peer.substeps)] = pools
        for seed in config.seeds:
            for key, pools in made.items():
                both = [pool.submit(_step, config.steps, CORES * seed + i) for i, pool in enumerate(pools)]
                rates.setdefault(key, []).append(sum(rate.result() for rate in both))
            advance()
    return rates, notes


_open_env: list[Stepped] = []
"""What a process steps."""


def _open(make: Callable[[str, int], Stepped], name: str) -> None:
    _open_env.append(make(name, 0))
    single_rate(_open_env[0], WARM_UP, 0)


def _step(steps: int, seed: int) -> float:
    return single_rate(_open_env[0], steps, seed)
