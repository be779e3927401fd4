"""A Universal Robots controller over TCP: ``python -m hardware.emulators ur``.

RTDE (30004), dashboard (29999), script port (30003) and primary interface (30001, 30011) over a simulated arm. The
ports are fixed because the vendor's client knows no others; several emulators run side by side on 127.0.0.2 and on.
What is not like the device is told in docs/hardware/ur.md.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Any

from ..wire.ur_models import JOINT_NAMES, MODELS
from .command import controller_parser, pose, until_ended
from .console import Console
from .ur_arm import UrArm
from .ur_controller import Controller, RobotMode
from .ur_servers import Servers

_MAX_LAG_S = 0.25
_BOOT_S = 0.5

FAULTS = {
    "freeze": "nothing passes in either direction; connections stay open",
    "drop": "RTDE data packages are lost, both ways",
    "corrupt": "RTDE data packages are damaged",
    "delay": "RTDE data packages come `value` seconds late",
    "unplug": "all connections are cut and none are possible",
    "device_fault": "protective stop",
    "safeguard": "safeguard stop",
    "estop": "emergency stop, ends without power",
    "reboot": "the controller restarts; the arm has no power afterwards",
    "jam": "the joints stand still",
    "encoder_jump": "joint `joint` reads wrong by `value` [rad]",
    "push": "somebody pushes joint `joint` with `value` [N m]",
    "local": "the pendant takes remote control away",
}
"""Word of the side channel -> what happens. `duration_s` ends it by itself."""


class UrEmulator:
    """Controller, servers and side channel on one event loop.

    Args:
        controller: the controller.
        host: address to listen on.
    """

    def __init__(self, controller: Controller, host: str) -> None:
        self.controller, self.servers = controller, Servers(controller, host)

    def handle(self, word: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command of the side channel."""
        c, link = self.controller, self.servers.link
        if word == "truth":
            return {"q": c.arm.true_q.tolist()}
        if word == "state":
            modes = {"robot_mode": c.robot_mode.name, "safety_mode": c.safety_mode.name, "running": c.running}
            return {**modes, "uploads": c.uploads, "time_s": c.timestamp, "notes": c.notes}
        if word == "heal":
            link.heal()
            c.arm.heal()
            c.release()
            c.remote = True
        elif word == "release":
            c.release()
        elif word == "power":
            c.power(RobotMode.IDLE)
            c.power(RobotMode.RUNNING)
        elif word in FAULTS:
            self._fail(word, settings)
        else:
            known = ", ".join((*FAULTS, "heal", "release", "power", "truth", "state", "quit"))
            raise ValueError(f"command '{word}' is unknown; known: {known}")
        return {"ok": True}

    def _fail(self, word: str, settings: dict[str, Any]) -> None:
        c, link = self.controller, self.servers.link
        duration = settings.pop("duration_s", None)
        value = float(settings.get("value", 1.0))
        if word in ("freeze", "drop", "corrupt"):
            setattr(link, "frozen" if word == "freeze" else word, True)
        elif word == "delay":
            link.delay = value
        elif word == "unplug":
            link.plugged = False
            self.servers.hang_up()
        elif word == "device_fault":
            c.protective_stop("asked for by the side channel")
        elif word == "safeguard":
            c.safeguard_stop()
        elif word == "estop":
            c.emergency_stop()
        elif word == "local":
            c.remote = False
        elif word == "reboot":
            c.restart()
            link.plugged, duration = False, _BOOT_S
            self.servers.hang_up()
        else:
            c.arm.inject(word, **settings)
        if duration is not None:
            asyncio.get_running_loop().call_later(float(duration), link.heal)

    async def run(self, until_eof: bool) -> None:
        """Serve until the side channel says quit."""
        await self.servers.start()
        console, loop = Console(self.handle, until_eof), asyncio.get_running_loop()

        def poll() -> None:
            console.poll()
            if not console.open:
                loop.remove_reader(console.fileno())

        if console.open:
            loop.add_reader(console.fileno(), poll)
        loop.add_signal_handler(signal.SIGTERM, lambda: setattr(console, "ended", True))
        console.ready(host=self.servers.host, model=self.controller.model.name)
        due = loop.time()
        while not console.ended:
            due += self.controller.dt
            late = loop.time() - due
            if late > _MAX_LAG_S:  # a machine that slept is not made up for
                due += late
            elif late < 0.0:
                await asyncio.sleep(-late)
            else:
                await asyncio.sleep(0)
            self.controller.tick()
            self.servers.publish()


def main(arguments: Sequence[str]) -> int:
    """Run the emulator."""
    parser = controller_parser("ur", __doc__, sorted(MODELS), "ur5e")
    parser.add_argument("--rate", type=float, default=500.0, choices=(125.0, 500.0), help="control rate [Hz]")
    parser.add_argument("--joints", nargs=6, default=JOINT_NAMES, help="its joints from base to tool")
    parser.add_argument("--home", type=pose(6), help="first pose [rad], such as --home=0,-1.5,1.5,-1.5,-1.5,0")
    parser.add_argument("--unlock-after", type=float, default=5.0, help="wait before a protective stop unlocks [s]")
    parser.add_argument("--off", action="store_true", help="start without power, as a controller does")
    a = parser.parse_args(arguments)
    arm = UrArm(MODELS[a.model], 1.0 / a.rate, a.mjcf, a.joints, a.home)
    controller = Controller(arm, MODELS[a.model], 1.0 / a.rate, unlock_after=a.unlock_after)
    if a.off:
        controller.power(RobotMode.POWER_OFF)
    return until_ended("UR", a.host, lambda: asyncio.run(UrEmulator(controller, a.host).run(a.until_eof)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
