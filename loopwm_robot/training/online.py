"""Training in rounds: random exploration, then gradient updates and planner-made episodes in turn.

The state of a run (weights, optimiser, buffer, random generators) is written after every round, so that an interrupted
run goes on where its last finished round ended and reaches the same result as an unbroken one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from envs.arm_env import ArmEnv

from ..build import make_agent, make_explorer
from ..checkpoint import Checkpoint, Spaces, save_checkpoint
from ..closed_loop import ClosedLoopResult, evaluate
from ..config import CollectConfig, ModelConfig, PlannerConfig, TrainConfig
from ..data.buffer import ReplayBuffer
from ..data.collect import ExplorationPolicy, NoisyPolicy
from ..data.recorded import MEASURED, check_recorded
from ..data.storage import GB, Place
from ..determinism import deterministic
from ..device import find_device, seeded
from ..models.build import build_model, exit_rule
from ..models.dynamics import DynamicsModel
from ..models.loopwm import LoopWM
from ..progress import progress
from ..threads import torch_threads
from ..types import Episode
from .anchor import Anchor
from .calibrate import calibrate_exits, calibrate_monitor
from .depths import depth_counts
from .explore import explore, record_held_out, reward_function, training_seed
from .finetune import Origin, held_out_error
from .gate import fit_exit_gate
from .keep import BEST, LAST, best, newest_is_best
from .metrics import Starts, imagine, open_loop_rmse
from .refused import REFUSED
from .state import restore_state, save_state
from .team import ALONE, Team
from .trainer import WorldModelTrainer

WIDEN_ROWS = 1 << 18
"""Observations that the model is shown at once before a round."""

START_MARGIN = 0.01
"""Distance to the joint limits of a start that is chained to the episode before [rad]."""

EXIT_KEYS = ("threshold", "mean_loops", "met")
"""What the summary says of each calibrated exit rule; `met` is 0 where its error stayed above the budget."""


@dataclass
class TrainingRun:
    """A training run that can be stopped after any round.

    Args:
        env: supplies episodes.
        spaces: of env.
        model_config, planner_config, collect, train: settings.
        seed: of everything random.
        folder: where the state is kept.
        device: where the model is trained and plans: cpu, cuda, cuda:N or auto. A run may go on elsewhere; its planner
            then draws other noise.

    Attributes:
        history: one entry for each logged update and each round.
        rounds_done: finished rounds.
        train_time_s: time spent in them [s].
        gate: how the exit gate does after training, see `fit_exit_gate`.
        exits: what calibration found for each exit rule, see `calibrate_exits`.
        errors: of a fine-tuned model on new and old motion, before and after.
        depths: transitions by their number of loops, for each exit rule, see `depth_counts`.
        on_entry: is handed each new entry of the history.
        offline: nothing is done in the environment, see `use_data`.
        team: the processes of a data-parallel training.
        origin: what is fine-tuned, see `begin_from`; None where the weights are new.
    """

    env: gym.Env[Any, Any]
    spaces: Spaces
    model_config: ModelConfig
    planner_config: PlannerConfig
    collect: CollectConfig
    train: TrainConfig
    seed: int
    folder: Path
    device: str = "cpu"
    history: list[dict[str, float]] = field(default_factory=list)
    rounds_done: int = 0
    train_time_s: float = 0.0
    gate: dict[str, float] = field(default_factory=dict)
    exits: dict[str, dict[str, float]] = field(default_factory=dict)
    depths: dict[str, list[int]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    on_entry: Callable[[dict[str, float]], None] | None = None
    offline: bool = False
    origin: Origin | None = None
    team: Team = ALONE

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        s = self.spaces
        model = build_model(self.model_config, *s.of_model)
        self.model = model.to(find_device(self.device))  # drawn on the CPU: the same weights everywhere
        place = Place(self.train.replay_memory_gb * GB, self.folder)
        self.buffer = ReplayBuffer(self.train.buffer_size, *s.sizes, place=place)
        self.rng = np.random.default_rng(self.seed)
        self.generator = torch.Generator().manual_seed(self.seed + self.team.rank)
        self.explorer = ExplorationPolicy(s.nu, self.rng, self.collect.correlation, self.collect.scale)
        self.planner_noise = seeded(self.model.device, self.seed)
        self.agent = make_agent(self.model, s, self.planner_config, self.planner_noise)
        self.trainer = WorldModelTrainer(
            self.model,
            self.train.update,
            self.train.rounds * self.train.updates_per_round,
            self.rng,
            self.generator,
            s.position_columns,
            reward_function(self.env),
            self.team,
        )
        self.trainer.refused = self.folder / (REFUSED if self.team.lead else f"{self.team.rank}_{REFUSED}")
        self.held_out: list[Episode] = []

    def run(self, on_round: Callable[[ClosedLoopResult | None], None] | None = None) -> Checkpoint:
        """Do what is left of the run.

        Args:
            on_round: called after each round with the planner-made episodes, None after the last round.

        Returns:
            the trained model.
        """
        if not self.team.lead:
            return self._follow()
        if not self.offline:
            self.held_out = record_held_out(self.env, self.spaces.nu, self.collect, self.train.held_out)
        if len(self.buffer) == 0:
            episodes = self.collect.episodes
            explorer = make_explorer(self.env, self.spaces.nu, self.collect, self.rng)
            explore(self.env, explorer, self.buffer, episodes, lambda i: training_seed(self.seed, 0, i))
        if self.origin is not None:
            self._compare("before", self.origin.checkpoint.model)
        elif self.rounds_done == 0:
            self.trainer.fit_normalizers(self.buffer)
        if self.team.size > 1:
            self._pass_on()
        with torch_threads(self.train.threads), deterministic(self.train.deterministic):
            while self.rounds_done < self.train.rounds:
                started = time.perf_counter()
                self._update()
                self.rounds_done += 1
                result = self._collect() if self.rounds_done < self.train.rounds else None
                self._log_round(result)
                self.train_time_s += time.perf_counter() - started
                self._keep()
                self._pass_on()
                if on_round is not None:
                    on_round(result)
            if isinstance(self.model, LoopWM):
                self._calibrate(self.model)
        if self.origin is not None:
            self._compare("after", self.model)
        return self.checkpoint()

    def _follow(self) -> Checkpoint:
        """The part of a process that is not the lead: its share of each batch."""
        self._pass_on()
        with torch_threads(self.train.threads), deterministic(self.train.deterministic):
            while self.rounds_done < self.train.rounds:
                self._update()
                self._pass_on()
        return self.checkpoint()

    def _pass_on(self) -> None:
        """After a round: the lead writes the state, the others read it."""
        states = self.team.gather(self.generator.get_state())
        if self.team.lead:
            self.save(states)
        self.team.tell("written")
        if not self.team.lead:
            self.restore()

    def begin_from(self, origin: Origin) -> None:
        """Fine-tune a trained model; a resumed run is given the same before `restore`."""
        self.origin = origin
        self.model.load_state_dict(origin.checkpoint.model.state_dict())
        update = self.train.update
        if update.anchor:
            self.trainer.anchor = Anchor(self.trainer.dynamics, update.anchor)
        if origin.old:
            rows = sum(len(episode) + 1 for episode in origin.old)
            place = Place(self.train.replay_memory_gb * GB, self.folder)
            self.trainer.old = ReplayBuffer(rows, *self.spaces.sizes, place=place)
            for episode in origin.old:
                self.trainer.old.add(episode)

    def _compare(self, when: str, model: DynamicsModel) -> None:
        """Note the errors of a model on new and old motion."""
        sets = {"new": self.held_out, "old": [] if self.origin is None else self.origin.held_out}
        self.errors |= {
            f"{name}_rmse_h{MEASURED}_{when}": held_out_error(model, some) for name, some in sets.items() if some
        }

    def use_data(self, episodes: Sequence[Episode], held_out: Sequence[Episode] = ()) -> None:
        """Start from recorded episodes instead of exploring; a resumed run is given the same before `restore`.

        Args:
            episodes: to learn from.
            held_out: to measure on. With some the run is offline: the planner collects none either.

        Raises:
            DatasetError: there are more than the buffer takes, or all to measure on are too short.
        """
        check_recorded(episodes, held_out, self.train.buffer_size)
        for episode in episodes:
            self.buffer.add(episode)
        self.held_out, self.offline = list(held_out), bool(held_out)

    def summary(self) -> dict[str, float | int | str]:
        """Flat keys of summary.json."""
        last = self.history[-1] if self.history else {}
        top = best(self.history) or {}
        names = {"val_rmse_h1": "open_loop_rmse_h1", "val_rmse_h5": "open_loop_rmse_h5", "loss": "train_loss"}
        return {
            "train_updates": self.trainer.updates,
            "train_transitions": len(self.buffer),
            "train_time_s": self.train_time_s,
            "parameters": self.checkpoint().parameters,
            "env_id": self.spaces.env_id,
            "seed": self.seed,
            **{key: last[name] for name, key in names.items() if name in last},
            **{f"best_{key}": top[key] for key in ("round", "success_rate") if key in top},
            **self.gate,
            **self.errors,
            **{f"exit_{rule}_{key}": about[key] for rule, about in self.exits.items() for key in EXIT_KEYS},
        }

    def checkpoint(self) -> Checkpoint:
        """The model as it is now."""
        info = {
            "updates": self.trainer.updates,
            "rounds": self.rounds_done,
            "transitions": len(self.buffer),
            "train_time_s": self.train_time_s,
            "seed": self.seed,
            "torch": str(torch.__version__),
        }
        return Checkpoint(self.model.eval(), self.model_config, self.spaces, info)

    def _keep(self) -> None:
        """Write checkpoints of the last round and, when this is it, of the best."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST) if newest_is_best(self.history) else (LAST,):
            save_checkpoint(self.folder / name, self.checkpoint())

    def save(self, generators: Sequence[torch.Tensor] = ()) -> None:
        """Write the whole state, see `state.save_state`."""
        save_state(self, generators)

    def restore(self) -> bool:
        """Go on from the newest saved round; False when there is none."""
        return restore_state(self)

    def _update(self) -> None:
        self.model.train()
        seen = self.buffer.observations
        for start in range(0, len(seen), WIDEN_ROWS):
            self.model.widen(torch.from_numpy(seen[start : start + WIDEN_ROWS]).to(self.model.device))
        name = f"train {self.rounds_done + 1}/{self.train.rounds}"
        smooth: dict[str, float] = {}
        started = time.perf_counter()
        with progress(name, self.train.updates_per_round, file=None if self.team.lead else io.StringIO()) as bar:
            for i in range(self.train.updates_per_round):
                values = self.trainer.update(self.buffer)
                for key, value in values.items():
                    smooth[key] = value if key not in smooth else 0.95 * smooth[key] + 0.05 * value
                bar.advance(loss=smooth["loss"])
                if (i + 1) % 25 == 0 or i + 1 == self.train.updates_per_round:
                    spent = self.train_time_s + time.perf_counter() - started
                    now = {"update": self.trainer.updates, "round": self.rounds_done + 1, "wall_time_s": spent}
                    self._note({**now, **smooth})
        self.model.eval()

    def _calibrate(self, model: LoopWM) -> None:
        """What a trained LoopWM decides at run time: its gate, the thresholds of its exits, its monitor's levels."""
        if self.model_config.kind == "loopwm":
            rng = np.random.default_rng(self.seed)
            self.gate = fit_exit_gate(model, self.buffer, self.train.gate, self.trainer.obs_weight, rng)
            self.exits = calibrate_exits(model, self.held_out)
            self.depths = depth_counts(model, self.held_out)
            model.exit_rule = exit_rule(self.model_config, model)  # a threshold in the configuration wins
        calibrate_monitor(model, self.held_out)

    def _collect(self) -> ClosedLoopResult | None:
        count = self.train.episodes_per_round
        if count == 0 or self.offline:
            return None
        policy = NoisyPolicy(self.agent, self.explorer, self.train.noise)
        with progress(f"plan {self.rounds_done}/{self.train.rounds}", count) as bar:

            def keep(episode: Episode, success: bool) -> None:
                self.buffer.add(episode)
                bar.advance()

            seeds = [training_seed(self.seed, self.rounds_done, i) for i in range(count)]
            return evaluate(self.env, policy, seeds, keep, self._chained_start)

    def _chained_start(self, i: int, before: Episode | None) -> dict[str, Any] | None:
        """Start where the episode before ended; every `chain`-th one starts afresh."""
        base = self.env.unwrapped
        if before is None or i % self.train.chain == 0 or not isinstance(base, ArmEnv):
            return None
        if not self.spaces.joints[1]:  # nobody can read off a picture where the joints are
            return None
        if any(name.startswith("object") for name in self.spaces.groups):  # which may be where the arm was
            return None
        q = before.obs[-1, self.spaces.joint_columns]
        return {"q": np.clip(q, base.arm.q_min + START_MARGIN, base.arm.q_max - START_MARGIN)}

    def _log_round(self, result: ClosedLoopResult | None) -> None:
        starts = Starts.of(self.held_out, MEASURED, 5, self.model.context).to(self.model.device)
        old = [] if self.origin is None else self.origin.held_out
        rmse = open_loop_rmse(self.model, imagine(self.model, starts), starts)
        entry = {
            **(self.history[-1] if self.history else {"update": self.trainer.updates}),
            "round": self.rounds_done,
            "val_rmse_h1": float(rmse[0]),
            f"val_rmse_h{MEASURED}": float(rmse[-1]),
            **({f"val_old_rmse_h{MEASURED}": held_out_error(self.model, old)} if old else {}),
        }
        if result is not None:
            summary = result.summary()
            entry |= {key: float(summary[key]) for key in ("success_rate", "final_distance_m_median")}
        self._note(entry)

    def _note(self, entry: dict[str, float]) -> None:
        self.history.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)
