"""A data set whose dynamics are known exactly: o' = o + B a, with B of each episode hidden in a scale."""

from __future__ import annotations

import numpy as np
import torch

from loopwm_robot.bench.model.datasets import Dataset, Split
from loopwm_robot.models.dynamics import DynamicsModel
from loopwm_robot.types import Episode, LatentState, LoopInfo

N_OBS, NU, STEPS = 4, 2, 102
GROUPS = {"robot": (0, 1), "object": (2, 3)}
MATRIX = np.array([[0.1, 0.0], [0.0, 0.1], [0.05, 0.05], [0.05, -0.05]], np.float32)


def drift_split(episodes: int, seed: int, *, steps: int = STEPS, hidden: bool = False) -> Split:
    """Episodes of random actions; contact wherever the first action is positive."""
    rng = np.random.default_rng(seed)
    made, contact, scales = [], [], []
    for index in range(episodes):
        scale = float(rng.uniform(0.5, 1.5)) if hidden else 1.0
        action = rng.uniform(-1, 1, (steps, NU)).astype(np.float32)
        first = rng.normal(size=(1, N_OBS)).astype(np.float32)
        obs = np.concatenate([first, first + scale * np.cumsum(action @ MATRIX.T, 0)], dtype=np.float32)
        made.append(
            Episode(
                obs=obs,
                achieved=obs[:, :2],
                goal=np.zeros(2, np.float32),
                action=action,
                reward=np.zeros(steps, np.float32),
                terminated=np.zeros(steps, bool),
                truncated=np.arange(steps) == steps - 1,
                ctrl_dt=0.1,
                env_id="Drift",
                seed=seed * 1000 + index,
            )
        )
        contact.append(action[:, 0] > 0)
        scales.append([scale - 1])
    return Split(made, np.array(contact), np.array(scales, np.float32) if hidden else None)


def drift_dataset(name: str = "push", *, hidden: bool = False, long: int = 0) -> Dataset:
    """A whole data set."""
    amounts = {"train": 4, "calibrate": 1, "test": 2}
    splits = {name: drift_split(n, seed, hidden=hidden) for seed, (name, n) in enumerate(amounts.items())}
    if hidden:
        splits["test_seen"] = drift_split(2, 7, hidden=True)
    if long:
        splits["long_explore"] = splits["long_uniform"] = drift_split(2, 8, steps=long)
    return Dataset(name, splits, dict(GROUPS), (0, 2), 0.1, N_OBS)


class Exact(DynamicsModel):
    """Knows the dynamics; `growth` makes it diverge."""

    def __init__(self, data: Dataset, growth: float = 1.0) -> None:
        super().__init__(*data.sizes, data.sizes[0], 4)
        self.growth = growth

    def encode(self, obs, goal=None, history=None):
        return LatentState(obs.unsqueeze(1), goal)

    def step(self, state, action):
        h = self.growth * state.h + (action @ torch.from_numpy(MATRIX).T).unsqueeze(1)
        return LatentState(h, state.goal), LoopInfo.fixed(len(h), 1, h.device)

    def decode_normalised(self, h, columns=None):
        return self.obs_normalizer(h.squeeze(-2))

    def unroll(self, batch, how, generator):
        raise NotImplementedError
