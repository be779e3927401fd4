"""Controller, gripper, their services and the side channel of the Franka emulator on one loop."""

from __future__ import annotations

import selectors
import time
from typing import Any

from ...wire import WireError
from ...wire.franka import (
    GRIPPER_HEADER,
    GRIPPER_PORT,
    ROBOT_HEADER,
    ROBOT_PORT,
    Command,
    Fault,
    GripperCommand,
)
from ...wire.franka_udp import SetPoint, parse_setpoint
from ..console import Console
from .controller import Controller, known
from .gripper import Gripper
from .motion import DT
from .service import Link, Service

_MAX_LAG_S, _STREAMED_LAG_S = 0.25, 0.01
_BOOT_S = 0.5
_GRIPPER_EVERY = 20  # cycles

FAULTS = {
    "freeze": "nothing passes in either direction; connections stay open",
    "drop": "datagrams (states and set-points) are lost, both ways",
    "corrupt": "datagrams to the client are damaged",
    "delay": "datagrams reach the client `value` seconds late",
    "unplug": "all connections are cut and none are possible",
    "device_fault": "a reflex: the arm has touched something",
    "user_stop": "the user stop is pressed",
    "guide": "the guiding button is held",
    "reboot": "the controller restarts; the brakes are closed afterwards",
    "jam": "the joints stand still",
    "encoder_jump": "joint `joint` reads wrong by `value` [rad]",
    "hold": "an object `value` metres wide is between the fingers",
}
"""Word of the side channel -> what happens. `duration_s` ends it by itself."""


class FrankaEmulator:
    """The emulator.

    Args:
        controller: the controller.
        host: address to listen on.
        patience: the clock waits so long for a set-point that is late [s]; 0 on the device.
    """

    def __init__(self, controller: Controller, host: str, patience: float = 0.0) -> None:
        self.controller, self.gripper, self.host, self._patience = controller, Gripper(), host, patience
        self.link = Link()
        self._selector = selectors.DefaultSelector()
        note = controller.notes.append
        self._robot = Service(
            self._selector,
            (host, ROBOT_PORT),
            ROBOT_HEADER,
            self.link,
            self._command,
            self._datagram,
            controller.hang_up,
            note,
        )
        self._hand = Service(
            self._selector,
            (host, GRIPPER_PORT),
            GRIPPER_HEADER,
            self.link,
            self._grip,
            lambda _: None,
            lambda: None,
            note,
        )
        self._setpoint: SetPoint | None = None
        self._heal_at = float("inf")
        self._published = 0.0

    # Side channel
    # ---------------------------------------------------------------------------------------------------

    def handle(self, word: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command of the side channel."""
        c = self.controller
        if word == "truth":
            return {"q": c.arm.true_q.tolist()}
        if word == "state":
            settings = {command.name.lower(): list(values) for command, values in c.settings.items()}
            facts = {"mode": c.mode.name, "moving": c.moving, "moves": c.moves, "time_s": c.time_ms * DT}
            return {**facts, "settings": settings, "notes": c.notes[-50:], "width_m": self.gripper.width}
        if word == "heal":
            self.link.heal()
            c.arm.heal()
            c.release()
        elif word == "release":
            c.release()
        elif word in ("power", "lock"):
            c.power(word == "power")
        elif word in FAULTS:
            self._fail(word, settings)
        else:
            known_words = ", ".join((*FAULTS, "heal", "release", "power", "lock", "truth", "state", "quit"))
            raise ValueError(f"command '{word}' is unknown; known: {known_words}")
        return {"ok": True}

    def _fail(self, word: str, settings: dict[str, Any]) -> None:
        c, link = self.controller, self.link
        duration = settings.pop("duration_s", None)
        value = float(settings.get("value", 1.0))
        if word in ("freeze", "drop", "corrupt"):
            setattr(link, "frozen" if word == "freeze" else word, True)
        elif word == "delay":
            link.delay = value
        elif word == "unplug":
            link.plugged = False
            self._hang_up()
        elif word == "device_fault":
            c.reflex(Fault.JOINT_REFLEX)
        elif word == "user_stop":
            c.user_stop()
        elif word == "guide":
            c.guide()
        elif word == "hold":
            self.gripper.held = value
        elif word == "reboot":
            c.restart()
            link.plugged, duration = False, _BOOT_S
            self._hang_up()
        else:
            c.arm.inject(word, **settings)
        if duration is not None:
            self._heal_at = time.monotonic() + float(duration)

    def _hang_up(self) -> None:
        self._robot.hang_up()
        self._hand.hang_up()

    # What comes in
    # ---------------------------------------------------------------------------------------------------

    def _command(self, command: int, number: int, payload: bytes) -> bytes | None:
        which = known(command)
        if which is Command.CONNECT:
            self._setpoint = None
            self._robot.connect(payload)
        return self.controller.handle(which, number, payload)

    def _grip(self, command: int, number: int, payload: bytes) -> bytes | None:
        if command == GripperCommand.CONNECT:
            self._hand.connect(payload)
        return self.gripper.handle(command, number, payload)

    def _datagram(self, datagram: bytes) -> None:
        try:
            setpoint = parse_setpoint(datagram)
        except WireError as error:
            self.controller.notes.append(str(error))
            return
        if setpoint.time_ms <= self.controller.time_ms and (
            self._setpoint is None or setpoint.time_ms > self._setpoint.time_ms
        ):
            self._setpoint = setpoint

    # The loop
    # ---------------------------------------------------------------------------------------------------

    def run(self, until_eof: bool) -> None:
        """Serve until the side channel says quit."""
        console = Console(self.handle, until_eof)
        if console.open:
            self._selector.register(console.fileno(), selectors.EVENT_READ, None)
        console.ready(host=self.host, model=self.controller.model.name)
        due = time.monotonic() + DT
        while not console.ended:
            for key, _ in self._selector.select(self._wait(due)):
                if key.data is None:
                    console.poll()
                    if not console.open:
                        self._selector.unregister(key.fileobj)
                elif not self.link.frozen:
                    key.data()
            if self._wait(due) > 0.0:
                continue
            now = time.monotonic()
            self._cycle(now)
            # A machine that slept is not made up for; while a client streams, no more than it can follow: what its
            # motions last is reckoned on this clock, and what it has to do for them on its own.
            due = max(due + DT, now - (_STREAMED_LAG_S if self.controller.streamed else _MAX_LAG_S))
        self._robot.close()
        self._hand.close()

    def _wait(self, due: float) -> float:
        # Time until the next cycle [s]: until it is due, then for a set-point that is late.
        left = due - time.monotonic()
        if left <= 0.0 and self.controller.streamed and self.link.good and not self._answered:
            left += self._published + self._patience - due
        return max(left, 0.0)

    @property
    def _answered(self) -> bool:
        return self._setpoint is not None and self._setpoint.time_ms >= self.controller.time_ms

    def _cycle(self, now: float) -> None:
        c = self.controller
        if now >= self._heal_at:
            self.link.heal()
            self._heal_at = float("inf")
        c.tick(self._setpoint)
        if c.time_ms % _GRIPPER_EVERY == 0:
            self.gripper.step(_GRIPPER_EVERY * DT)
            self._hand.publish(self.gripper.state(), now)
        self._robot.send_late(now)
        if self._robot.connected:
            self._robot.publish(c.state(), now)
            self._published = now
        if not self.link.frozen:
            for service, replies, width in ((self._robot, c.replies, 1), (self._hand, self.gripper.replies, 2)):
                for command, number, status in replies:
                    service.reply(int(command), number, int(status).to_bytes(width, "little"))
                replies.clear()
