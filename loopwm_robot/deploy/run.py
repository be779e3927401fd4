"""Drive an arm with a checkpoint: preflight, bridge, reaches, recording."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch

from envs.arm_env import ArmEnv
from hardware import BridgeConfig

from ..build import make_agent
from ..checkpoint import Checkpoint
from ..closed_loop import EVALUATION_SEED
from ..config import PlannerConfig
from ..execution.run import check_blend
from ..progress import progress
from ..report.bridge import bridge_plot
from .alarm import Alarm
from .arm_config import ArmConfig
from .control import run_reaches
from .control_config import ControlConfig
from .errors import DeployError
from .preflight import make_bridge, preflight
from .record import keep_recording
from .result import DeployResult, GoalResult

SCORE_STEPS = 6
"""Control steps without a score of the model's monitor after which the bridge slows the arm down."""

SHADOW, DRY_RUN = "shadow", "dry_run"
"""What may come before the arm is driven, in this order; also the folders of what was recorded then."""

_NAMES = {"send": "drive", DRY_RUN: "dry run", SHADOW: "shadow"}

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployConfig(ControlConfig):
    """The run on the arm.

    Attributes:
        goals: held-out goals to reach, one after another, at least 1.
        shadow_goals: goals that are pursued at first without sending anything, seeing only what the arm does by itself,
            at rest or moved by somebody else: reading, planning in time, limits and alarms, recorded in the folder
            shadow. 0 for none.
        dry_goals: goals that are pursued then without sending anything, as if the arm followed exactly: the way that it
            would take, recorded in the folder dry_run. A fault, or a command beyond a limit, ends the run here or
            there. 0 for none.
        allow_motion: consent of a person that an arm other than the simulated one moves.
    """

    goals: int = 20
    shadow_goals: int = 0
    dry_goals: int = 0
    allow_motion: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.goals <= 100_000:
            raise ValueError(f"deploy.goals is {self.goals}, allowed [1, 100000]")
        for key in ("shadow_goals", "dry_goals"):
            if not 0 <= getattr(self, key) <= 100_000:
                raise ValueError(f"deploy.{key} is {getattr(self, key)}, allowed [0, 100000]")


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

    Writes bridge.npz, events.jsonl and plots/bridge.png into the folder, also when the run ends in a fault or by
    Ctrl-C. When this process is killed, the control process leaves black_box.npz and black_box.jsonl there.

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
        DeployError: the run ended in a fault, or its recording cannot be kept; the arm is at rest.
    """
    base = env.unwrapped
    if not isinstance(base, ArmEnv):
        raise ValueError(
            f"{checkpoint.spaces.env_id} is no arm environment, allowed those of envs/; it cannot be deployed"
        )
    preflight(checkpoint.spaces, arm_config, base.arm, base.joint_delta, config.allow_motion)
    check_blend(planner, config.blend_steps, "deploy.blend_steps")
    for commands, count in ((SHADOW, config.shadow_goals), (DRY_RUN, config.dry_goals)):
        if count:
            name = _NAMES[commands]
            silent = replace(arm_config, bridge=replace(arm_config.bridge, commands=commands))
            first = replace(config, goals=count, shadow_goals=0, dry_goals=0)
            where = folder / commands
            where.mkdir(exist_ok=True)
            found = deploy_checkpoint(checkpoint, env, planner, silent, first, seed, where).summary()
            if broken := found["limit_violations"]:
                raise DeployError(f"{name}: {broken} commands beyond a limit, see {where}; nothing was sent")
            misses = found["deadline_misses"]
            _LOG.info("%s of %d goals without a fault, %d planner deadline misses", name, count, misses)
    agent = make_agent(checkpoint.model, checkpoint.spaces, planner, torch.Generator().manual_seed(seed))
    goals = held_out_goals(env, config.goals)
    watched = Alarm.of(checkpoint.model, config, arm_config.bridge.cautious_scale) is not None
    arm_config = replace(arm_config, bridge=_bridge(arm_config.bridge, folder, watched, base.joint_delta.ctrl_dt))
    with (
        progress(_NAMES[arm_config.bridge.commands], config.goals) as bar,
        make_bridge(arm_config, allow_motion=config.allow_motion) as bridge,
    ):
        wins: list[bool] = []

        def report(_: int, result: GoalResult) -> None:
            wins.append(result.success)
            bar.advance(success=float(np.mean(wins)))

        return run_reaches(
            agent,
            bridge,
            base.joint_delta,
            base.kinematics,
            checkpoint.spaces.position_columns,
            goals,
            config,
            report,
            lambda result: keep(result, folder),
            env_id=checkpoint.spaces.env_id,
            seed=EVALUATION_SEED,
        )


def _bridge(config: BridgeConfig, folder: Path, watched: bool, ctrl_dt: float) -> BridgeConfig:
    """Settings of the bridge, with a black box, and slow without fresh news from the model's monitor."""
    if not config.black_box:
        config = replace(config, black_box=str(folder.absolute()))
    if watched and config.speed_scale_s == 0.0:
        config = replace(config, speed_scale_s=SCORE_STEPS * ctrl_dt)
    return config


def keep(result: DeployResult, folder: Path) -> None:
    """Write the recording and its figure; an arm that never moved has no figure.

    Raises:
        DeployError: see `keep_recording`.
    """
    keep_recording(folder, result)
    if len(result.records):
        plots = folder / "plots"
        try:
            plots.mkdir(exist_ok=True)
            bridge_plot(result.records, result.limits, plots / "bridge.png")
        except OSError as error:  # it can be drawn again from the recording
            _LOG.warning("the figure of the run cannot be written: %s", error)


def held_out_goals(env: gym.Env[Any, Any], count: int) -> np.ndarray:
    """Goals of the first evaluation episodes (count, 3) [m]."""
    goals = []
    for i in range(count):
        obs, _ = env.reset(seed=EVALUATION_SEED + i)
        goals.append(cast(dict[str, np.ndarray], obs)["desired_goal"])
    return np.array(goals)
