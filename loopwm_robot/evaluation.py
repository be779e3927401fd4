"""Measure a checkpoint: closed loop beside the comparisons, open loop by horizon and loop count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from .agent import MPCAgent
from .bench.profile import profile_control_step
from .build import learned_agent, make_agent, planning_agent
from .checkpoint import Checkpoint, Spaces
from .closed_loop import EVALUATION_SEED, ClosedLoopResult, evaluate
from .config import CollectConfig, EvaluateConfig, PlannerConfig
from .data.collect import Policy, UniformPolicy
from .device import seeded
from .execution.run import MakeAgent, check_execution, executing
from .models.build import build_model
from .models.dynamics import DynamicsModel
from .models.loopwm import LoopWM
from .models.simulator_config import SimulatorConfig
from .progress import progress
from .report.control import distance_plot, timing_plot
from .report.predictions import depth_plot, horizon_plot, prediction_plot
from .runs import write_text
from .threads import torch_threads
from .training.explore import record_held_out
from .training.metrics import HORIZONS, Starts, imagine, open_loop_predictions, open_loop_table
from .types import Episode

OpenLoopTable = dict[int, dict[int, tuple[float, float]]]


@dataclass(frozen=True)
class Evaluation:
    """Everything measured; models without loops have neither loop counts nor a profile of the control step.

    Attributes:
        model: kind of the model.
        results: closed loop by controller; that of `model` is the one under test.
        held_out: random episodes behind the open-loop errors.
        open_loop: errors by loop count and horizon, see `open_loop_table`; a model that has no choice has one entry.
        mean_loops: mean loop count of the exit rule on the controller's own transitions; None without loops.
        control_step: where the time of one control step goes [s].
        has_position: whether the observation has a position that the goal is about.
    """

    model: str
    results: dict[str, ClosedLoopResult]
    held_out: list[Episode]
    open_loop: OpenLoopTable
    mean_loops: float | None
    control_step: dict[str, float]
    has_position: bool = True

    def summary(self) -> dict[str, float | int | str]:
        """Flat keys of summary.json; the comparisons stand under their name."""
        values: dict[str, float | int | str] = {"model": self.model, **self.results[self.model].summary()}
        for name, result in self.results.items():
            if name != self.model:
                values |= result.summary(f"{name}.")
        values |= {f"time_{part.replace(' ', '_')}_s": seconds for part, seconds in self.control_step.items()}
        if self.mean_loops is not None:
            values["mean_loops"] = self.mean_loops
        used = min(self.open_loop, key=lambda loops: abs(loops - (self.mean_loops or 1)))
        values |= self._errors(used)
        if len(self.open_loop) > 1:
            for loops in self.open_loop:
                values |= self._errors(loops, f"_loops{loops}")
        return values

    def _errors(self, loops: int, suffix: str = "") -> dict[str, float]:
        values = {}
        for horizon, (rmse, metres) in self.open_loop[loops].items():
            values[f"open_loop_rmse_h{horizon}{suffix}"] = rmse
            if self.has_position:
                values[f"open_loop_position_m_h{horizon}{suffix}"] = metres
        return values


def untrained_copy(checkpoint: Checkpoint, seed: int) -> DynamicsModel:
    """The same architecture with fresh weights; it knows the scaling of the data and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(checkpoint.config, *checkpoint.spaces.of_model)
    for name in ("obs_normalizer", "goal_normalizer", "delta_normalizer"):
        getattr(model, name).load_state_dict(getattr(checkpoint.model, name).state_dict())
    vision, taught = getattr(model, "vision", None), getattr(checkpoint.model, "vision", None)
    if vision is not None and taught is not None:
        vision.normalizer.load_state_dict(taught.normalizer.state_dict())
    return model.eval().to(checkpoint.model.device)


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    env: gym.Env[Any, Any],
    planner: PlannerConfig,
    config: EvaluateConfig,
    seed: int,
) -> Evaluation:
    """Run the controller and its comparisons on held-out goals.

    Args:
        checkpoint: under test.
        env: fits the checkpoint.
        planner: its settings; planner.model "simulator" puts the true model under test.
        config: how many episodes.
        seed: of the planners.

    Returns:
        all results; every controller meets the first goals of the same sequence.

    Raises:
        RequestError: plans cannot be carried out in the way that is asked for; see `check_execution`.
    """
    check_execution(checkpoint.spaces, planner, config)
    kind, model, spaces = checkpoint.config.kind, checkpoint.model, checkpoint.spaces

    def planned(make: MakeAgent) -> AbstractContextManager[Policy]:
        return executing(make, checkpoint, planner, config, seed)

    def on_truth(checkpoint: Checkpoint, planner: PlannerConfig, seed: int) -> MPCAgent:
        return simulator_agent(checkpoint, planner, env, seed)

    def configured(checkpoint: Checkpoint, planner: PlannerConfig, seed: int) -> MPCAgent:
        return planning_agent(checkpoint, planner, env, seed)

    controllers: dict[str, tuple[int, AbstractContextManager[Policy]]] = {
        kind: (config.episodes, planned(learned_agent if planner.model == "learned" else configured)),
        "random": (config.random_episodes, nullcontext(UniformPolicy(spaces.nu, np.random.default_rng(seed)))),
        "untrained": (config.untrained_episodes, planned(untrained_agent)),
        "simulator": (config.simulator_episodes, planned(on_truth)),
    }
    results = {}
    with torch_threads(config.threads):
        for name, (count, controller) in controllers.items():
            if count == 0:
                continue
            with controller as policy, progress(f"evaluate {name}", count) as bar:
                wins: list[bool] = []

                def report(episode: Episode, success: bool, wins: list[bool] = wins, bar: Any = bar) -> None:
                    wins.append(success)
                    bar.advance(success=float(np.mean(wins)))

                seeds = range(EVALUATION_SEED, EVALUATION_SEED + count)
                results[name] = evaluate(env, policy, seeds, report)
        held_out = record_held_out(env, checkpoint.spaces.nu, CollectConfig(), config.held_out)
        table = open_loop_table(model, held_out, checkpoint.spaces.position_columns, loops=depths(checkpoint))
        loops, step = None, {}
        if isinstance(model, LoopWM):
            loops = mean_loops(model, results[kind].episodes)
            agent = planning_agent(checkpoint, moved(planner, "learned"), env, seed)
            step = profile_control_step(agent, held_out[0].seen(0), np.atleast_2d(held_out[0].goal)[0])
    has_position = checkpoint.spaces.position[1] > checkpoint.spaces.position[0]
    return Evaluation(kind, results, held_out, table, loops, step, has_position)


