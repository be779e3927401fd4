"""usage: loopwm emulate [NAME] [arm=ARM] [KEY=VALUE ...] [ARGUMENTS]

Plays an arm on the wire, so that a deployment can be rehearsed without it. Without a name: the emulators.

arm=ARM and KEY=VALUE choose and change the arm as in `loopwm deploy`, for emulators that take one. With arguments of
its own (`python -m hardware.emulators NAME --help`) an emulator gets these alone.

While it runs it takes commands on its input, such as `freeze duration_s=0.5`, `unplug` or `heal`; ctrl-c ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardware.emulators import EMULATORS, load

from ..deploy.arm_config import ArmConfig
from ..errors import RequestError
from .compose import compose

CONFIG = "emulate"


@dataclass(frozen=True)
class EmulateCommand:
    """`loopwm emulate`.

    Attributes:
        arm: the arm to play.
    """

    arm: ArmConfig


def run(arguments: list[str]) -> int:
    """List the emulators, or run one.

    Raises:
        RequestError: an unknown name, or an arm that does not fit.
    """
    if not arguments:
        width = max(map(len, EMULATORS))
        print("\n".join(f"{name:{width}}  {text}" for name, (_, text) in sorted(EMULATORS.items())))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in EMULATORS:
        raise RequestError(f"unknown emulator '{name}'; known: {', '.join(sorted(EMULATORS))}")
    own = any(text.startswith("-") for text in rest)
    if not own:
        from ..deploy.rehearse import BUILDERS, REHEARSED, emulator_arguments

        if rest or name in BUILDERS:
            if name in REHEARSED and not any(text.startswith("arm=") for text in rest):
                rest = [f"arm={REHEARSED[name]}", *rest]
            rest = emulator_arguments(name, compose(CONFIG, rest, EmulateCommand).arm)
    return load(name)(rest)
