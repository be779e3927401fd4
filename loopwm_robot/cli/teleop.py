"""loopwm teleop: drive a simulated arm by keyboard or gamepad and record it."""

from __future__ import annotations

from ..config import TeleopCommand
from ..errors import RequestError
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "teleop"
SCHEMA = TeleopCommand


def run(overrides: list[str]) -> int:
    """Record what a person drives into episodes.npz of a new run folder, and in another format beside it."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from envs.arm_env import ArmEnv

    from ..build import make_env, spaces_of
    from ..data.datasets import about, check_format, write_dataset
    from ..teleop.jog import HELP, Jog
    from ..teleop.session import Kept, teleoperate
    from ..teleop.window import Window
    from ..training.explore import stored, training_seed

    env = make_env(config.env, render=True, max_episode_steps=config.max_steps)
    if isinstance(env.unwrapped, ArmEnv) and config.env.control_mode != "cartesian_delta":
        raise RequestError(
            f"env.control_mode is '{config.env.control_mode}', allowed cartesian_delta for loopwm teleop; "
            "set env.control_mode=cartesian_delta"
        )
    spaces = spaces_of(env, config.env)
    check_format(config.format, spaces)
    try:
        jog = Jog(spaces.nu, config.speed)
    except ValueError as error:
        raise RequestError(f"{error} (environment {spaces.env_id})") from error
    window = Window(spaces.env_id)
    with RunFolder.create("teleop", config.out) as folder:
        folder.save_config(config)
        print(HELP)
        kept: list[Kept] = []
        try:
            for one in teleoperate(env, window, jog, config.episodes, lambda i: training_seed(config.seed, 0, i)):
                kept.append(one)
                # Saved at once: demonstrations are dear.
                stored([k.episode for k in kept], spaces).save(folder.file("episodes.npz"), about(spaces))
        except KeyboardInterrupt:
            folder.log.info("interrupted; what was kept is written")
        finally:
            window.close()
            env.close()
        if kept and config.format != "npz":
            write_dataset(folder.path, config.format, [k.episode for k in kept], env, about(spaces))
        folder.write_summary(
            {
                "episodes": len(kept),
                "transitions": sum(len(k.episode) for k in kept),
                "success_rate": sum(k.success for k in kept) / max(1, len(kept)),
                "env_id": config.env.id,
                "seed": config.seed,
            }
        )
        print(f"{len(kept)} episodes in {folder.path}")
    return 0