def depths(checkpoint: Checkpoint) -> list[int] | None:
    """Loop counts to measure at: the only one that an ablation was trained for; None leaves the choice."""
    config = checkpoint.config
    only = {"one_pass": 1, "untied": round(config.mean_loops)}
    return [only[config.kind]] if config.kind in only else None


def untrained_agent(checkpoint: Checkpoint, planner: PlannerConfig, seed: int) -> MPCAgent:
    """The same planner on an untrained model."""
    model = untrained_copy(checkpoint, seed)
    several = checkpoint.config.kind == "ensemble"
    return make_agent(model, checkpoint.spaces, moved(planner, "learned", several), seeded(model.device, seed))


def simulator_agent(checkpoint: Checkpoint, planner: PlannerConfig, env: gym.Env[Any, Any], seed: int) -> MPCAgent:
    """The same planner on the true model, which learned no reward."""
    if planner.objective == "learned_reward":
        planner = replace(planner, objective="analytic")
    return planning_agent(checkpoint, moved(planner, "simulator"), env, seed)


def moved(planner: PlannerConfig, model: str, several: bool = False) -> PlannerConfig:
    """The planner on another model, which believes no wrong dynamics; what only some models can do is left out."""
    chunk = planner.chunk if model == "learned" else 1
    planner = replace(planner, model=model, simulator=SimulatorConfig(), chunk=chunk)
    if several:
        return planner
    return replace(planner, risk="none", costs=tuple(cost for cost in planner.costs if cost["cost"] != "uncertainty"))


@torch.inference_mode()
def mean_loops(model: LoopWM, episodes: list[Episode]) -> float:
    """Mean loop count of the exit rule over the transitions of some episodes, from where the context is full."""
    window = min(model.context, min(map(len, episodes)) - 1)
    starts = Starts.of(episodes, 1, 1, window).to(model.device)
    return float(imagine(model, starts).loops.double().mean())


def position_name(spaces: Spaces) -> str:
    """Whose position the goal is about, for people."""
    names = [name for name, columns in spaces.groups.items() if spaces.position[0] in columns]
    return {"ee": "End effector"}.get(names[0], names[0].capitalize()) if names else "Position"


def draw_predictions(checkpoint: Checkpoint, episodes: Sequence[Episode], plots: Path) -> None:
    """Draw predictions.png and horizons.png from held-out episodes, where a position (3,) is observed long enough."""
    spaces, horizon = checkpoint.spaces, max(HORIZONS)
    if spaces.position[1] - spaces.position[0] != 3 or max(map(len, episodes), default=0) < horizon:
        return
    predicted, truth = open_loop_predictions(checkpoint.model, episodes, horizon, 5)
    both, position = (predicted.numpy(), truth.numpy()), spaces.position_columns
    prediction_plot(*both, spaces.ctrl_dt, position, plots / "predictions.png", name=position_name(spaces))
    horizon_plot(*both, position, plots / "horizons.png")


def write_evaluation(evaluation: Evaluation, checkpoint: Checkpoint, folder: Path) -> None:
    """Draw the figures of an evaluation into folder/plots and write its tables.

    Writes open_loop.json and predictions, horizons, loops, distance and timing in plots/, each a PNG file: loops where
    there is a choice of loop counts, predictions and horizons where the observation has a position (3,).
    """
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    spaces = checkpoint.spaces
    distance_plot(evaluation.results, plots / "distance.png")
    result = evaluation.results[evaluation.model]
    timing_plot(result.plan_time, spaces.ctrl_dt, evaluation.control_step, plots / "timing.png")
    draw_predictions(checkpoint, evaluation.held_out, plots)
    if len(evaluation.open_loop) > 1:
        depth_plot(evaluation.open_loop, plots / "loops.png")
    table = {
        str(loops): {str(h): {"rmse": rmse, "position_m": metres} for h, (rmse, metres) in row.items()}
        for loops, row in evaluation.open_loop.items()
    }
    write_text(folder / "open_loop.json", json.dumps(table, indent=2))
