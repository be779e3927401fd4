"""loopwm view: watch and change a planner in the browser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..config import ViewCommand
from ..errors import RequestError
from .compose import compose

CONFIG_NAME = "view"
SCHEMA = ViewCommand


def run(overrides: list[str]) -> int:
    """Show until Ctrl-C, or for as many control steps as asked for; no run folder is made.

    Raises:
        RequestError: the environment is not one of ours, viser is not installed, or something does not fit.
    """
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from envs import ArmEnv

    from ..build import check_strides, make_env, simulator_model, spaces_of
    from ..objective import check_objective
    from ..plan_pictures import close_model
    from ..report.candidates import spheres
    from ..threads import torch_threads
    from ..view.controls import Controls
    from ..view.session import Session
    from ..view.settings import has_depth
    from ..view.viewer import Viewer
    from .checkpoints import open_checkpoint

    simulated = config.planner.model == "simulator"
    if simulated and not config.checkpoint:
        env = make_env(config.env)
        spaces, model, kind = spaces_of(env, config.env), None, ""
    else:
        checkpoint, env, _, env_config = open_checkpoint(config.checkpoint, config.env, overrides, config.device)
        config = replace(config, env=env_config)
        spaces, model, kind = checkpoint.spaces, checkpoint.model, checkpoint.config.kind
        check_strides(config.planner, kind, checkpoint.config.form)
    if not isinstance(env.unwrapped, ArmEnv):
        raise RequestError(f"env.id is '{config.env.id}', allowed environments of ours; loopwm gallery draws them")
    check_objective(spaces, config.planner, kind)
    planning: Any = simulator_model(env, config.planner.simulator) if simulated else model
    view, controls = config.view, Controls(config.view.paused, config.view.tour)
    shown = has_depth(planning), spheres(config.planner.terms)
    try:
        viewer = Viewer(env.unwrapped, config.planner, view, controls, *shown)
        try:
            pair = env, make_env(config.env)
            session = Session(pair, planning, spaces, config.planner, controls, viewer, config.seed)
            try:
                print(f"view at {viewer.url}; Ctrl-C ends it", flush=True)
                with torch_threads(config.threads):
                    session.run(view.steps)
            except KeyboardInterrupt:  # the usual end
                print()
            print(f"view ended after {session.steps} control steps")
        finally:
            viewer.close()
    finally:
        close_model(planning)
    return 0
