"""loopwm deploy: drive an arm with a checkpoint in real time through the bridge."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from ..build import check_strides
from ..config import MAX_SEED, EnvConfig, PlannerConfig
from ..deploy.arm_config import ArmConfig
from ..deploy.rest import interruptible
from ..deploy.run import DeployConfig, deploy_checkpoint
from ..execution.run import check_blend
from ..objective import check_objective
from ..runs import RunFolder
from .checkpoints import open_checkpoint
from .checks import check_arm
from .compose import compose


@dataclass(frozen=True)
class DeployCommand:
    """`loopwm deploy`: drive an arm with a checkpoint.

    Attributes:
        arm: the arm.
        checkpoint: the .safetensors file, or the run folder that holds it.
        seed: of the planner, at least 0.
        out: run folder; none makes runs/deploy/TIME.
        env: the environment that the checkpoint was trained on; left out, it is the checkpoint's.
        planner: the planner.
        deploy: the run.
    """

    arm: ArmConfig
    checkpoint: str = ""
    seed: int = 0
    out: str | None = None
    env: EnvConfig = field(default_factory=EnvConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}, allowed [0, {MAX_SEED}]")


CONFIG_NAME = "deploy"
SCHEMA = DeployCommand


def run(overrides: list[str]) -> int:
    """Drive the arm and write a new run folder."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    checkpoint, env, path, env_config = open_checkpoint(config.checkpoint, config.env, overrides)
    config = replace(config, env=env_config)
    check_arm(checkpoint.spaces, env, config.arm, config.deploy.allow_motion)
    check_objective(checkpoint.spaces, config.planner, checkpoint.config.kind)
    check_strides(config.planner, checkpoint.config.kind, checkpoint.config.form)
    check_blend(config.planner, config.deploy.blend_steps, "deploy.blend_steps")
    with RunFolder.create("deploy", config.out) as folder, interruptible():
        folder.save_config(config)
        started = time.perf_counter()
        result = deploy_checkpoint(
            checkpoint, env, config.planner, config.arm, config.deploy, config.seed, folder.path
        )
        summary = {
            **result.summary(),
            "parameters": checkpoint.parameters,
            "checkpoint": str(path),
            "env_id": config.env.id,
            "seed": config.seed,
            "wall_time_s": time.perf_counter() - started,
        }
        folder.write_summary(summary)
        report = (
            f"success {summary['success_rate']:.2f} of {summary['episodes']} goals, median final distance "
            f"{100 * summary['final_distance_m_median']:.2f} cm, {summary['limit_violations']} limit violations, "
            f"{summary['deadline_misses']} planner deadline misses; results in {folder.path}"
        )
        folder.log.info(report)
        print(report)
    return 0
