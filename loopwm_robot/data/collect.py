"""Run policies in a Gymnasium environment and record what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from ..types import Episode, Float32, Observed, Seen, UInt8


class Policy(Protocol):
    """Chooses actions in one episode after another."""

    def reset(self, goal: Float32) -> None:
        """A new episode starts; goal (n_goal,) is empty where the task has none."""
        ...

    def act(self, obs: Any) -> Float32:
        """Action (nu,), each in [-1, 1], for observation (n_obs,), an Observed where the environment shows pictures."""
        ...


@runtime_checkable
class Proposer(Policy, Protocol):
    """A policy that remembers what was done, and is told when that is not what it proposed. `act` does both."""

    def propose(self, obs: Any) -> Float32:
        """Action (nu,) for observation (n_obs,), to be followed by `observe`."""
        ...

    def observe(self, obs: Any, action: Float32) -> None:
        """`action` (nu,) was carried out after `obs` (n_obs,) was seen."""
        ...


class ExplorationPolicy:
    """First-order autoregressive noise in [-1, 1]: random motion that goes somewhere.

    Args:
        nu: action dimensions.
        rng: source of randomness.
        correlation: of successive actions; a correlation time of an episode's third explores best.
        scale: standard deviation of an action before clipping.
    """

    def __init__(self, nu: int, rng: np.random.Generator, correlation: float = 0.9, scale: float = 0.8) -> None:
        self.nu, self.rng, self.correlation, self.scale = nu, rng, correlation, scale
        self.noise = np.zeros(nu)

    def reset(self, goal: Float32) -> None:
        self.noise = self.rng.normal(size=self.nu)

    def act(self, obs: Seen) -> Float32:
        fresh = self.rng.normal(size=self.nu)
        self.noise = self.correlation * self.noise + np.sqrt(1 - self.correlation**2) * fresh
        return np.clip(self.scale * self.noise, -1, 1).astype(np.float32)

    def episode(self, steps: int) -> Float32:
        """Actions (steps, nu) of a whole episode: the same, since they depend on nothing that is seen."""
        nothing = np.zeros(0, np.float32)
        self.reset(nothing)
        return np.stack([self.act(nothing) for _ in range(steps)])


class NumbersOnly:
    """A policy that looks at numbers, among those that are also shown pictures.

    Args:
        policy: is handed the numbers (n_obs,).
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def reset(self, goal: Float32) -> None:
        self.policy.reset(goal)

    def act(self, obs: Seen) -> Float32:
        return self.policy.act(obs.vector if isinstance(obs, Observed) else obs)


class UniformPolicy:
    """Independent uniform actions: the random policy of the comparisons."""

    def __init__(self, nu: int, rng: np.random.Generator) -> None:
        self.nu, self.rng = nu, rng

    def reset(self, goal: Float32) -> None:
        return None

    def act(self, obs: Seen) -> Float32:
        return self.rng.uniform(-1, 1, self.nu).astype(np.float32)


class MixedPolicy:
    """One of two policies, drawn for each episode.

    Args:
        first, second: the policies.
        share: of the episodes that the second one gets, in [0, 1].
        rng: source of randomness.
    """

    def __init__(self, first: Policy, second: Policy, share: float, rng: np.random.Generator) -> None:
        self.first, self.second, self.share, self.rng = first, second, share, rng
        self.chosen = first

    def reset(self, goal: Float32) -> None:
        self.chosen = self.second if self.rng.random() < self.share else self.first
        self.chosen.reset(goal)

    def act(self, obs: Seen) -> Float32:
        return self.chosen.act(obs)


class NoisyPolicy:
    """Another policy with noise added to its actions, so that planner-made data also covers its surroundings."""

    def __init__(self, policy: Policy, noise: ExplorationPolicy, scale: float) -> None:
        self.policy, self.noise, self.scale = policy, noise, scale

    def reset(self, goal: Float32) -> None:
        self.policy.reset(goal)
        self.noise.reset(goal)

    def act(self, obs: Seen) -> Float32:
        proposed = self.policy.propose(obs) if isinstance(self.policy, Proposer) else self.policy.act(obs)
        action: Float32 = np.clip(proposed + self.scale * self.noise.act(obs), -1, 1).astype(np.float32)
        if isinstance(self.policy, Proposer):
            self.policy.observe(obs, action)
        return action


IMAGE_KEYS = ("image", "pixels")
"""Keys of a picture in a dict observation: ours, and that of Gymnasium's AddRenderObservation."""
VECTOR_KEYS = ("observation", "state")
"""Keys of the numbers beside it."""


