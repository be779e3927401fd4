"""How the data sets are recorded: four tasks, fixed seeds, random actions that get somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from envs.exploration import PushExplorer

from ...build import make_env
from ...config import EnvConfig
from ...data.collect import ExplorationPolicy, Policy, UniformPolicy, run_episode
from ...progress import Bar
from ...schema import plain
from .datasets import DataConfig, Dataset, Split, load_dataset, save_dataset
from .finger import FingerEnv, FingerExplorer

SPLITS = ("train", "calibrate", "test", "test_seen", "long_explore", "long_uniform")
FIRST_SEED = 50_000_000
"""Far from the seeds of the demo and of the evaluation."""

MakePolicy = Callable[[int, np.random.Generator], Policy]


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        make: the environment, from the length of an episode and the split.
        explore: a policy from the number of actions and a generator.
        seen: also record a test split with the dynamics of the training.
        long: also record long episodes.
    """

    make: Callable[[int, str], gym.Env[Any, Any]]
    explore: MakePolicy
    seen: bool = False
    long: bool = True


def _arm(task: str, mode: str) -> Callable[[int, str], gym.Env[Any, Any]]:
    return lambda steps, split: make_env(EnvConfig(f"LoopWM/{task}-v0", mode), max_episode_steps=steps)


def _hidden(steps: int, split: str) -> gym.Env[Any, Any]:
    ranges = "unseen" if split == "test" else "training"
    return make_env(EnvConfig("LoopWM/PandaReachHidden-v0"), max_episode_steps=steps, randomize=ranges)


def _finger(steps: int, split: str) -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(FingerEnv(), steps)


def _noise(correlation: float, scale: float) -> MakePolicy:
    return lambda nu, rng: ExplorationPolicy(nu, rng, correlation, scale)




SOURCES: dict[str, Source] = {
    "reach": Source(_arm("PandaReach", "joint_delta"), _noise(0.8, 0.6)),
    "push": Source(_arm("PandaPush", "cartesian_delta"), lambda nu, rng: PushExplorer(rng)),
    "finger": Source(_finger, lambda nu, rng: FingerExplorer(rng)),
    "hidden": Source(_hidden, _noise(0.8, 0.6), seen=True, long=False),
}
"""The data sets by name."""


def lengths(name: str, config: DataConfig) -> dict[str, tuple[int, int]]:
    """Episodes and steps of each split of a data set."""
    source = SOURCES[name]
    found = {split: (getattr(config, split), config.steps) for split in ("train", "calibrate", "test")}
    if source.seen:
        found["test_seen"] = (config.test, config.steps)
    if source.long and config.long:
        found |= {split: (config.long, config.long_steps) for split in ("long_explore", "long_uniform")}
    return found


def dataset(name: str, config: DataConfig, path: Path, bar: Bar | None = None) -> Dataset:
    """The data set in a file; made, or made again, where the file is missing or of other settings.

    Args:
        name: of the data set.
        config: how much.
        path: npz file.
        bar: advances by one for each episode.
    """
    if path.is_file():
        try:
            found, settings = load_dataset(path)
            if settings == plain(config):
                if bar is not None:
                    bar.advance(sum(len(split.episodes) for split in found.splits.values()))
                return found
        except ValueError:
            pass  # damaged or of an earlier form: made again
    made = generate(name, config, bar)
    save_dataset(path, made, config)
    return made


def generate(name: str, config: DataConfig, bar: Bar | None = None) -> Dataset:
    """Record a data set. The same settings give the same numbers."""
    splits: dict[str, Split] = {}
    about: dict[str, Any] = {}
    for split, (episodes, steps) in lengths(name, config).items():
        env = Recorder(SOURCES[name].make(steps, split))
        base: Any = env.unwrapped
        first = FIRST_SEED + 1_000_000 * list(SOURCES).index(name) + 10_000 * SPLITS.index(split)
        rng = np.random.default_rng(first)
        nu = int(np.prod(env.action_space.shape or ()))
        policy = UniformPolicy(nu, rng) if split == "long_uniform" else SOURCES[name].explore(nu, rng)
        splits[split] = record(env, policy, range(first, first + episodes), bar)
        columns = getattr(base, "goal_columns", slice(0, 0))
        about = {
            "groups": base.observation_tokens(),
            "position": (columns.start, columns.stop),
            "ctrl_dt": base.ctrl_dt,
            "measured": splits[split].episodes[0].obs.shape[1],
        }
        env.close()
    return Dataset(name, splits, **about)


def record(env: Recorder, policy: Policy, seeds: range, bar: Bar | None) -> Split:
    """Run an episode for each seed."""
    episodes, contact, hidden = [], [], []
    for seed in seeds:
        episode, _ = run_episode(env, policy, seed)
        episodes.append(episode)
        contact.append(env.contact)
        dynamics = getattr(env.unwrapped, "dynamics", None)
        if dynamics is not None and getattr(env.unwrapped, "randomize", None) is not None:
            hidden.append(dynamics.vector())
        if bar is not None:
            bar.advance(1)
    known = None not in contact[0]
    return Split(
        episodes,
        np.array(contact, dtype=bool) if known else None,
        np.array(hidden, dtype=np.float32) if hidden else None,
    )


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what `info` says of contact during each step of the running episode; None where it says nothing."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.contact: list[bool | None] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.contact = []
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self.contact.append(result[4].get("contact"))
        return result
