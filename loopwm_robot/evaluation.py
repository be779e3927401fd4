"""Measure a checkpoint: closed loop beside the comparisons, open loop by horizon and loop count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from .agent import MPCAgent
from .bench.profile import profile_control_step
from .build import make_agent, planning_agent
from .checkpoint import Checkpoint
from .closed_loop import EVALUATION_SEED, ClosedLoopResult, evaluate
from .config import CollectConfig, EvaluateConfig, PlannerConfig
from .data.collect import Policy, UniformPolicy
from .models.build import build_loopwm
from .models.loopwm import LoopWM
from .models.simulator import SimulatorModel
from .progress import progress
from .report.control import distance_plot, timing_plot
from .report.predictions import depth_plot, horizon_plot, prediction_plot
from .runs import write_text
from .threads import torch_threads
from .training.metrics import HORIZONS, open_loop_predictions, open_loop_table
from .training.online import record_held_out
from .types import Episode

OpenLoopTable = dict[int, dict[int, tuple[float, float]]]


@dataclass(frozen=True)
class Evaluation:
    """Everything measured.

    Attributes:
        results: closed loop by controller; "loopwm" is the one under test.
        held_out: random episodes behind the open-loop errors.
        open_loop: errors by loop count and horizon, see `open_loop_table`.
        mean_loops: mean loop count of the exit rule on the controller's own transitions.
        control_step: where the time of one control step goes [s].
    """

    results: dict[str, ClosedLoopResult]
    held_out: list[Episode]
    open_loop: OpenLoopTable
    mean_loops: float
    control_step: dict[str, float]

    def summary(self) -> dict[str, float | int]:
        """Flat keys of summary.json; the comparisons stand under their name."""
        values = self.results["loopwm"].summary()
        for name, result in self.results.items():
            if name != "loopwm":
                values |= result.summary(f"{name}.")
        values["mean_loops"] = self.mean_loops
        values |= {f"time_{part.replace(' ', '_')}_s": seconds for part, seconds in self.control_step.items()}
        used = min(self.open_loop, key=lambda loops: abs(loops - self.mean_loops))
        values |= {f"open_loop_rmse_h{horizon}": rmse for horizon, (rmse, _) in self.open_loop[used].items()}
        for loops, row in self.open_loop.items():
            for horizon, (rmse, metres) in row.items():
                values[f"open_loop_rmse_h{horizon}_loops{loops}"] = rmse
                values[f"open_loop_position_m_h{horizon}_loops{loops}"] = metres
        return values


def untrained_copy(checkpoint: Checkpoint, seed: int) -> LoopWM:
    """The same architecture with fresh weights; it knows the scaling of the data and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        s = checkpoint.spaces
        model = build_loopwm(checkpoint.config, s.n_obs, s.nu, s.n_goal, s.ctrl_dt)
    model.obs_normalizer.load_state_dict(checkpoint.model.obs_normalizer.state_dict())
    model.goal_normalizer.load_state_dict(checkpoint.model.goal_normalizer.state_dict())
    return model.eval()


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
    """
    controllers: dict[str, tuple[int, Callable[[], Policy]]] = {
        "loopwm": (config.episodes, lambda: planning_agent(checkpoint, planner, env, seed)),
        "random": (config.random_episodes, lambda: UniformPolicy(checkpoint.spaces.nu, np.random.default_rng(seed))),
        "untrained": (config.untrained_episodes, lambda: untrained_agent(checkpoint, planner, seed)),
        "simulator": (config.simulator_episodes, lambda: simulator_agent(checkpoint, planner, env, seed)),
    }
    results = {}
    with torch_threads(config.threads):
        for name, (count, make) in controllers.items():
            if count == 0:
                continue
            policy = make()
            with progress(f"evaluate {name}", count) as bar:
                wins: list[bool] = []

                def report(episode: Episode, success: bool, wins: list[bool] = wins, bar: Any = bar) -> None:
                    wins.append(success)
                    bar.advance(success=float(np.mean(wins)))

                seeds = range(EVALUATION_SEED, EVALUATION_SEED + count)
                results[name] = evaluate(env, policy, seeds, report)
            if isinstance(policy, MPCAgent) and isinstance(policy.model, SimulatorModel):
                policy.model.close()
        held_out = record_held_out(env, checkpoint.spaces.nu, CollectConfig(), config.held_out)
        table = open_loop_table(checkpoint.model, held_out, checkpoint.spaces.position_columns)
        loops = mean_loops(checkpoint, results["loopwm"].episodes)
        agent = planning_agent(checkpoint, replace(planner, model="learned"), env, seed)
        step = profile_control_step(agent, held_out[0].obs[0], held_out[0].goal)
    return Evaluation(results, held_out, table, loops, step)


def untrained_agent(checkpoint: Checkpoint, planner: PlannerConfig, seed: int) -> MPCAgent:
    """The same planner on an untrained model."""
    model = untrained_copy(checkpoint, seed)
    return make_agent(model, checkpoint.spaces, planner, torch.Generator().manual_seed(seed))


def simulator_agent(checkpoint: Checkpoint, planner: PlannerConfig, env: gym.Env[Any, Any], seed: int) -> MPCAgent:
    """The same planner on the true model."""
    return planning_agent(checkpoint, replace(planner, model="simulator", objective="analytic"), env, seed)


@torch.inference_mode()
def mean_loops(checkpoint: Checkpoint, episodes: list[Episode]) -> float:
    """Mean loop count of the exit rule over the transitions of some episodes."""
    obs = torch.from_numpy(np.concatenate([e.obs[:-1] for e in episodes]))
    action = torch.from_numpy(np.concatenate([e.action for e in episodes]))
    model = checkpoint.model
    return float(model.rollout(model.encode(obs), action[:, None]).loops.double().mean())


def write_evaluation(evaluation: Evaluation, checkpoint: Checkpoint, folder: Path) -> None:
    """Draw the figures of an evaluation into folder/plots and write its tables.

    Writes open_loop.json and predictions, horizons, loops, distance and timing in plots/, each a PNG file.
    """
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    spaces, model = checkpoint.spaces, checkpoint.model
    distance_plot(evaluation.results, plots / "distance.png")
    result = evaluation.results["loopwm"]
    timing_plot(result.plan_time, spaces.ctrl_dt, evaluation.control_step, plots / "timing.png")
    if evaluation.open_loop:
        predicted, truth = open_loop_predictions(model, evaluation.held_out, max(HORIZONS), 5, model.exit_rule)
        groups = {"ee_pos": spaces.position_columns}
        prediction_plot(predicted.numpy(), truth.numpy(), spaces.ctrl_dt, groups, plots / "predictions.png")
        horizon_plot(predicted.numpy(), truth.numpy(), groups, plots / "horizons.png")
        depth_plot(evaluation.open_loop, plots / "loops.png")
    table = {
        str(loops): {str(h): {"rmse": rmse, "position_m": metres} for h, (rmse, metres) in row.items()}
        for loops, row in evaluation.open_loop.items()
    }
    write_text(folder / "open_loop.json", json.dumps(table, indent=2))
