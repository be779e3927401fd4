"""loopwm evaluate: measure a checkpoint in closed loop on held-out goals."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..config import EvaluateCommand
from ..runs import RunFolder
from .compose import compose

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

CONFIG_NAME = "evaluate"
SCHEMA = EvaluateCommand


def run(overrides: list[str]) -> int:
    """Evaluate into a new run folder."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..build import check_strides
    from ..evaluation import evaluate_checkpoint, write_evaluation
    from ..execution.run import check_execution
    from ..objective import check_objective
    from ..plan_pictures import picture_plan
    from ..threads import torch_threads
    from .checkpoints import open_checkpoint

    checkpoint, env, path, env_config = open_checkpoint(config.checkpoint, config.env, overrides, config.device)
    config = replace(config, env=env_config)
    check_objective(checkpoint.spaces, config.planner, checkpoint.config.kind)
    check_strides(config.planner, checkpoint.config.kind, checkpoint.config.form)
    check_execution(checkpoint.spaces, config.planner, config.evaluate)
    with RunFolder.create("evaluate", config.out) as folder:
        folder.save_config(config)
        started = time.perf_counter()
        evaluation = evaluate_checkpoint(checkpoint, env, config.planner, config.evaluate, config.seed)
        write_evaluation(evaluation, checkpoint, folder.path)
        if config.plan_picture:
            with torch_threads(config.evaluate.threads):
                picture_plan(checkpoint, env, config.planner, config.seed, folder.path / "plots" / "plan.png")
        if config.film_episodes:
            film(config, checkpoint, folder)
        summary = {
            **evaluation.summary(),
            "parameters": checkpoint.parameters,
            "checkpoint": str(path),
            "env_id": config.env.id,
            "device": str(checkpoint.model.device),
            "seed": config.seed,
            "wall_time_s": time.perf_counter() - started,
        }
        folder.write_summary(summary)
        end = f"median final distance {summary['final_distance_m_median'] * 100:.2f} cm"
        if not checkpoint.spaces.n_goal:
            end = f"mean return {summary['return_mean']:.4g}"
        success = f"success {summary['success_rate']:.3f} of {summary['episodes']} goals"
        report = f"{success}, {end}; results in {folder.path}"
        folder.log.info(report)
        print(report)
    return 0


def film(config: EvaluateCommand, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Film some episodes; a machine that cannot draw goes on without."""
    from ..plan_pictures import film_plans
    from ..report.video import VideoError
    from ..threads import torch_threads

    episodes, path = config.film_episodes, folder.file("video/plans.mp4")
    try:
        with torch_threads(config.evaluate.threads):
            film_plans(checkpoint, config.env, config.planner, config.seed, episodes, path)
    except VideoError as error:
        folder.log.warning("no video: %s", error)
