"""Failures behind the executor: whatever a vendor's client makes of a dead link, the bridge sees the same.

Two events, ``stale`` at the first tick at which the last fresh frame is too old and the latched fault of a lost
link, and a command that brakes within its limits to rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..audit import audit
from ..errors import BridgeError, EStopActive
from ..interface import Mode
from .rig import LINK_FAULTS, Rig
from .session import Run, refuses, require, require_close

LOST = ("disconnected: ", "write_failed: ")
"""How the fault of a lost link begins: found while reading, or in the same tick while writing."""

DELAY_S = 5.0
"""Delay of the fault "delay" [s]: longer than any bound on a measurement's age."""


def link_loss(rig: Rig, kind: str) -> None:
    """Lose the link in mid-motion in one way and look at the events and the stop."""
    rig.needs(kind)
    with Run(rig) as run:
        executor, config = run.executor, rig.config
        run.start()
        run.swing()
        rig.inject(kind, **({"value": DELAY_S} if kind == "delay" else {}))
        bound = config.stale_s + config.disconnect_after_s
        seen = run.ticks(10.0 * bound + 2.0, lambda: executor.mode is Mode.FAULT and bool(run.events("stale")))
        require(seen, f"'{kind}' went unnoticed: {run.story()}")
        require(executor.fault.startswith(LOST), f"the fault is '{executor.fault}', wanted that of a lost link")
        require(run.ticks(5.0, lambda: executor.filter.at_rest), "the command did not come to rest")
        run.ticks(0.3)

        records = run.sink.table(rig.limits.n)
        sent = records[records["sent"]]
        began = run.events("stale")[-1].t  # the last: a busy machine may have been late before
        before = sent[(sent["t"] < began) & (sent["t"] > began - 3.0 * config.dt)]
        require(
            not len(before) or bool(before[-1]["state_age"] <= config.stale_s),
            f"stale at an age of {run.events('stale')[-1].value:.3f} s, but the tick before was already at "
            f"{before[-1]['state_age'] if len(before) else 0.0:.3f} s, allowed {config.stale_s:g} s",
        )
        moving = sent[sent["mode"] == Mode.FAULT]
        too_old = moving["state_age"] > config.disconnect_after_s
        require(
            bool(too_old.all()) or kind in ("unplug", "kill") or not len(moving),
            "the fault came before its bound although the link may have come back",
        )
        found = audit(records, rig.limits, config.dt)
        require(found.limit_violations == 0, f"{found.limit_violations} limit violations while braking: {found}")

        refused = refuses(lambda: executor.reset(rig.clock.now(), acknowledge=True), BridgeError)
        require(refused is not None and executor.mode is Mode.FAULT, "a reset went through on a dead link")
        if kind != "kill":
            rig.wait(0.3)
            rested = rig.truth()
            rig.wait(0.2)
            require_close(rig.truth(), rested, rig.settle_rad, "the arm still moves [rad]")


def a_glitch_is_survived(rig: Rig) -> None:
    """Packets lost for less than the bound do not stop the motion."""
    rig.needs("drop")
    with Run(rig) as run:
        run.start()
        run.swing()
        rig.inject("drop", duration_s=0.4 * rig.config.stale_s)
        run.ticks(0.5)
        require(run.executor.mode is Mode.RUNNING, f"the motion ended: {run.story()}")


def a_link_that_returns_needs_an_operator(rig: Rig) -> None:
    """After a lost link the fault stays latched until an acknowledged reset, which moves nothing."""
    kind = next((kind for kind in ("drop", "freeze") if kind in rig.faults), "drop")
    rig.needs(kind)
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.swing()
        rig.inject(kind)
        require(run.ticks(20.0, lambda: executor.mode is Mode.FAULT), "the lost link went unnoticed")
        run.ticks(1.0, lambda: executor.filter.at_rest)
        rig.heal()
        run.ticks(0.6)
        require(executor.mode is Mode.FAULT, "the fault went away by itself")
        before = rig.truth()
        executor.reset(rig.clock.now(), acknowledge=True)
        run.ticker.restart()
        for _ in range(10):
            require_close(rig.truth(), before, rig.settle_rad + rig.resolution_rad, "the reset moved the arm [rad]")
            run.ticks(0.04)
        require(executor.mode is Mode.ENABLED, f"after the reset the bridge is {executor.mode.name}: {run.story()}")
        executor.start(rig.clock.now())
        run.swing()


def a_device_fault_is_latched(rig: Rig) -> None:
    """A fault that the device reports stops the motion and is latched with the device's words."""
    rig.needs("device_fault")
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.swing()
        rig.inject("device_fault")
        require(run.ticks(10.0, lambda: executor.mode is Mode.FAULT), f"went unnoticed: {run.story()}")
        require(
            executor.fault.startswith(("device_fault: ", "write_failed: ")) and len(executor.fault) > 20,
            f"the fault is '{executor.fault}', wanted the device's words",
        )
        run.ticks(1.0)
        rested = rig.truth()
        run.ticks(0.3)
        require_close(rig.truth(), rested, rig.settle_rad, "the arm still moves [rad]")


