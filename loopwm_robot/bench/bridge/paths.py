"""The ways from the controller to an arm: the simulated arm itself, and each driver on its emulator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hardware.emulators.process import EmulatorProcess

from ...deploy.arm_config import ArmConfig, arm_file
from ...deploy.preflight import SIMULATED
from ...deploy.rehearse import emulator_arguments

SERVO_STEP = 2.0 * math.pi / 4096
"""Step of positions on a servo bus [rad]: Present Position (132) of https://emanual.robotis.com/docs/en/dxl/x/xm430-w350/"""


@dataclass(frozen=True)
class ArmPath:
    """One way.

    Attributes:
        name: file of configs/arm with the driver.
        direct: file of the same arm, simulated behind the bridge without a wire.
        env: option of configs/env that its controller is trained on.
        step: of the positions on the wire [rad]; 0 where they are floating point numbers.
        address: arguments of the driver that put its emulator to where nothing else listens; {folder} is a new one.
    """

    name: str
    direct: str
    env: str
    step: float = 0.0
    address: Mapping[str, str] | None = None


PATHS = {
    path.name: path
    for path in (
        ArmPath("panda_sim", "panda_sim", "panda_reach"),
        ArmPath("panda_dynamixel", "panda_sim", "panda_reach", SERVO_STEP, {"port": "{folder}/bus"}),
        ArmPath("ur5e", "ur5e_sim", "ur5e_reach", 0.0, {"host": "127.0.0.91"}),
        ArmPath("fr3", "fr3_sim", "fr3_reach", 0.0, {"host": "127.0.0.92"}),
    )
}


@contextmanager
def reachable(path: ArmPath) -> Iterator[tuple[ArmConfig, dict[str, Any]]]:
    """Inside, the emulator of a path runs.

    Yields:
        the arm's settings, and those arguments of its driver that differ from its file.
    """
    with TemporaryDirectory(prefix="loopwm-bench-") as folder:
        moved = {key: text.format(folder=Path(folder)) for key, text in (path.address or {}).items()}
        arm = arm_file(path.name, **moved)
        if arm.driver == SIMULATED:
            yield arm, {}
            return
        with EmulatorProcess(arm.driver, *emulator_arguments(arm.driver, arm)):
            yield arm, moved
