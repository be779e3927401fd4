"""What every driver must do, one function each. The first line of a docstring stands in the table.

A check takes a fresh rig, raises ConformanceError when the contract is broken and NotApplicable when the
emulator cannot show it. Nothing is compared with wall-clock time but the bound on a blocking read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import BridgeError, CommandRejected, Disconnected, LimitsMismatch, ModeError
from ..executor import Executor
from ..records import MemorySink
from .rig import Rig
from .session import Session, refuses, require, require_close

Check = Callable[[Rig], None]

STEP_RAD = 0.1
"""Size of the motions of one joint [rad]; far above any encoder's step."""


def opening_tells_what_the_arm_is(rig: Rig) -> None:
    """`open` names model and joints; our limits lie inside the device's."""
    with Session(rig) as session:
        info = session.info
        require(bool(info.model), "the model has no name")
        require(info.joint_names == rig.limits.names, f"joints {info.joint_names}, wanted {rig.limits.names}")
        require(info.native_hz > 0.0, f"native rate {info.native_hz} Hz")
        rig.limits.check_device(info)


def opening_moves_nothing(rig: Rig) -> None:
    """`open`, `read` and `close` move nothing and do not switch on; `write` before `enable` is refused."""
    with Session(rig) as session:
        before = rig.truth()
        for _ in range(5):
            session.read()
            rig.wait(0.02)
        error = refuses(lambda: session.write(before + STEP_RAD), ModeError)
        require(error is not None, "a target was taken before enable()")
        rig.wait(0.2)
        require_close(rig.truth(), before, 1e-3, "the arm moved [rad]")


def positions_have_unit_order_and_zero(rig: Rig) -> None:
    """Measured positions are radians, in our order, with our signs and zeros."""
    with Session(rig) as session:
        truth, state = rig.truth(), session.read()
        require(state.q.shape == truth.shape, f"q has shape {state.q.shape}, wanted {truth.shape}")
        spread = np.abs(truth[:, None] - truth[None, :]) + np.eye(truth.size)
        require(bool(spread.min() > 0.05), "the rig must start with joints that can be told apart")
        require_close(state.q, truth, rig.resolution_rad + 1e-3, "measured position [rad]")


def each_joint_moves_alone_and_by_as_much(rig: Rig) -> None:
    """A step of one target moves that joint, by as much, with the same sign, and no other (wiggle test)."""
    with Session(rig) as session:
        session.driver.enable()
        start = rig.truth()
        for joint in range(start.size):
            for step in (STEP_RAD, -STEP_RAD):
                goal = start.copy()
                goal[joint] += step
                session.move(goal, rig.step_s)
                state = session.settle(goal, rig.step_s)
                tolerance = rig.settle_rad + rig.resolution_rad
                name = rig.limits.names[joint]
                require_close(rig.truth(), goal, tolerance, f"'{name}' by {step:+g} rad, true position [rad]")
                require_close(state.q, goal, tolerance, f"'{name}' by {step:+g} rad, measured position [rad]")
            session.move(start, rig.step_s)
        session.driver.disable()


def velocities_have_unit_and_sign(rig: Rig) -> None:
    """Measured velocities are the derivative of the measured positions [rad/s]."""
    with Session(rig) as session:
        session.driver.enable()
        start = session.read().q
        direction = np.where(np.arange(start.size) % 2 == 0, 1.0, -1.0)
        states = session.move(start + 0.3 * direction, 1.0)
        session.driver.disable()
    t = np.array([state.t_device for state in states])
    q = np.array([state.q for state in states])
    dq = np.array([state.dq for state in states])
    require(bool((np.abs(dq).max(axis=0) > 0.2).all()), f"largest speeds {np.abs(dq).max(axis=0)} rad/s")
    travelled = np.sum(0.5 * (dq[1:] + dq[:-1]) * np.diff(t)[:, None], axis=0)
    tolerance = rig.speed_tolerance * (t[-1] - t[0]) + 2.0 * rig.resolution_rad
    require_close(travelled, q[-1] - q[0], tolerance, "integral of the velocity against the way [rad]")


def time_and_numbers_advance(rig: Rig) -> None:
    """Frame numbers and the device's clock advance with fresh frames, in seconds."""
    with Session(rig) as session:
        states = []
        for _ in range(40):
            states.append(session.read())
            rig.wait(0.02)
    fresh = [states[0]]
    for state in states[1:]:
        require(state.t_device >= fresh[-1].t_device, "the device's clock ran backwards")
        require(state.seq >= fresh[-1].seq, "frame numbers ran backwards")
        if state.t_device > fresh[-1].t_device:
            require(state.seq > fresh[-1].seq, "a fresh frame kept its number")
            fresh.append(state)
    require(len(fresh) >= 20, f"only {len(fresh)} of 40 frames were fresh, 20 ms apart")
    device, host = fresh[-1].t_device - fresh[0].t_device, fresh[-1].t_host - fresh[0].t_host
    require(abs(device / host - 1.0) < rig.pace_tolerance, f"{device:.3f} s passed on the device in {host:.3f} s")


def enabling_holds_the_pose(rig: Rig) -> None:
    """`enable` holds the measured pose; twice is the same as once."""
    with Session(rig) as session:
        session.read()
        before = rig.truth()
        session.driver.enable()
        session.driver.enable()
        for _ in range(10):
            session.read()
            rig.wait(0.02)
        require_close(rig.truth(), before, rig.settle_rad + rig.resolution_rad, "the arm moved [rad]")
        session.driver.disable()