def an_emergency_stop_is_latched(rig: Rig) -> None:
    """The arm's own stop button is told from a fault, and no reset goes through while it is pressed."""
    rig.needs("estop")
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.swing()
        rig.inject("estop")
        require(run.ticks(10.0, lambda: executor.mode is Mode.ESTOP), f"went unnoticed: {run.story()}")
        run.ticks(1.0)
        rested = rig.truth()
        for call in (executor.start, executor.enable, lambda now: executor.reset(now, acknowledge=True)):
            error = refuses(partial(call, rig.clock.now()), EStopActive)
            require(error is not None, "a command went through while the button is pressed")
        run.ticks(0.3)
        require(executor.mode is Mode.ESTOP, "the emergency stop went away by itself")
        require_close(rig.truth(), rested, rig.settle_rad, "the arm still moves [rad]")


def a_program_may_stop_at_once(rig: Rig) -> None:
    """``estop`` uses the device's own stop, is latched, and ends in a held pose after an acknowledged reset."""
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.swing()
        executor.estop(rig.clock.now())
        run.ticker.restart()
        require(executor.mode is Mode.ESTOP, f"the bridge is {executor.mode.name}: {run.story()}")
        run.ticks(1.0)
        rested = rig.truth()
        run.ticks(0.3)
        require_close(rig.truth(), rested, rig.settle_rad, "the arm still moves [rad]")
        executor.reset(rig.clock.now(), acknowledge=True)
        run.ticker.restart()
        run.ticks(0.3)
        require(executor.mode is Mode.ENABLED, f"after the reset the bridge is {executor.mode.name}: {run.story()}")
        require_close(rig.truth(), rested, rig.settle_rad + rig.resolution_rad, "the reset moved the arm [rad]")


def an_encoder_jump_stops_the_arm(rig: Rig) -> None:
    """A joint that suddenly reads wrong stops the arm; the true arm does not follow the jump."""
    rig.needs("encoder_jump")
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.ticks(0.2)
        before = rig.truth()
        for value in (0.5, -0.5, 0.5):  # a busy machine may look away until the drive has pulled it in
            rig.inject("encoder_jump", joint=1, value=value)
            if run.ticks(2.0, lambda: executor.mode is Mode.FAULT):
                break
        require(executor.mode is Mode.FAULT, f"went unnoticed: {run.story()}")
        run.ticks(0.5)
        joint = np.arange(before.size) == 1
        moved = np.abs(rig.truth() - before)
        require(bool((moved[~joint] <= rig.settle_rad).all()), f"other joints moved by {moved} rad")
        require(bool(moved[1] <= 1.1), f"the joint moved by {moved[1]:.3f} rad")


def a_restart_is_noticed(rig: Rig) -> None:
    """A device that restarts in mid-motion (torque off, settings forgotten) latches a fault."""
    _restarts(rig, "reboot")


def a_power_loss_is_noticed(rig: Rig) -> None:
    """Power that is cut and comes back latches a fault; the arm does not start to move by itself."""
    _restarts(rig, "power_loss", duration_s=0.3)


def _restarts(rig: Rig, kind: str, **settings: float) -> None:
    rig.needs(kind)
    with Run(rig) as run:
        executor = run.executor
        run.start()
        run.swing()
        rig.inject(kind, **settings)
        require(run.ticks(20.0, lambda: executor.mode is Mode.FAULT), f"went unnoticed: {run.story()}")
        run.ticks(1.0)
        require(executor.mode is Mode.FAULT, "the fault went away by itself")
        rested = rig.truth()
        run.ticks(0.5)
        require_close(rig.truth(), rested, rig.settle_rad, "the arm moves again by itself [rad]")


def _link_check(kind: str, what: str) -> Callable[[Rig], None]:
    def check(rig: Rig) -> None:
        link_loss(rig, kind)

    check.__name__ = f"link_{kind}"
    check.__doc__ = f"{what}: `stale` within its bound, then the fault of a lost link, and a controlled stop."
    return check


_WHAT = {
    "freeze": "The peer freezes",
    "drop": "All packets are lost",
    "corrupt": "All packets are damaged",
    "delay": "All packets come much too late",
    "unplug": "The cable is pulled",
    "kill": "The peer dies",
}

FAILURES: tuple[Callable[[Rig], None], ...] = (
    *(_link_check(kind, _WHAT[kind]) for kind in LINK_FAULTS),
    a_glitch_is_survived,
    a_link_that_returns_needs_an_operator,
    a_device_fault_is_latched,
    an_emergency_stop_is_latched,
    a_program_may_stop_at_once,
    an_encoder_jump_stops_the_arm,
    a_restart_is_noticed,
    a_power_loss_is_noticed,
)
