"""loopwm identify: fit an arm's hidden dynamics to recorded episodes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..config import IdentifyCommand
from ..errors import RequestError
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "identify"
SCHEMA = IdentifyCommand


def run(overrides: list[str]) -> int:
    """Write the dynamics, their ranges and a plot into a new run folder.

    Raises:
        RequestError: there are no data, or they do not fit the environment.
    """
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    if not config.data:
        raise RequestError("data is empty, allowed recorded episodes; write loopwm identify data=runs/collect/TIME")
    from envs.arm_env import ArmEnv
    from envs.identify import Recorded, identify
    from envs.randomize import DynamicsRanges, find_ranges
    from envs.ranges_file import write_ranges

    from ..build import make_env, spaces_of
    from ..data.datasets import read_dataset
    from ..progress import progress
    from ..report.identified import measured_and_simulated

    env = make_env(config.env)
    arm = env.unwrapped
    if not isinstance(arm, ArmEnv):
        raise RequestError(f"env.id is '{config.env.id}', allowed ids of LoopWM/; others have no hidden dynamics")
    episodes = read_dataset(Path(config.data).expanduser(), spaces_of(env, config.env), None)
    recorded = [Recorded(episode.obs, episode.action) for episode in episodes]
    with RunFolder.create("identify", config.out) as folder:
        folder.save_config(config)
        started = time.perf_counter()
        settings = {name: getattr(config, name) for name in ("seed", "steps", "segments", "population", "generations")}
        with progress("identify", config.generations + config.refinements) as bar:
            try:
                found = identify(
                    arm,
                    recorded,
                    config.parameters,
                    find_ranges(config.box),
                    **settings,
                    refinements=config.refinements,
                    threads=config.threads or os.cpu_count() or 1,
                    advance=bar.advance,
                )
            except ValueError as error:
                raise RequestError(f"{error}; data is {config.data}") from error
        lines = [str(estimate) for estimate in found.estimates]
        best = DynamicsRanges.at(found.dynamics)
        write_ranges(folder.file("dynamics.yaml"), best, "best estimate: loopwm ... env.randomize=THIS FILE")
        write_ranges(folder.file("ranges.yaml"), found.ranges, "\n".join(["what the data leave open:", *lines]))
        joints = arm.arm.joint_names
        folder.file("plots").mkdir()
        measured_and_simulated(found, joints, config.env.id, arm.ctrl_dt, folder.path / "plots" / "identified.png")
        folder.write_summary(
            {
                **{estimate.name: estimate.value for estimate in found.estimates},
                **{f"{estimate.name}_low": estimate.low for estimate in found.estimates},
                **{f"{estimate.name}_high": estimate.high for estimate in found.estimates},
                **{f"{estimate.name}_told": estimate.told for estimate in found.estimates},
                "error_rad": found.error[0],
                "error_rad_s": found.error[1],
                "nominal_error_rad": found.nominal_error[0],
                "nominal_error_rad_s": found.nominal_error[1],
                "segments": len(found.segments),
                "candidates": found.runs,
                "env_id": config.env.id,
                "seed": config.seed,
                "wall_time_s": time.perf_counter() - started,
            }
        )
        lines.append(
            f"joints within {found.error[0]:.2g} rad, {found.nominal_error[0]:.2g} rad as in the MJCF, after "
            f"{config.steps} steps; {folder.file('dynamics.yaml')}"
        )
        for line in lines:
            folder.log.info(line)
            print(line)
    return 0
