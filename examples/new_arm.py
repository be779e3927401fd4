"""A driver to copy for an arm of your own, with the rig that checks it: `python examples/new_arm.py` runs all checks.

`Vendor` stands for the package of the arm's maker and the arm behind it, with the habits that one meets: units, signs
and zeros of its own, another order of the joints, old values handed out again when the link is dead. Put the real
package in its place in `MyArm`, an emulator of the arm in its place in `MyRig`; docs/hardware/new_driver.md goes
through the steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hardware import ArmInfo, ArmState, JointLimits
from hardware.clock import Clock, FakeClock, MonotonicClock
from hardware.conformance import ALL_CHECKS, NotApplicable, Rig
from hardware.errors import Disconnected, HardwareFault, ModeError, TransportTimeout
from hardware.interface import frozen


class Vendor:
    """Counts of 0.01 degrees, joints from the hand to the base; each follows its target with a lag."""

    LAG_S = 0.03

    def __init__(self, clock: Clock) -> None:
        self.clock, self.t = clock, clock.now()
        self.counts = np.array([1000.0, -2500.0, 6000.0])
        self.target = self.counts.copy()
        self.power, self.error, self.button = False, "", False
        self.link, self.until = "", math.inf  # what is wrong with it, and how long
        self.last: tuple[float, np.ndarray, np.ndarray, str, bool] | None = None

    def advance(self) -> None:
        """What the arm does by itself as time passes."""
        now = self.clock.now()
        if now > self.until:
            self.link, self.until = "", math.inf
        if self.power:
            self.counts += (self.target - self.counts) * -math.expm1((self.t - now) / self.LAG_S)
        self.t = now

    def connect(self) -> None:
        if self.link == "unplug":
            raise OSError("no route to host")

    def packet(self) -> tuple[float, np.ndarray, np.ndarray, str, bool] | None:
        """Newest packet: the arm's time, counts, counts a second, error, stop button; None when none comes."""
        self.connect()
        self.advance()
        if self.link == "drop":
            return None
        if self.link != "freeze" or self.last is None:
            speed = (self.target - self.counts) / self.LAG_S if self.power else np.zeros(3)
            self.last = self.t, self.counts.copy(), speed, self.error, self.button
        return self.last

    def command(self, target: np.ndarray) -> None:
        """Take targets [counts]."""
        self.connect()
        self.advance()
        if not self.link and self.power:
            self.target = np.round(target)

    def halt(self) -> None:
        self.connect()
        self.advance()
        if not self.link:
            self.target = self.counts.copy()

    def switch(self, on: bool) -> None:
        self.connect()
        self.advance()
        if self.link or on == self.power:
            return
        self.power = on and not self.error and not self.button
        self.target = self.counts.copy()

    def clear(self) -> None:
        self.connect()
        if not self.button:
            self.error = ""


