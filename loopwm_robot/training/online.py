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

from ..build import make_agent, make_explorer
from ..checkpoint import Checkpoint, Spaces, save_checkpoint, short_names
from ..closed_loop import ClosedLoopResult
from ..config import CollectConfig, ModelConfig, PlannerConfig, TrainConfig
from ..data.buffer import ReplayBuffer
from ..data.collect import ExplorationPolicy
from ..data.recorded import MEASURED, check_recorded
from ..data.storage import GB, Place
from ..determinism import deterministic
from ..device import find_device, seeded
from ..models.dynamics import DynamicsModel
from ..models.loopwm import LoopWM
from ..progress import progress
from ..threads import torch_threads
from ..types import Episode
from .anchor import Anchor
from .arena import PLANNED, Arena, make_models, mean_entry
from .crew import Crew, errands, joined
from .explore import explore, record_held_out, reward_function, training_seed
from .finetune import Origin, held_out_error
from .gate import fit_shared_gate
from .keep import BEST, LAST, best, newest_is_best
from .refused import REFUSED
from .state import restore_state, save_state
from .team import ALONE, Team
from .trainer import Subject, WorldModelTrainer, scaling_data

NAMES = {"val_rmse_h1": "open_loop_rmse_h1", "val_rmse_h5": "open_loop_rmse_h5", "loss": "train_loss"}
"""What the summary calls entries of the history."""


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
        errors: of a fine-tuned model on new and old motion, before and after.
        on_entry: is handed each new entry of the history.
        offline: nothing is done in the environment, see `use_data`.
        team: the processes of a data-parallel training.
        origin: what is fine-tuned, see `begin_from`; None where the weights are new.
        others: further environments that the same model is trained on, with their spaces.
        crew: collectors that let the planner act in processes of their own; None: this process does.
        arenas: all environments, env first.
        shared: the model of several environments; None where there is one.
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
    errors: dict[str, float] = field(default_factory=dict)
    on_entry: Callable[[dict[str, float]], None] | None = None
    offline: bool = False
    origin: Origin | None = None
    team: Team = ALONE
    others: Sequence[tuple[gym.Env[Any, Any], Spaces]] = ()
    crew: Crew | None = None

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        everywhere = [(self.env, self.spaces), *self.others]
        device = find_device(self.device)
        models, self.shared = make_models(self.model_config, [spaces for _, spaces in everywhere], device)
        self.model = models[0]
        self.rng = np.random.default_rng(self.seed)
        self.generator = torch.Generator().manual_seed(self.seed + self.team.rank)
        self.planner_noise = seeded(self.model.device, self.seed)
        names = short_names([spaces for _, spaces in everywhere])
        parts = zip(names, everywhere, models, strict=True)
        self.arenas = [self._arena(name, *where, model) for name, where, model in parts]
        self.trainer = WorldModelTrainer(
            self.model,
            self.train.update,
            self.train.rounds * self.train.updates_per_round,
            self.rng,
            self.generator,
            self.spaces.position_columns,
            reward_function(self.env),
            self.team,
            [Subject(a.model, a.spaces.position_columns, reward_function(a.env)) for a in self.arenas[1:]],
        )
        self.trainer.refused = self.folder / (REFUSED if self.team.lead else f"{self.team.rank}_{REFUSED}")

    def _arena(self, name: str, env: gym.Env[Any, Any], spaces: Spaces, model: DynamicsModel) -> Arena:
        place = Place(self.train.replay_memory_gb * GB, self.folder)
        buffer = ReplayBuffer(self.train.buffer_size, *spaces.sizes, place=place)
        explorer = ExplorationPolicy(spaces.nu, self.rng, self.collect.correlation, self.collect.scale)
        agent = make_agent(model, spaces, self.planner_config, self.planner_noise)
        return Arena(env, spaces, agent, explorer, name, model, buffer)

    @property
    def buffer(self) -> ReplayBuffer:
        """What was recorded in env."""
        return self.arenas[0].buffer

    @property
    def held_out(self) -> list[Episode]:
        """Episodes of env that are measured on."""
        return self.arenas[0].held_out

    @property
    def depths(self) -> dict[str, list[int]]:
        """How deep the exits go in env."""
        return self.arenas[0].depths

    @property
    def weights(self) -> torch.nn.Module:
        """All that is learned, and the scaling with it."""
        return self.model if self.shared is None else self.shared

    def run(self, on_round: Callable[[ClosedLoopResult | None], None] | None = None) -> Checkpoint:
        """Do what is left of the run.

        Args:
            on_round: called after each round with the planner-made episodes of env, None after the last round.

        Returns:
            the trained model.
        """
        if not self.team.lead:
            return self._follow()
        for arena in self.arenas:
            self._begin(arena)
        if self.origin is not None:
            self._compare("before", self.origin.checkpoint.model)
        elif self.rounds_done == 0 and self.shared is not None:
            self.shared.fit_normalizers([scaling_data(arena.buffer, self.model.device) for arena in self.arenas])
        elif self.rounds_done == 0:
            self.trainer.fit_normalizers(self.buffer)
        if self.team.size > 1:
            self._pass_on()
        with torch_threads(self.train.threads), deterministic(self.train.deterministic):
            while self.rounds_done < self.train.rounds:
                started = time.perf_counter()
                self._update()
                self.rounds_done += 1
                results = self._collect() if self.rounds_done < self.train.rounds else []
                self._log_round(results)
                self.train_time_s += time.perf_counter() - started
                self._keep()
                self._pass_on()
                if on_round is not None:
                    on_round(results[0] if results else None)
            self._calibrate()
        if self.origin is not None:
            self._compare("after", self.model)
        return self.checkpoint()

    def _begin(self, arena: Arena) -> None:
        """Record what is measured on and, where nothing was recorded yet, what is learned from at first."""
        if not self.offline:
            arena.held_out = record_held_out(arena.env, arena.spaces.nu, self.collect, self.train.held_out)
        if len(arena.buffer) == 0:
            explorer = make_explorer(arena.env, arena.spaces.nu, self.collect, self.rng)
            episodes = self.collect.episodes
            explore(arena.env, explorer, arena.buffer, episodes, lambda i: training_seed(self.seed, 0, i))

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
        self.arenas[0].held_out, self.offline = list(held_out), bool(held_out)

    def summary(self) -> dict[str, float | int | str]:
        """Flat keys of summary.json; of several environments each one's stand under its name."""
        last = self.history[-1] if self.history else {}
        top = best(self.history) or {}
        values: dict[str, float | int | str] = {
            "train_updates": self.trainer.updates,
            "train_transitions": self.transitions,
            "train_time_s": self.train_time_s,
            "parameters": self.checkpoint().parameters,
            "env_id": ", ".join(arena.spaces.env_id for arena in self.arenas),
            "seed": self.seed,
            **{key: last[name] for name, key in NAMES.items() if name in last},
            **{f"best_{key}": top[key] for key in ("round", "success_rate") if key in top},
            **self.gate,
            **self.errors,
        }
        for arena in self.arenas:
            values |= arena.summary(last, top) if self.shared else arena.exit_summary()
        return values

    @property
    def transitions(self) -> int:
        """Recorded transitions of all environments."""
        return sum(len(arena.buffer) for arena in self.arenas)

    def checkpoint(self) -> Checkpoint:
        """The model as it is now."""
        info = {
            "updates": self.trainer.updates,
            "rounds": self.rounds_done,
            "transitions": self.transitions,
            "train_time_s": self.train_time_s,
            "seed": self.seed,
            "torch": str(torch.__version__),
        }
        return Checkpoint(self.model.eval(), self.model_config, self.spaces, info, self.shared)

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
        for arena in self.arenas:
            arena.widen()
        name = f"train {self.rounds_done + 1}/{self.train.rounds}"
        smooth: dict[str, float] = {}
        started = time.perf_counter()
        with progress(name, self.train.updates_per_round, file=None if self.team.lead else io.StringIO()) as bar:
            for i in range(self.train.updates_per_round):
                values = self.trainer.update(*(arena.buffer for arena in self.arenas))
                for key, value in values.items():
                    smooth[key] = value if key not in smooth else 0.95 * smooth[key] + 0.05 * value
                bar.advance(loss=smooth["loss"])
                if (i + 1) % 25 == 0 or i + 1 == self.train.updates_per_round:
                    spent = self.train_time_s + time.perf_counter() - started
                    now = {"update": self.trainer.updates, "round": self.rounds_done + 1, "wall_time_s": spent}
                    self._note({**now, **smooth})
        self.model.eval()

    def _calibrate(self) -> None:
        """What a trained LoopWM decides at run time: its gate, the thresholds of its exits, its monitor's levels."""
        looped = [(arena.model, arena.buffer) for arena in self.arenas if isinstance(arena.model, LoopWM)]
        if looped and self.model_config.kind == "loopwm":
            weights = self.trainer.obs_weights
            examples = [(*some, weight) for some, weight in zip(looped, weights, strict=True)]
            self.gate = fit_shared_gate(examples, self.train.gate, np.random.default_rng(self.seed))
        for arena in self.arenas:
            arena.calibrate(self.model_config)

    def _collect(self) -> list[ClosedLoopResult]:
        """Let the planner collect in all environments in turn; nothing where the run is offline."""
        count = self.train.episodes_per_round
        if count == 0 or self.offline:
            return []
        seeds = [training_seed(self.seed, self.rounds_done, i) for i in range(count)]
        title = f"plan {self.rounds_done}/{self.train.rounds}"
        if self.crew is not None:
            return self._sent_for(self.crew, title, seeds)
        titles = [title if len(self.arenas) == 1 else f"{title} {arena.name}" for arena in self.arenas]
        return [a.collect(name, seeds, self.train) for a, name in zip(self.arenas, titles, strict=True)]

    def _sent_for(self, crew: Crew, title: str, seeds: Sequence[int]) -> list[ClosedLoopResult]:
        """The same by other processes; episodes come into the buffers in an order that does not depend on them."""
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in self.weights.state_dict().items()}
        todo = errands(len(self.arenas), seeds, self.train.chain, training_seed(self.seed, self.rounds_done, 0))
        found: dict[int, ClosedLoopResult] = {}
        with progress(title, sum(len(errand.seeds) for errand in todo)) as bar:
            for number, result in crew.collect(weights, todo):
                found[number] = result
                bar.advance(len(result.episodes))
        for number, errand in enumerate(todo):
            for episode in found[number].episodes:
                self.arenas[errand.arena].buffer.add(episode)
        of_arena = [[found[n] for n, errand in enumerate(todo) if errand.arena == a] for a in range(len(self.arenas))]
        return [joined(results) for results in of_arena]

    def _log_round(self, results: Sequence[ClosedLoopResult]) -> None:
        old = [] if self.origin is None else self.origin.held_out
        names = [arena.name for arena in self.arenas]
        entry = {
            **(self.history[-1] if self.history else {"update": self.trainer.updates}),
            "round": self.rounds_done,
            **mean_entry([arena.errors() for arena in self.arenas], names),
            **({f"val_old_rmse_h{MEASURED}": held_out_error(self.model, old)} if old else {}),
        }
        if results:
            summaries = [result.summary() for result in results]
            entry |= mean_entry([{key: float(summary[key]) for key in PLANNED} for summary in summaries], names)
        self._note(entry)

    def _note(self, entry: dict[str, float]) -> None:
        self.history.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)
