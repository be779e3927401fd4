"""What must hold of every environment: the same bits every time, sane physics whatever the actions."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any, cast

import gymnasium as gym
import numpy as np

import envs
from envs.arm_env import ArmEnv
from envs.control_modes import CONTROL_MODES

from ..common import Row

gym.register_envs(envs)
DEEP = 0.005
"""Penetration that counts as deep [m]."""
LONG = 3
"""Control steps for which a penetration may be deep."""


def our_ids(arms: tuple[str, ...]) -> list[str]:
    """Registered ids of these arms, whatever their tasks."""
    return sorted(
        name for name, spec in gym.registry.items() if name.startswith("LoopWM/") and spec.kwargs.get("arm") in arms
    )


def digest(name: str, mode: str, steps: int, seed: int) -> str:
    """Hash of everything that a single environment gives back for random actions, over the ends of its episodes."""
    env: gym.Env[Any, Any] = gym.make(name, control_mode=mode)
    found = hashlib.sha256()
    rng = np.random.default_rng(seed)
    obs, info = env.reset(seed=seed)
    _put(found, obs, 0.0, info)
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_space.shape)
        obs, reward, terminated, truncated, info = env.step(action)
        _put(found, obs, float(reward), info)
        if terminated or truncated:
            obs, info = env.reset()
            _put(found, obs, 0.0, info)
    env.close()
    return found.hexdigest()


def digests_of_many(name: str, mode: str, steps: int, seeds: tuple[int, ...], threads: int) -> list[str]:
    """The same of environments that are stepped at once, one for each seed."""
    same = gym.vector.AutoresetMode.SAME_STEP
    many = gym.make_vec(name, len(seeds), control_mode=mode, autoreset_mode=same, threads=threads)
    found = [hashlib.sha256() for _ in seeds]
    rngs = [np.random.default_rng(seed) for seed in seeds]
    obs, infos = many.reset(seed=cast(Any, list(seeds)))
    names = [name for name in infos if f"_{name}" in infos]
    for i, each in enumerate(found):
        _put(each, _of(obs, i), 0.0, _of(infos, i, names))
    for _ in range(steps):
        actions = np.array([rng.uniform(-1, 1, many.single_action_space.shape) for rng in rngs])
        obs, rewards, terminated, truncated, infos = many.step(actions)
        for i, each in enumerate(found):
            if terminated[i] or truncated[i]:
                _put(each, infos["final_obs"][i], float(rewards[i]), _of(infos["final_info"], i, names))
                _put(each, _of(obs, i), 0.0, _of(infos, i, names))
            else:
                _put(each, _of(obs, i), float(rewards[i]), _of(infos, i, names))
    many.close()
    return [each.hexdigest() for each in found]


def _of(values: dict[str, Any], i: int, names: Iterable[str] | None = None) -> dict[str, Any]:
    """What environment i says."""
    return {name: values[name][i] for name in (values if names is None else names)}


def _put(found: Any, obs: Any, reward: float, info: dict[str, Any]) -> None:
    for name in sorted(obs):
        found.update(np.ascontiguousarray(obs[name]).tobytes())
    found.update(np.float64(reward).tobytes())
    for name in sorted(info):
        found.update(np.float64(info[name]).tobytes())


def determinism(arms: tuple[str, ...], steps: int, advance: Callable[[], None]) -> list[Row]:
    """Bits of every environment here, again in another process, and as one of many."""
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(1) as other:
        for name in our_ids(arms):
            differing = {"in_another_process": 0, "one_of_many": 0}
            for mode in CONTROL_MODES:
                elsewhere = other.apply_async(digest, (name, mode, steps, 1))
                here = [digest(name, mode, steps, seed) for seed in (0, 1)]
                differing["one_of_many"] += here != digests_of_many(name, mode, steps, (0, 1), 2)
                differing["in_another_process"] += elsewhere.get() != here[1]
            spec = gym.make_vec(name, 1)
            native = not isinstance(spec, gym.vector.SyncVectorEnv)
            spec.close()
            table = "details: control modes with any bit different"
            rows.append({"table": table, "id": name, "native": native, **differing})
            advance()
    return rows


def stability(name: str, mode: str, steps: int) -> Row:
    """Random actions, half of them at their bounds: warnings, bad numbers, and things deep in one another."""
    env = cast(ArmEnv, gym.make(name, control_mode=mode).unwrapped)
    space = env.vector_space()
    rng = np.random.default_rng(0)
    warnings = bad = outside = long = run = 0
    deepest = 0.0
    for step in range(steps):
        if step % 50 == 0:
            warnings += _warnings(env)
            env.reset(seed=step)
            run = 0
        action = rng.uniform(-1, 1, env.nu)
        obs, *_ = env.step((np.sign(action) if step % 100 >= 50 else action).astype(np.float32))
        vector = obs["observation"]
        bad += not np.isfinite(vector).all()
        outside += bool(((vector < space.low) | (vector > space.high)).any())
        depth = -float(env.data.contact.dist.min()) if env.data.ncon else 0.0
        run = run + 1 if depth > DEEP else 0
        long += run > LONG
        deepest = max(deepest, depth)
    warnings += _warnings(env)
    env.close()
    return {
        "table": "details: random actions",
        "id": name,
        "control_mode": mode,
        "steps": steps,
        "warnings": warnings,
        "not_finite": bad,
        "out_of_bounds": outside,
        "deep_for_long": long,
        "deepest_mm": 1000.0 * deepest,
    }


def _warnings(env: ArmEnv) -> int:
    """Of the episode; a reset clears them."""
    return sum(int(warning.number) for warning in env.data.warning)
