"""An environment in a training: what was recorded there, the model as it sees it, and who acts in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from envs.arm_env import ArmEnv

from ..agent import MPCAgent
from ..checkpoint import Spaces
from ..closed_loop import ClosedLoopResult, evaluate
from ..config import ModelConfig, TrainConfig
from ..data.buffer import ReplayBuffer
from ..data.collect import ExplorationPolicy, NoisyPolicy
from ..data.recorded import MEASURED
from ..models.build import build_model, exit_rule
from ..models.dynamics import DynamicsModel
from ..models.loopwm import LoopWM
from ..models.shared import SharedModel
from ..progress import progress
from ..types import Episode
from .calibrate import calibrate_exits, calibrate_monitor
from .depths import depth_counts
from .metrics import Starts, imagine, open_loop_rmse

WIDEN_ROWS = 1 << 18
"""Observations that the model is shown at once before a round."""
START_MARGIN = 0.01
"""Distance to the joint limits of a start that is chained to the episode before [rad]."""
PLANNED = ("success_rate", "final_distance_m_median")
"""What the history says of the planner's episodes."""
EXIT_KEYS = ("threshold", "mean_loops", "met")
"""What the summary says of each calibrated exit rule; `met` is 0 where its error stayed above the budget."""


@dataclass
class Player:
    """A planner in an environment, whose actions get some noise.

    Attributes:
        env: to act in.
        spaces: of env.
        agent: plans.
        explorer: noise on its actions.
    """

    env: gym.Env[Any, Any]
    spaces: Spaces
    agent: MPCAgent
    explorer: ExplorationPolicy

    def play(
        self, seeds: Sequence[int], train: TrainConfig, keep: Callable[[Episode, bool], None] | None = None
    ) -> ClosedLoopResult:
        """An episode for each seed of a reset; `keep` is handed each with its success."""
        policy = NoisyPolicy(self.agent, self.explorer, train.noise)
        return evaluate(self.env, policy, seeds, keep, lambda i, before: self.chained_start(i, before, train.chain))

    def chained_start(self, i: int, before: Episode | None, chain: int) -> dict[str, Any] | None:
        """Start episode i where the one before ended; every `chain`-th one starts afresh."""
        base = self.env.unwrapped
        if before is None or i % chain == 0 or not isinstance(base, ArmEnv):
            return None
        if not self.spaces.joints[1]:  # nobody can read off a picture where the joints are
            return None
        if any(name.startswith("object") for name in self.spaces.groups):  # which may be where the arm was
            return None
        q = before.obs[-1, self.spaces.joint_columns]
        return {"q": np.clip(q, base.arm.q_min + START_MARGIN, base.arm.q_max - START_MARGIN)}


def make_models(
    config: ModelConfig, spaces: Sequence[Spaces], device: torch.device
) -> tuple[Sequence[DynamicsModel], SharedModel | None]:
    """A new model as each environment sees it, drawn on the CPU: the same weights everywhere.

    Returns:
        a view for each of `spaces`, and what is behind them where there are several.
    """
    if len(spaces) == 1:
        return [build_model(config, *spaces[0].of_model).to(device)], None
    shared = SharedModel(config, spaces, device)
    return shared.views, shared


@dataclass
class Arena(Player):
    """One of the environments of a training; mostly there is a single one.

    Attributes:
        name: short, and no other's in this training.
        model: as this environment sees it.
        buffer: what is learned from.
        held_out: episodes that are measured on.
        exits: what calibration found for each exit rule, see `calibrate_exits`.
        depths: transitions by their number of loops, for each exit rule, see `depth_counts`.
    """

    name: str
    model: DynamicsModel
    buffer: ReplayBuffer
    held_out: list[Episode] = field(default_factory=list)
    exits: dict[str, dict[str, float]] = field(default_factory=dict)
    depths: dict[str, list[int]] = field(default_factory=dict)

    def widen(self) -> None:
        """Let the model imagine whatever was observed."""
        seen = self.buffer.observations
        for start in range(0, len(seen), WIDEN_ROWS):
            self.model.widen(torch.from_numpy(seen[start : start + WIDEN_ROWS]).to(self.model.device))

    def collect(self, title: str, seeds: Sequence[int], train: TrainConfig) -> ClosedLoopResult:
        """Let the planner collect an episode for each seed of a reset."""
        with progress(title, len(seeds)) as bar:

            def keep(episode: Episode, success: bool) -> None:
                self.buffer.add(episode)
                bar.advance()

            return self.play(seeds, train, keep)

    def calibrate(self, config: ModelConfig) -> None:
        """Take the thresholds of a trained LoopWM's exits and the levels of its monitor from held-out episodes."""
        if not isinstance(self.model, LoopWM):
            return
        if config.kind == "loopwm":
            self.exits = calibrate_exits(self.model, self.held_out)
            self.depths = depth_counts(self.model, self.held_out)
            self.model.exit_rule = exit_rule(config, self.model)  # a threshold in the configuration wins
        calibrate_monitor(self.model, self.held_out)

    def exit_summary(self) -> dict[str, float]:
        """What the summary says of the exits."""
        return {f"exit_{rule}_{key}": about[key] for rule, about in self.exits.items() for key in EXIT_KEYS}

    def summary(self, last: dict[str, float], top: dict[str, float]) -> dict[str, float]:
        """What the summary says of one of several environments, under its name.

        Args:
            last, top: entries of the history: the last one, and that of the best round.
        """
        errors = {f"open_loop_rmse_h{h}": last.get(f"{self.name}.val_rmse_h{h}") for h in (1, MEASURED)}
        planned = {f"best_{key}": top.get(f"{self.name}.{key}") for key in PLANNED}
        found = {"train_transitions": len(self.buffer), **errors, **planned, **self.exit_summary()}
        return {f"{self.name}.{key}": value for key, value in found.items() if value is not None}

    def errors(self) -> dict[str, float]:
        """Open-loop errors one step and a few steps ahead on held-out episodes, as the history names them."""
        starts = Starts.of(self.held_out, MEASURED, 5, self.model.context).to(self.model.device)
        rmse = open_loop_rmse(self.model, imagine(self.model, starts), starts)
        return {"val_rmse_h1": float(rmse[0]), f"val_rmse_h{MEASURED}": float(rmse[-1])}


def mean_entry(entries: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Numbers of one arena as they are; of several their means, and each one's under its name."""
    if len(entries) == 1:
        return entries[0]
    means = {key: float(np.mean([entry[key] for entry in entries])) for key in entries[0]}
    own = {f"{name}.{key}": x for name, entry in zip(names, entries, strict=True) for key, x in entry.items()}
    return means | own
