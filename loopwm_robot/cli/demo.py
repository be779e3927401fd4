"""loopwm demo: the main job end to end."""

from __future__ import annotations

from ..build import check_model, check_strides, make_env, spaces_of
from ..demo import DemoConfig, describe, run_demo
from ..device import find_device
from ..execution.run import check_blend, check_execution
from ..objective import check_objective
from ..ray_cluster import require_ray
from ..runs import RunFolder
from ..tracking import check_tracking
from .checks import check_arm
from .compose import compose
from .resume import resumed

CONFIG_NAME = "demo"
SCHEMA = DemoConfig


def run(overrides: list[str]) -> int:
    """Run the demo into a new run folder, or go on with an interrupted one."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    if config.resume is None:
        env = make_env(config.env)
        spaces = spaces_of(env, config.env)
        check_objective(spaces, config.planner, config.model.kind)
        check_strides(config.planner, config.model.kind, config.model.form)
        check_execution(spaces, config.planner, config.evaluate)
        check_blend(config.planner, config.deploy.blend_steps, "deploy.blend_steps")
        find_device(config.device)
        check_tracking(config.train.wandb)
        if config.train.collectors:
            require_ray(f"train.collectors={config.train.collectors}")
        check_model(env, spaces, config.model, config.train.update.chunks)
        check_arm(spaces, env, config.arm, config.deploy.allow_motion)
    folder = RunFolder.create("demo", config.out, config.resume)
    config = resumed(config, overrides, folder)
    with folder:
        summary = run_demo(config, folder)
        print(describe(summary))
        print(f"report: {folder.path / 'report.html'}")
    return 0