def written_is_what_was_sent(rig: Rig) -> None:
    """`write` returns what is on the wire: the target rounded to the device's resolution."""
    with Session(rig) as session:
        session.driver.enable()
        start = session.read().q
        for k in range(5):
            target = start + 0.0137 * np.linspace(-1.0, 1.0, start.size) * k / 4
            sent = session.write(target)
            require_close(sent, target, 0.5 * rig.resolution_rad + 1e-12, "sent against asked [rad]")
            require_close(session.write(sent), sent, 1e-9, "what was sent once, sent again [rad]")
            rig.wait(rig.config.dt)
        state = session.settle(sent)
        require_close(state.q, sent, rig.settle_rad + rig.resolution_rad, "the arm against what was sent [rad]")
        session.driver.disable()


def malformed_commands_are_refused(rig: Rig) -> None:
    """NaN, infinity and a wrong shape are refused, and nothing moves."""
    with Session(rig) as session:
        session.driver.enable()
        start = session.read().q
        session.settle(start, 0.3)
        before = rig.truth()
        bad = [np.full_like(start, np.nan), np.full_like(start, np.inf), start[:-1], np.append(start, 0.0)]
        bad.append(np.where(np.arange(start.size) == 1, np.nan, start + STEP_RAD))
        for target in bad:
            error = refuses(lambda target=target: session.write(target), CommandRejected)  # type: ignore[misc]
            require(error is not None, f"the target {target} was taken")
        rig.wait(0.2)
        require_close(rig.truth(), before, rig.settle_rad + rig.resolution_rad, "the arm moved [rad]")
        session.driver.disable()


def stop_brings_to_rest(rig: Rig) -> None:
    """`stop` on the way to a target ends the way there: the arm comes to rest short of it and stays."""
    with Session(rig) as session:
        session.driver.enable()
        start = session.read().q
        target = start + rig.stop_way_rad * np.where(start > 0.5 * (rig.limits.q_min + rig.limits.q_max), -1.0, 1.0)
        session.settle(start, 0.1)
        session.write(target)
        rig.wait(rig.config.dt)
        session.driver.stop()
        rig.wait(0.6)
        rested = rig.truth()
        rig.wait(0.2)
        require_close(rig.truth(), rested, rig.settle_rad, "the arm went on [rad]")
        way = np.abs(rested - start) / rig.stop_way_rad
        require(bool(way.max() < 0.8), f"it went {np.round(way, 2).tolist()} of the way to its target, allowed 0.8")
        session.driver.disable()


def ending_is_idempotent(rig: Rig) -> None:
    """`disable` and `close` may be called twice; a closed driver refuses to read and write."""
    session = Session(rig)
    session.driver.enable()
    session.driver.disable()
    session.driver.disable()
    require(refuses(lambda: session.write(rig.truth()), ModeError) is not None, "a disabled arm took a target")
    session.driver.clear_faults()
    session.driver.close()
    session.driver.close()
    now = rig.clock.now()
    require(refuses(lambda: session.driver.read(now + 0.1), Disconnected) is not None, "read after close")
    target = rig.limits.q_min * 0.0
    error = refuses(lambda: session.driver.write(target, now + 0.1), Disconnected, ModeError)
    require(error is not None, "a closed driver took a target")


def limits_wider_than_the_device_are_refused(rig: Rig) -> None:
    """Limits wider than the device's own, or joints of other names, are refused before anything moves."""
    limits = rig.limits
    wider = replace(limits, q_min=limits.q_min - 10.0, q_max=limits.q_max + 10.0)
    renamed = replace(limits, names=tuple(f"{name}_x" for name in limits.names))
    for wrong in (wider, renamed):
        executor = Executor(rig.make_driver(), wrong, rig.config, MemorySink())
        error = refuses(lambda executor=executor: executor.connect(rig.clock.now()), LimitsMismatch)  # type: ignore[misc]
        require(error is not None, f"limits of {wrong.names} from {wrong.q_min} to {wrong.q_max} rad were taken")


def a_silent_link_never_blocks(rig: Rig) -> None:
    """A read on a silent link ends by its deadline, with an error of ours or an old frame."""
    kind = next((kind for kind in ("freeze", "drop") if kind in rig.faults), "freeze")
    rig.needs(kind)
    with Session(rig) as session:
        session.read()
        rig.inject(kind)
        blocked = []
        for _ in range(10):
            began = rig.clock.now()
            refuses(lambda: session.driver.read(rig.clock.now() + 0.02), BridgeError)
            blocked.append(rig.clock.now() - began)
            rig.wait(0.005)
        # The shortest of many tries: what this machine does besides must not count.
        require(min(blocked) <= 0.03, f"a read with 0.02 s of time blocked for at least {min(blocked):.3f} s")
        rig.heal()


CHECKS: tuple[Check, ...] = (
    opening_tells_what_the_arm_is,
    opening_moves_nothing,
    positions_have_unit_order_and_zero,
    each_joint_moves_alone_and_by_as_much,
    velocities_have_unit_and_sign,
    time_and_numbers_advance,
    enabling_holds_the_pose,
    written_is_what_was_sent,
    malformed_commands_are_refused,
    stop_brings_to_rest,
    ending_is_idempotent,
    limits_wider_than_the_device_are_refused,
    a_silent_link_never_blocks,
)