def split_observation(obs: Any) -> tuple[Seen, Float32, Float32]:
    """What is seen, the achieved and the desired goal.

    Args:
        obs: numbers; a picture (H, W, C) uint8; or a dict of numbers, a picture or both under one of VECTOR_KEYS and
            IMAGE_KEYS, and of the goals.

    Returns:
        numbers (n_obs,), with the picture (Observed) where there is one, and the goals. What is missing is empty.

    Raises:
        ValueError: what stands at the place of the picture is none.
    """
    empty = np.zeros(0, np.float32)
    image = picture_of(obs)
    if isinstance(obs, Mapping):
        vector = _first(obs, VECTOR_KEYS)
        achieved, desired = obs.get("achieved_goal", empty), obs.get("desired_goal", empty)
    else:
        vector, achieved, desired = None if image is not None else obs, empty, empty
    numbers = empty if vector is None else np.asarray(vector, np.float32)
    return numbers if image is None else Observed(numbers, image), achieved, desired


def picture_of(obs: Any) -> UInt8 | None:
    """The picture (H, W, C) uint8 in an observation: all of it, or under one of IMAGE_KEYS; None where there is none.

    Raises:
        ValueError: what stands there is no picture.
    """
    found = _first(obs, IMAGE_KEYS) if isinstance(obs, Mapping) else obs if _is_picture(obs) else None
    if found is not None and not _is_picture(found):
        raise ValueError(
            f"the picture of an observation has shape {np.shape(found)} and type {np.asarray(found).dtype}, allowed "
            "(H, W, C) of uint8; resize and convert it in a wrapper"
        )
    return found


def _is_picture(obs: Any) -> bool:
    return isinstance(obs, np.ndarray) and obs.ndim == 3 and obs.dtype == np.uint8


def _first(obs: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((obs[key] for key in keys if key in obs), None)


class EpisodeRecorder:
    """Collects one episode step by step.

    Args:
        raw: observation of the reset, of any layout that `split_observation` knows.
    """

    def __init__(self, raw: Any) -> None:
        obs, achieved, goal = split_observation(raw)
        self.obs: list[Seen] = [obs]
        self.achieved, self.goals = [achieved], [goal]
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.terminated: list[bool] = []
        self.truncated: list[bool] = []

    def __len__(self) -> int:
        return len(self.actions)

    def add(self, action: Any, raw: Any, reward: float, terminated: bool, truncated: bool) -> None:
        """An action and what the environment answered."""
        obs, achieved, goal = split_observation(raw)
        self.obs.append(obs)
        self.achieved.append(achieved)
        self.goals.append(goal)
        self.actions.append(action)
        self.rewards.append(float(reward))
        self.terminated.append(bool(terminated))
        self.truncated.append(bool(truncated))

    def episode(self, env: gym.Env[Any, Any], seed: int) -> Episode:
        """What was recorded. Args: env: that it was recorded in. seed: of its reset."""
        goal = self.goals[0]
        moves = any(not np.array_equal(now, goal) for now in self.goals)
        pictures = [o.image for o in self.obs if isinstance(o, Observed)]
        return Episode(
            obs=np.asarray([o.vector if isinstance(o, Observed) else o for o in self.obs], np.float32),
            achieved=np.asarray(self.achieved, np.float32),
            goal=np.asarray(self.goals if moves else goal, np.float32),
            action=np.asarray(self.actions, np.float32),
            reward=np.asarray(self.rewards, np.float32),
            terminated=np.asarray(self.terminated, np.bool_),
            truncated=np.asarray(self.truncated, np.bool_),
            ctrl_dt=control_interval(env),
            env_id=env.spec.id if env.spec is not None else type(env.unwrapped).__name__,
            seed=seed,
            image=np.stack(pictures) if pictures else None,
        )


def run_episode(
    env: gym.Env[Any, Any], policy: Policy, seed: int, options: dict[str, Any] | None = None
) -> tuple[Episode, dict[str, Any]]:
    """Run one episode to its end.

    Args:
        env: a Gymnasium environment with Box, goal-dict or picture observations (`split_observation`) and
            actions in [-1, 1].
        policy: chooses the actions.
        seed: of the reset.
        options: of the reset.

    Returns:
        the episode and the info of its last step.
    """
    raw, info = env.reset(seed=seed, options=options)
    recorder = EpisodeRecorder(raw)
    policy.reset(recorder.goals[0])
    done = False
    while not done:
        action = policy.act(recorder.obs[-1])
        raw, reward, terminated, truncated, info = env.step(action)
        recorder.add(action, raw, float(reward), terminated, truncated)
        done = terminated or truncated
    return recorder.episode(env, seed), info


def control_interval(env: gym.Env[Any, Any]) -> float:
    """Duration of one control step [s], from the environment's attribute `ctrl_dt` or its render rate."""
    dt = getattr(env.unwrapped, "ctrl_dt", None)
    return float(dt) if dt is not None else 1.0 / float(env.metadata.get("render_fps", 20))
