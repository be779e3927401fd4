"""Looking at a planner: a picture of one plan, and films with the candidates drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from .build import make_env, planning_agent
from .checkpoint import Checkpoint, Spaces
from .closed_loop import EVALUATION_SEED
from .config import EnvConfig, PlannerConfig
from .data.collect import split_observation
from .objective import observation_layout
from .report.candidates import CandidateWatch, spheres
from .report.plan_plot import plan_plot
from .report.video import ReachVideo, record_reaches

FILM: dict[str, Any] = {"width": 960, "height": 720}
"""Size that films are drawn at [pixels]; they are scaled down, which smooths the edges."""
FILM_WIDTH = 640
"""Width of the film [pixels]."""
SHOWN = 60
"""Candidates in a film."""


def end_effector(spaces: Spaces) -> slice | None:
    """Columns of the end effector's position; None where the observation has none."""
    return observation_layout(spaces).get("ee_pos")


def picture_plan(
    checkpoint: Checkpoint, env: gym.Env[Any, Any], planner: PlannerConfig, seed: int, path: Path
) -> Path | None:
    """Draw what is considered for the first plan on the first goal of an evaluation.

    Args:
        checkpoint: the model.
        env: fits the checkpoint; it is reset.
        planner: its settings.
        seed: of the planner.
        path: PNG file.

    Returns:
        `path`; None where the observation has no position of an end effector, and nothing is drawn.
    """
    columns = end_effector(checkpoint.spaces)
    if columns is None:
        return None
    agent = planning_agent(checkpoint, planner, env, seed)
    try:
        raw, _ = env.reset(seed=EVALUATION_SEED)
        obs, _, goal = split_observation(raw)
        agent.reset(goal)
        watch, state = CandidateWatch(agent, columns), agent.state(obs)
        agent.plan(state)
        is_goal = checkpoint.spaces.position_columns == columns
        shown = np.asarray(goal) if is_goal else None
        return plan_plot(watch.candidates(obs, state), path, shown, spheres(planner.terms))
    finally:
        close_model(agent.model)


def film_plans(
    checkpoint: Checkpoint, config: EnvConfig, planner: PlannerConfig, seed: int, episodes: int, path: Path
) -> ReachVideo:
    """Film episodes with the candidates of every plan; a `poster.png` goes beside the film.

    Args:
        checkpoint: the model.
        config: of the environment.
        planner: its settings.
        seed: of the planner.
        episodes: how many goals of the evaluation, at least 1.
        path: the film, a name that ends in .mp4.

    Raises:
        VideoError: pictures cannot be drawn or encoded on this machine.
    """
    env = make_env(config, render=True, **FILM)
    agent = planning_agent(checkpoint, planner, env, seed)
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + episodes)
    try:
        return record_reaches(
            env,
            agent,
            seeds,
            path,
            width=FILM_WIDTH,
            columns=end_effector(checkpoint.spaces),
            candidates=SHOWN,
            obstacles=spheres(planner.terms),
        )
    finally:
        close_model(agent.model)
        env.close()


def close_model(model: Any) -> None:
    """End the threads of a simulator; other models have none."""
    if hasattr(model, "close"):
        model.close()
