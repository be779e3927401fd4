"""Control steps a second: single environments and those of other packages, many at once and MuJoCo's loop alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from typing import Any, cast

import gymnasium as gym
import mujoco
import mujoco.rollout
import numpy as np

from envs.batch_physics import usable_cores
from envs.stepping import NUM_HOLDS
from envs.vector_env import ArmVectorEnv

from ..common import Row
from .config import EnvsBench
from .peers import PEERS, SUBSTEPS, TASKS, Stepped, ours, rate_of

OURS = "loopwm-robot"
WARM_UP = 60
"""Control steps of a single environment that are not timed."""
ALONE = "one environment, one core"
"""Table of single environments."""
MODES = ("joint_delta", "cartesian_delta")
Rates = dict[tuple[str, ...], list[float]]
"""Steps a second of each repeat."""


def single_rate(env: Stepped, steps: int, seed: int) -> float:
    """Control steps a second of uniform random actions, resets included."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, env.nu))
    env.reset(seed)
    started = time.perf_counter()
    for action in actions:
        if env.step(action):
            env.reset(seed)
    return steps / (time.perf_counter() - started)


def single(config: EnvsBench, advance: Callable[[], None]) -> tuple[Rates, list[str]]:
    """Rates by (package, task, physics steps in a control step) of one environment; all take turns in each repeat.

    Ours are there at the rate of each of the others.

    Returns:
        The rates, and a line for each package that was left out.
    """
    made: dict[tuple[str, ...], Stepped] = {}
    notes = []
    for task in TASKS:
        for substeps in rates_for(task):
            made[OURS, task, str(substeps)] = ours(f"LoopWM/Panda{task}-v0", 0, substeps)
    for peer in PEERS:
        if peer.version is None:
            notes.append(f"{peer.package} is not installed and was left out.")
            continue
        for task in TASKS:
            if task not in peer.ids:
                continue
            name = peer.ids[task]
            try:
                made[peer.package, task, str(peer.substeps)] = peer.make(name, 0)
            except Exception as error:  # whatever a package of others raises
                notes.append(f"{name} of {peer.package} was left out: {type(error).__name__}: {error}".splitlines()[0])
    rates: Rates = {key: [] for key in made}
    for seed in config.seeds:
        for key, env in made.items():
            single_rate(env, WARM_UP, seed)
            rates[key].append(single_rate(env, config.steps, seed))
        advance()
    for env in made.values():
        env.close()
    return rates, notes


def rates_for(task: str) -> list[int]:
    """Physics steps in a control step of ours and of the others that are installed, ours first."""
    others = {peer.substeps for peer in PEERS if peer.version is not None and task in peer.ids}
    return [SUBSTEPS, *sorted(others - {SUBSTEPS}, reverse=True)]


def batched(config: EnvsBench, advance: Callable[[], None]) -> tuple[Rates, dict[tuple[str, ...], list[float]]]:
    """Rates by (task, mode, cores, physics steps, environments at once), and their share of that of the physics alone.

    The physics alone is one call of `mujoco.rollout` with as many threads, from the same states with the same controls.
    """
    rates: Rates = {}
    shares: dict[tuple[str, ...], list[float]] = {}
    for task in TASKS:
        each = [(mode, cores) for mode in MODES for cores in (1, 2)[: usable_cores()]]
        cells = [(*cell, SUBSTEPS, num) for num in config.num_envs for cell in each]
        of_others = product((1, 2)[: usable_cores()], rates_for(task)[1:])
        cells += [(MODES[0], cores, substeps, config.num_envs[0]) for cores, substeps in of_others]
        for mode, cores, substeps, num in cells:
            name, options = f"LoopWM/Panda{task}-v0", rate_of(substeps)
            many = cast(ArmVectorEnv, gym.make_vec(name, num, control_mode=mode, threads=cores, **options))
            key = (task, mode, str(cores), str(substeps), str(num))
            pairs = [batch_rates(many, config.batch_steps, seed, cores) for seed in config.seeds]
            rates[key] = [rate for rate, _ in pairs]
            rates[*key, "physics"] = [alone for _, alone in pairs]
            shares[key] = [rate / alone for rate, alone in pairs]
            many.close()
            advance()
    return rates, shares


def batch_rates(many: ArmVectorEnv, steps: int, seed: int, cores: int) -> tuple[float, float]:
    """Control steps a second with all resets on the way, and of the physics alone; they take turns step by step."""
    physics, num = many.physics, many.num_envs
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, *(many.action_space.shape or ())))
    pool: Any = mujoco.rollout.Rollout(nthread=cores if cores > 1 else 0)
    model = physics.models[0]
    data = [mujoco.MjData(model) for _ in range(cores)]
    steps_each = many.single.n_substeps
    state = np.zeros((num, steps_each, physics.state.shape[1]))
    sensors = np.zeros((num, steps_each, physics.sensors.shape[2]))
    many.reset(seed=seed)
    for action in actions[:3]:  # warm-up
        many.step(action)
    own = alone = 0.0
    for action in actions:
        start, warm = physics.state.copy(), physics.warmstart.copy()
        begun = time.perf_counter()
        many.step(action)
        own += time.perf_counter() - begun
        control = np.repeat(physics.ctrl, steps_each // NUM_HOLDS, axis=1)
        begun = time.perf_counter()
        pool.rollout(model, data, start, control, initial_warmstart=warm, state=state, sensordata=sensors)
        alone += time.perf_counter() - begun
    pool.close()
    return num * steps / own, num * steps / alone


def speed_rows(alone: Rates, pairs: Rates, many: Rates, shares: dict[tuple[str, ...], list[float]]) -> list[Row]:
    """A table of single environments, one of those in two processes, and one for each number at once."""
    names = {peer.package: peer.ids for peer in PEERS}
    rows: list[Row] = []
    for table, found in ((ALONE, alone), ("a process on each of two cores", pairs)):
        for (package, task, substeps), rates in sorted(found.items(), key=lambda item: TASKS.index(item[0][1])):
            name = f"LoopWM/Panda{task}-v0" if package == OURS else names[package][task]
            about: Row = {"table": table, "task": task, "package": package, "id": name}
            rows.append({**about, "physics_steps": int(substeps), **_of(rates)})
    for key, values in shares.items():
        task, mode, cores, substeps, num = key
        rows.append(
            {
                "table": f"{num} environments at once",
                "task": task,
                "control_mode": mode,
                "cores": int(cores),
                "physics_steps": int(substeps),
                **_of(many[key]),
                "physics_alone": float(np.median(many[*key, "physics"])),
                "share_fraction": float(np.median(values)),
                "lowest_share_fraction": min(values),
            }
        )
    return rows


def _of(rates: list[float]) -> Row:
    return {"steps_per_second": float(np.median(rates)), "slowest_repeat": min(rates), "fastest_repeat": max(rates)}
