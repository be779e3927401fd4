"""A rig whose emulator is a process, with a side channel for the truth and for failures."""

from __future__ import annotations

import os
from typing import Any

from ..emulators.process import EmulatorProcess
from ..interface import Array
from .rig import Rig


def loopback() -> str:
    """An address of this machine for this process alone: the ports of a controller are fixed."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16) % 64}.{(pid >> 8) % 256}.{pid % 254 + 1}"


class ProcessRig(Rig):
    """Looks at the true arm and lets things fail through `emulator`, which a rig starts."""

    emulator: EmulatorProcess

    def truth(self) -> Array:
        """Joint positions of the model."""
        return self.emulator.truth()

    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail."""
        if kind == "kill":
            self.emulator.kill()
            return
        self.emulator.inject(kind, **settings)

    def heal(self) -> None:
        """End the failures."""
        self.emulator.heal()

    def close(self) -> None:
        """End the emulator."""
        self.emulator.close()
