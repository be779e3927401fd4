"""Entry point of the console script `loopwm`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from .. import __version__
from .errors import RequestError, run_guarded

# A command is a module with `run(overrides) -> int`. One with a configuration also has CONFIG_NAME, a file in
# configs/, and SCHEMA, its dataclass: `loopwm COMMAND --help` is made from them.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("loopwm_robot.cli.demo", "the main job end to end: collect, train, evaluate, drive, report"),
    "collect": ("loopwm_robot.cli.collect", "record episodes of random motion, or of the script that solves the task"),
    "teleop": ("loopwm_robot.cli.teleop", "drive a simulated arm by keyboard or gamepad and record it"),
    "train": ("loopwm_robot.cli.train", "train a world model"),
    "sweep": ("loopwm_robot.cli.sweep", "train with every combination of some settings, several at a time"),
    "evaluate": ("loopwm_robot.cli.evaluate", "measure a checkpoint in closed loop"),
    "compare": ("loopwm_robot.cli.compare", "put training runs side by side on one page"),
    "view": ("loopwm_robot.cli.view", "watch and change a planner in the browser"),
    "push": ("loopwm_robot.cli.push", "share a trained model: to huggingface.co, or to a folder"),
    "pull": ("loopwm_robot.cli.pull", "fetch a shared model and verify it"),
    "deploy": ("loopwm_robot.cli.deploy", "drive an arm through the bridge in real time"),
    "emulate": ("loopwm_robot.cli.emulate", "play an arm on the wire, to rehearse a deployment; alone lists them"),
    "bench": ("loopwm_robot.cli.bench", "measure: speed of the parts, result of the demo; without a name lists all"),
    "identify": ("loopwm_robot.cli.identify", "fit payload, friction, damping, gain and delay of an arm to recordings"),
    "gallery": ("loopwm_robot.cli.gallery", "draw every arm in every task"),
    "doctor": ("loopwm_robot.cli.doctor", "what is installed, what is missing, what this machine can do"),
}

HELP_FLAGS = ("-h", "--help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit status: 0 done, 1 the work failed, 2 the request is wrong, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_guarded(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in HELP_FLAGS:
        print(usage())
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in ("--version", "-V"):
        print(f"loopwm {__version__}")
        return 0
    if command not in COMMANDS:
        raise RequestError(f"unknown command '{command}'; known: {', '.join(COMMANDS)}; see loopwm --help")
    module = importlib.import_module(COMMANDS[command][0])
    if any(argument in HELP_FLAGS[:2] for argument in rest):
        print_help(command, module)
        return 0
    return int(module.run(rest))


def usage() -> str:
    """The text of `loopwm --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            f"loopwm {__version__}: a looped world model for robot arms",
            "",
            "usage: loopwm COMMAND [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "loopwm COMMAND --help lists the keys with their defaults, for example:",
            "  loopwm demo seed=3 planner.horizon=8 out=runs/mine",
            "",
            "Exit status: 0 done, 1 the work failed, 2 the request is wrong, 130 interrupted.",
            "LOOPWM_DEBUG=1 shows tracebacks.",
        ]
    )


def print_help(command: str, module: ModuleType) -> None:
    """Print what a command does and, where it is configured, its groups and keys with their defaults."""
    print(f"loopwm {command}: {COMMANDS[command][1]}\n")
    if not hasattr(module, "SCHEMA"):
        print((module.__doc__ or "").strip())
        return
    from .compose import print_keys

    print(f"usage: loopwm {command} [GROUP=OPTION ...] [KEY=VALUE ...]\n")
    print_keys(module.CONFIG_NAME, module.SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
