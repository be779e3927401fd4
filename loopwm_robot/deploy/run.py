"""Drive an arm with a checkpoint: preflight, bridge, reaches, recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch

from envs.arm_env import ArmEnv

from ..build import make_agent
from ..checkpoint import Checkpoint
from ..closed_loop import EVALUATION_SEED
from ..config import PlannerConfig
from ..progress import progress
from ..report.bridge import bridge_plot
from .arm_config import ArmConfig
from .control import ControlConfig, run_reaches
from .errors import DeployError
from .preflight import make_bridge, preflight
from .record import save_recording
from .result import DeployResult, GoalResult


@dataclass(frozen=True)
class DeployConfig(ControlConfig):
    """The run on the arm.

    Attributes:
        goals: held-out goals to reach, one after another, at least 1.
        allow_motion: consent of a person that an arm other than the simulated one moves.
    """

    goals: int = 20
    allow_motion: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.goals <= 100_000:
            raise ValueError(f"deploy.goals is {self.goals}, allowed [1, 100000]")


def deploy_checkpoint(
    checkpoint: Checkpoint,
    env: gym.Env[Any, Any],
    planner: PlannerConfig,
    arm_config: ArmConfig,
    config: DeployConfig,
    seed: int,
    folder: Path,
) -> DeployResult:
    """Reach held-out goals in real time through the bridge.

    Writes bridge.npz, events.jsonl and plots/bridge.png into the folder, also when the run ends in a fault.

    Args:
        checkpoint: the controller's model.
        env: what the checkpoint was trained on: meaning of actions and observations, and the goals.
        planner: settings of the planner.
        arm_config: the arm.
        config: the run.
        seed: of the planner.
        folder: run folder.

    Raises:
        RequestError: arm, environment and checkpoint do not fit, or consent is missing; nothing has moved.
        DeployError: the run ended in a fault; the arm is at rest.
    """
    base = env.unwrapped
    if not isinstance(base, ArmEnv):
        raise ValueError(
            f"{checkpoint.spaces.env_id} is no arm environment, allowed those of envs/; it cannot be deployed"
        )
    preflight(checkpoint.spaces, arm_config, base.arm, base.joint_delta, config.allow_motion)
    agent = make_agent(checkpoint.model, checkpoint.spaces, planner, torch.Generator().manual_seed(seed))
    goals = held_out_goals(env, config.goals)
    with (
        progress("drive", config.goals) as bar,
        make_bridge(arm_config, allow_motion=config.allow_motion) as bridge,
    ):
        wins: list[bool] = []

        def report(_: int, result: GoalResult) -> None:
            wins.append(result.success)
            bar.advance(success=float(np.mean(wins)))

        try:
            result = run_reaches(
                agent,
                bridge,
                base.joint_delta,
                base.kinematics,
                checkpoint.spaces.position_columns,
                goals,
                config,
                report,
                env_id=checkpoint.spaces.env_id,
                seed=EVALUATION_SEED,
            )
        except DeployError as error:
            if error.result is not None:
                keep(error.result, folder)
            raise
    keep(result, folder)
    return result


def keep(result: DeployResult, folder: Path) -> None:
    """Write the recording and its figure; an arm that never moved has no figure."""
    save_recording(folder, result)
    if len(result.records):
        plots = folder / "plots"
        plots.mkdir(exist_ok=True)
        bridge_plot(result.records, result.limits, plots / "bridge.png")


def held_out_goals(env: gym.Env[Any, Any], count: int) -> np.ndarray:
    """Goals of the first evaluation episodes (count, 3) [m]."""
    goals = []
    for i in range(count):
        obs, _ = env.reset(seed=EVALUATION_SEED + i)
        goals.append(cast(dict[str, np.ndarray], obs)["desired_goal"])
    return np.array(goals)
