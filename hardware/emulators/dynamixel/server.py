"""The emulator as a process: a pseudo-terminal, the side channel, and the failures of line and servos."""

from __future__ import annotations

import os
import pty
import select
import tty
from pathlib import Path
from typing import Any

from ...clock import Clock
from ..console import Console
from .arm import ServoArm
from .bus import Bus
from .line import KINDS, Line, LineFault
from .packets import Parser
from .servo import HARDWARE_ERRORS, RAD_PER_TICK

IDLE_S = 0.01
"""Longest sleep [s]: the servos' watchdogs and the physics go on without instructions."""


class Server:
    """Speaks for the servos of an arm on a pseudo-terminal.

    Args:
        arm: servos and physics.
        clock: where time comes from.
        link: symbolic link to make to the pseudo-terminal, so that its name is known beforehand.
        until_eof: end with the side channel's input.
    """

    def __init__(self, arm: ServoArm, clock: Clock, link: str | None = None, until_eof: bool = False) -> None:
        self.arm, self.bus, self.line, self._clock = arm, Bus(arm), Line(), clock
        self._parser = Parser()
        self.console = Console(self.command, until_eof)
        self._link = None if link is None else Path(link)
        self._heal: list[tuple[float, int]] = []
        self._master, self._slave = pty.openpty()
        for end in (self._master, self._slave):
            tty.setraw(end)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            if self._link.is_symlink():
                self._link.unlink()
            self._link.symlink_to(self.port)

    def run(self) -> None:
        """Serve until the side channel says so or ends."""
        self.console.ready(port=self.port if self._link is None else str(self._link), joints=self.arm.joints)
        try:
            while not self.console.ended:
                self.step()
        finally:
            self.close()

    def step(self) -> None:
        """Wait for input, carry it out, let time pass."""
        now = self._clock.now()
        files: list[Any] = [self.console] if self.console.open else []
        if self._master >= 0:
            files.append(self._master)
        wait = min(IDLE_S, max(self.line.next_due - now, 0.0))
        ready, _, _ = select.select(files, [], [], wait)
        self.arm.advance()
        if self._master in ready:
            self._receive()
        self._send()
        if self.console in ready:
            self.console.poll()

    def command(self, word: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command of the side channel; see docs/hardware/dynamixel.md."""
        now = self._clock.now()
        if word == "truth":
            self.arm.advance()
            torque = [servo.torque for servo in self.arm.servos]
            return {"q": self.arm.truth().tolist(), "joints": self.arm.joints, "torque": torque}
        if word in KINDS:
            self.line.faults.append(LineFault.from_mapping(word, now, settings))
        elif word == "unplug":
            self._hang_up()
        elif word == "heal":
            self.line.heal()
            for servo in self.arm.servos:
                servo.temperature, servo.jump_ticks = 35, 0
        elif word == "power_loss":
            duration = float(settings.pop("duration_s", 1.0))
            for servo in self.arm.servos:
                servo.boot(now, silent_s=duration)
        elif word in ("hot", "device_fault", "encoder_jump", "reboot", *HARDWARE_ERRORS):
            self._servo_fault(word, settings, now)
            return {"ok": True}
        else:
            known = ("truth", "heal", "unplug", "power_loss", "encoder_jump", "reboot", "device_fault")
            raise ValueError(f"command '{word}' is unknown; known: {', '.join((*known, *HARDWARE_ERRORS, *KINDS))}")
        return {"ok": True}

    def close(self) -> None:
        """Hang up and remove the link."""
        self._hang_up()
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()

    def _servo_fault(self, word: str, settings: dict[str, Any], now: float) -> None:
        index = int(settings.pop("joint", 0))
        if not 0 <= index < len(self.arm.servos):
            raise ValueError(f"joint is {index}, allowed [0, {len(self.arm.servos) - 1}]")
        servo = self.arm.servos[index]
        if word == "encoder_jump":
            servo.jump_ticks = round(float(settings.pop("value", 0.1)) / RAD_PER_TICK)
        elif word == "reboot":
            servo.boot(now)
        elif word in ("hot", "device_fault"):
            servo.temperature = servo.get("temperature_limit") + 5
        else:
            servo.trip(HARDWARE_ERRORS[word])
        if settings:
            raise ValueError(f"settings {', '.join(sorted(settings))} do not belong to '{word}'")

    def _receive(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the terminal open
            return
        now = self._clock.now()
        for packet in self._parser.feed(data, now):
            if not self.line.heard(now):
                continue
            answers = self.bus.handle(packet, now)
            self.arm.advance()
            for answer in answers:
                self.line.send(answer, now)

    def _send(self) -> None:
        data = self.line.due(self._clock.now())
        if data and self._master >= 0:
            try:
                os.write(self._master, data)
            except OSError:  # the host does not read: a real wire loses bytes as well
                return

    def _hang_up(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1
