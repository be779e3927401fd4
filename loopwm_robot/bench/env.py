"""Speed of the arm environment: steps a second in each control mode, resets, pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym
import mujoco
import numpy as np

from envs.arm_env import ArmEnv
from envs.rendering import Polyline

from ..build import make_env
from ..config import EnvConfig
from ..progress import progress
from .common import Claim, Findings, Row

MODES = ("joint_delta", "cartesian_delta")
SIZES = ((320, 240), (480, 360))
PHYSICS = "physics alone, at rest"
STEPS_TARGET = 4000  # steps a second
RENDER_TARGET = 5  # "a few milliseconds" a frame [ms]
PATH_POINTS = 7  # of the planned path in a picture: the present point and a plan of six steps


@dataclass(frozen=True)
class EnvBench:
    """Settings.

    Attributes:
        env_id: Gymnasium id.
        seed: of the first repeat, at least 0.
        repeats: of each measurement, at least 1.
        steps: control steps in a repeat, at least 1.
        resets: in a repeat, at least 1.
        frames: pictures in a repeat, at least 1.
    """

    env_id: str = "LoopWM/PandaReach-v0"
    seed: int = 0
    repeats: int = 5
    steps: int = 6000
    resets: int = 100
    frames: int = 100

    def __post_init__(self) -> None:
        for name, low in (("seed", 0), ("repeats", 1), ("steps", 1), ("resets", 1), ("frames", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= {low}")


SCHEMA = EnvBench
QUICK: dict[str, Any] = {"repeats": 2, "steps": 300, "resets": 10, "frames": 10}


def run(config: EnvBench) -> Findings:
    """Measure through gymnasium.make; the modes and sizes take turns, so that a drift of the machine hits all alike."""
    seeds = list(range(config.seed, config.seed + config.repeats))
    rates: dict[str, list[float]] = {name: [] for name in (*MODES, PHYSICS)}
    resets: dict[str, list[float]] = {name: [] for name in MODES}
    frames: dict[tuple[int, int], list[list[float]]] = {size: [] for size in SIZES}
    notes = ["Steps a second include the resets at the end of each episode. One process on one core."]
    made = {mode: make_env(EnvConfig(config.env_id, mode)) for mode in MODES}
    pictures = {
        size: make_env(EnvConfig(config.env_id), render=True, width=size[0], height=size[1]) for size in SIZES
    }
    with progress("env", config.repeats) as bar:
        for seed in seeds:
            for mode, env in made.items():
                step_rate(env, 60, seed)  # warm-up
                rates[mode].append(step_rate(env, config.steps, seed))
                resets[mode] += reset_times(env, config.resets, seed)
            rates[PHYSICS].append(physics_rate(made[MODES[0]], config.steps, seed))
            try:
                for size, env in pictures.items():
                    frames[size].append(render_times(env, config.frames, seed))
            except RuntimeError as error:
                pictures.clear()
                notes.append(f"Pictures were not measured: {error}.")
            bar.advance(steps_per_second=rates[MODES[0]][-1])
    rows = [step_row(name, values, resets.get(name, [])) for name, values in rates.items()]
    rows += [render_row(size, repeats) for size, repeats in frames.items() if repeats]
    text = "joint_delta, steps a second on one core, median of the repeats"
    claims = [Claim.over(text, rates["joint_delta"], STEPS_TARGET, "higher")]
    small = [1000 * float(np.median(repeat)) for repeat in frames[SIZES[0]]]
    if small:
        claims.append(Claim.over("picture of 320 x 240 [ms], median", small, RENDER_TARGET, "lower"))
    for env in (*made.values(), *pictures.values()):
        env.close()
    return Findings(seeds, rows, claims, notes)


def step_rate(env: gym.Env[Any, Any], steps: int, seed: int) -> float:
    """Steps a second of uniform random actions, resets included."""
    actions = _actions(env, steps, seed)
    env.reset(seed=seed)
    started = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - started)


def physics_rate(env: gym.Env[Any, Any], steps: int, seed: int) -> float:
    """Control steps a second of MuJoCo alone: what the environment's own work is to be compared with."""
    base = cast(ArmEnv, env.unwrapped)
    env.reset(seed=seed)
    started = time.perf_counter()
    for _ in range(steps):
        mujoco.mj_step(base.model, base.data, base.n_substeps)
    return steps / (time.perf_counter() - started)


def reset_times(env: gym.Env[Any, Any], count: int, seed: int) -> list[float]:
    """Durations of resets [s]."""
    spent = []
    for i in range(count):
        started = time.perf_counter()
        env.reset(seed=seed + i)
        spent.append(time.perf_counter() - started)
    return spent


def render_times(env: gym.Env[Any, Any], count: int, seed: int, warm_up: int = 5) -> list[float]:
    """Durations [s] of pictures of a moving arm with its goal and a planned path."""
    base = cast(ArmEnv, env.unwrapped)
    obs, _ = env.reset(seed=seed)
    spent = []
    for i, action in enumerate(_actions(env, warm_up + count, seed)):
        points = np.linspace(obs["achieved_goal"], obs["desired_goal"], PATH_POINTS)
        started = time.perf_counter()
        base.render(overlay=[Polyline(points)])
        if i >= warm_up:
            spent.append(time.perf_counter() - started)
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()
    return spent


def step_row(name: str, rates: Sequence[float], resets: Sequence[float]) -> Row:
    """One line of the table of speeds."""
    row: Row = {
        "table": "steps and resets",
        "control_mode": name,
        "steps_per_second": float(np.median(rates)),
        "slowest_repeat": min(rates),
        "fastest_repeat": max(rates),
    }
    if resets:
        row |= {"reset_s_median": float(np.median(resets)), "reset_s_p95": float(np.quantile(resets, 0.95))}
    return row


def render_row(size: tuple[int, int], repeats: Sequence[Sequence[float]]) -> Row:
    """One line of the table of pictures."""
    p50, p95 = np.quantile(np.concatenate([np.asarray(r) for r in repeats]), (0.5, 0.95))
    medians = [float(np.median(repeat)) for repeat in repeats]
    return {
        "table": "pictures with goal and path",
        "size": f"{size[0]} x {size[1]}",
        "render_s_median": float(p50),
        "render_s_p95": float(p95),
        "median_of_the_fastest_repeat_s": min(medians),
        "median_of_the_slowest_repeat_s": max(medians),
    }


def _actions(env: gym.Env[Any, Any], count: int, seed: int) -> np.ndarray:
    shape = (count, *(env.action_space.shape or ()))
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
