"""Driving a rig: plainly, tick by tick through the driver, or with the executor around it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import numpy as np

from ..errors import BridgeError, TransportTimeout
from ..executor import Executor
from ..interface import ArmInfo, ArmPlan, ArmState, Array, Mode
from ..records import Event, MemorySink
from ..timing import Ticker
from .rig import Rig

PATIENCE_S = 0.5
"""Deadline of a read whose timing is not what is checked [s]."""


class ConformanceError(Exception):
    """A driver does not keep the contract of ``interface.ArmDriver``."""


def require(condition: bool, message: str) -> None:
    """Raise ConformanceError unless the condition holds."""
    if not condition:
        raise ConformanceError(message)


def require_close(found: Array, wanted: Array, tolerance: float, what: str) -> None:
    """Require each entry to lie within a tolerance."""
    worst = float(np.abs(found - wanted).max())
    require(
        bool(worst <= tolerance),
        f"{what}: found {np.round(found, 4).tolist()}, wanted {np.round(wanted, 4).tolist()}, "
        f"differs by {worst:.4g}, allowed {tolerance:.4g}",
    )


def refuses(call: Callable[[], object], *errors: type[BridgeError]) -> BridgeError | None:
    """Return the error with which a call is refused, None when it goes through.

    Raises:
        ConformanceError: it fails with anything else, such as an error of the vendor's package.
    """
    try:
        call()
    except errors as error:
        return error
    except Exception as error:
        allowed = " or ".join(kind.__name__ for kind in errors)
        raise ConformanceError(f"raised {type(error).__name__} ({error}), allowed {allowed}") from error
    return None


class Session:
    """The driver of a rig, open."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.clock = rig, rig.clock
        self.driver = rig.make_driver()
        self.info: ArmInfo = self.driver.open()

    def read(self) -> ArmState:
        """Read with patience: one lost packet on a busy machine is not what is checked."""
        for _ in range(5):
            try:
                return self.driver.read(self.clock.now() + PATIENCE_S)
            except TransportTimeout:
                self.rig.wait(self.rig.config.dt)
        return self.driver.read(self.clock.now() + PATIENCE_S)

    def write(self, q: Array) -> Array:
        """Write with patience."""
        return self.driver.write(q, self.clock.now() + PATIENCE_S)

    def move(self, goal: Array, seconds: float = 1.0) -> list[ArmState]:
        """Stream a smooth motion from the present pose to a goal (n,) [rad]; return the states on the way."""
        start, states = self.read().q, []
        steps = max(int(seconds / self.rig.config.dt), 1)
        ticker = Ticker(self.clock, self.rig.config.dt)
        for k in range(1, steps + 1):
            ticker.wait()
            states.append(self.read())
            s = k / steps
            self.write(start + (goal - start) * s**3 * (10.0 - 15.0 * s + 6.0 * s * s))
        return states

    def settle(self, goal: Array, seconds: float = 0.6) -> ArmState:
        """Keep writing a goal (n,) [rad] until the arm has come to rest there."""
        for _ in range(max(int(seconds / self.rig.config.dt), 1)):
            self.write(goal)
            self.rig.wait(self.rig.config.dt)
        return self.read()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.driver.close()


class Run:
    """The executor on the driver of a rig, ticking in this process."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.sink = rig, MemorySink()
        self.executor = Executor(rig.make_driver(), rig.limits, rig.config, self.sink)
        self.executor.connect(rig.clock.now())
        self.ticker = Ticker(rig.clock, rig.config.dt)

    def ticks(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Tick for a time [s] or until something holds; return whether it does."""
        end = self.rig.clock.now() + seconds
        while self.rig.clock.now() < end:
            tick = self.ticker.wait()
            self.executor.tick(tick.t, tick.lateness, tick.skipped)
            if until():
                return True
        return until()

    def start(self) -> None:
        """Enable the arm and accept plans."""
        require(self.ticks(5.0, lambda: self.executor.watch.frames >= 3), "no measurements after connecting")
        self.executor.enable(self.rig.clock.now())
        self.ticker.restart()
        self.ticks(5.0 * self.rig.config.dt)
        self.executor.start(self.rig.clock.now())

    def swing(self, seconds: float = 8.0, amplitude: float = 0.4) -> None:
        """Submit a slow swing of all joints that goes on for a while, and wait until it is under way."""
        executor, t = self.executor, np.arange(int(seconds / 0.05) + 1) * 0.05
        rate = min(1.0, float((0.4 * self.rig.limits.dq_max / amplitude).min()))
        side = np.where(executor.filter.q > 0.5 * (self.rig.limits.q_min + self.rig.limits.q_max), -1.0, 1.0)
        q = executor.filter.q + amplitude * (1.0 - np.cos(rate * t))[:, None] * side
        dq = amplitude * rate * np.sin(rate * t)[:, None] * side
        now = self.rig.clock.now()
        number = self.executor.plans.plan_id + 1 if self.executor.plans.plan_id >= 0 else int(now * 1e6)
        plan = ArmPlan(number, now, 0.05, q, now + seconds, self.rig.limits.names, dq)
        accepted = executor.submit(plan, now)
        require(accepted, f"a slow swing was refused: {self.last_event('plan_rejected')}")
        require(
            self.ticks(2.0, lambda: bool(np.abs(executor.filter.dq).min() > 0.05)),
            f"the swing did not begin: {self.story()}",
        )

    def events(self, kind: str) -> list[Event]:
        """Events of a kind."""
        return [event for event in self.sink.events if event.kind == kind]

    def last_event(self, kind: str) -> str:
        """Text of the last event of a kind."""
        return self.events(kind)[-1].text if self.events(kind) else "no such event"

    def story(self) -> str:
        """All events, for messages."""
        return "; ".join(f"{event.kind}: {event.text}" for event in self.sink.events)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.executor.mode is not Mode.CLOSED:
            self.executor.close(self.rig.clock.now())