class MyArm:
    """Driver of the arm: what `hardware.interface.ArmDriver` asks for, and nothing of the maker's gets out."""

    NAMES = ("shoulder", "elbow", "wrist")
    SIGN = np.array([1.0, -1.0, 1.0])
    ZERO = np.array([0.0, 2000.0, -4500.0])  # counts at 0 rad

    def __init__(self, vendor: Vendor, clock: Clock | None = None) -> None:
        self.vendor, self.clock = vendor, clock or MonotonicClock()
        self.connected = self.enabled = False
        self.seq, self.stamp = 0, -math.inf

    def open(self) -> ArmInfo:
        """Connect. Nothing moves and no torque changes."""
        self._ask(self.vendor.connect)
        self.connected, self.seq, self.stamp = True, 0, -math.inf
        ends = np.sort([self._to_rad(np.full(3, end)) for end in (-18000.0, 18000.0)], axis=0)
        q_min, q_max = (tuple(float(x) for x in end) for end in ends)
        return ArmInfo("My Arm 3", self.NAMES, native_hz=250.0, q_min=q_min, q_max=q_max, firmware="1.0")

    def enable(self) -> None:
        """Torque on, each joint holding where it is."""
        self._ask(lambda: self.vendor.switch(True))
        if not self.vendor.power:
            raise HardwareFault(f"my arm does not switch on: '{self.vendor.error or 'stop button'}'; clear that first")
        self.enabled = True

    def read(self, deadline: float) -> ArmState:
        """Return the newest state. A client that blocks has to be given the deadline, or a thread of its own."""
        packet = self._ask(self.vendor.packet)
        if packet is None:
            raise TransportTimeout("my arm: no packet came; look at cable and power")
        stamp, counts, speed, error, button = packet
        if stamp > self.stamp:  # else it is an old one, and the bridge must see that
            self.seq, self.stamp = self.seq + 1, stamp
        dq = self.SIGN * np.radians(speed[::-1] / 100.0)
        q = self._to_rad(counts[::-1])
        return ArmState(self.seq, self.clock.now(), stamp, q, dq, fault=error or None, estop=button)

    def write(self, q: np.ndarray, deadline: float) -> np.ndarray:
        """Send targets (3,) [rad]; return what the arm makes of them."""
        target = frozen(q, "target q [rad]", (3,))
        if not self.connected:
            raise Disconnected("my arm: write after close()")
        if not self.enabled:
            raise ModeError("my arm: write before enable(); enable first")
        counts = np.round(self.ZERO + self.SIGN * np.degrees(target) * 100.0)
        self._ask(lambda: self.vendor.command(counts[::-1]))
        return self._to_rad(counts)

    def stop(self) -> None:
        """Use the arm's own stop."""
        self._ask(self.vendor.halt)

    def disable(self) -> None:
        """Torque off."""
        if self.connected and self.enabled:
            self._ask(lambda: self.vendor.switch(False))
        self.enabled = False

    def clear_faults(self) -> None:
        """Clear latched errors. Nothing moves."""
        if self.connected:
            self._ask(self.vendor.clear)

    def close(self) -> None:
        """Let go; torque stays as it is."""
        self.connected = self.enabled = False

    def _to_rad(self, counts: np.ndarray) -> np.ndarray:
        return self.SIGN * np.radians((counts - self.ZERO) / 100.0)

    def _ask(self, call: Any) -> Any:
        """Call the maker's package; its errors become ours."""
        if not self.connected and call != self.vendor.connect:
            raise Disconnected("my arm: not connected; open() first")
        try:
            return call()
        except OSError as error:
            raise Disconnected(f"my arm: {error}; look at cable and power") from error


class MyRig(Rig):
    """The driver on its arm, in a time that the checks move: no waiting. A real client needs the real clock."""

    name = "my_arm"
    resolution_rad = math.radians(0.01)
    faults = frozenset(("freeze", "drop", "unplug", "device_fault", "estop"))

    def __init__(self) -> None:
        self.limits = JointLimits(MyArm.NAMES, [-1.5, -1.5, -1.5], [1.5, 1.5, 2.0], [1.5] * 3, [7.5] * 3)
        self.clock = FakeClock(100.0)
        self.vendor = Vendor(self.clock)

    def make_driver(self) -> MyArm:
        return MyArm(self.vendor, self.clock)

    def truth(self) -> np.ndarray:
        # Written down a second time, so that a mistake in the driver does not cancel out.
        self.vendor.advance()
        wrist, elbow, shoulder = np.radians(self.vendor.counts / 100.0)
        return np.array([shoulder, math.radians(20.0) - elbow, wrist + math.pi / 4])

    def inject(self, kind: str, duration_s: float = math.inf, **_: Any) -> None:
        self.vendor.advance()
        if kind == "device_fault":
            self.vendor.error, self.vendor.power = "overload of joint 2", False
        elif kind == "estop":
            self.vendor.button, self.vendor.power = True, False
        else:
            self.vendor.link, self.vendor.until = kind, self.clock.now() + duration_s

    def heal(self) -> None:
        self.vendor.link, self.vendor.button = "", False

    def wait(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while self.clock.now() < end - 1e-9:
            self.clock.sleep_until(min(self.clock.now() + 0.002, end))
            self.vendor.advance()

    def close(self) -> None:
        self.vendor.link = ""


def main() -> int:
    """Run each check on a rig of its own; how many are broken."""
    broken = 0
    for name, check in ALL_CHECKS.items():
        with MyRig() as rig:
            try:
                check(rig)
                found = "ok"
            except NotApplicable as reason:
                found = f"-       {reason}"
            except Exception as error:
                found, broken = f"BROKEN  {type(error).__name__}: {error}", broken + 1
        print(f"{name:45} {found}")
    return broken


if __name__ == "__main__":
    raise SystemExit(main() > 0)
