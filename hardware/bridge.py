"""``ArmBridge``: what users of an arm see."""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .audit import Audit, audit
from .chain import Chain
from .clock import FakeClock
from .config import BridgeConfig, DriverSpec
from .errors import (
    BridgeError,
    CommandRejected,
    JointMismatch,
    ModeError,
    SafetyStop,
    ShapeMismatch,
    StalePlan,
    StaleState,
)
from .interface import ArmInfo, ArmPlan, ArmState, Mode
from .limits import JointLimits
from .link import Link, LocalLink, ProcessLink
from .memory import BridgeSpec, Command
from .moves import move_to
from .records import Event, Snapshot
from .safety import SafetyFilter
from .scene import SceneConfig


class ArmBridge:
    """An arm behind a safety filter and a real-time loop.

    ``connect`` never moves the arm, ``enable`` holds the pose just measured, ``start`` lets plans move it.
    Plans come as horizons with an expiry: without a fresh one the arm brakes and holds. Leaving the ``with``
    block stops the arm.

    Args:
        driver: driver by name or as ``DriverSpec``.
        limits: joint limits; the device must have the same joints.
        lockstep: run in this process on a fake clock; time passes only in ``sleep_until`` and ``advance``.
        clock: the fake clock of a lock-step bridge, to share it with a simulation.
        config: settings, or pass single ones as keywords (``rate_hz=500.0``).
        chain: the arm as a chain, which a scene needs.
        scene: what to keep clear of, where points may be and how fast; None looks at joint limits alone.
        settings: fields of ``BridgeConfig``.
    """

    def __init__(
        self,
        driver: DriverSpec | str,
        limits: JointLimits,
        *,
        lockstep: bool = False,
        clock: FakeClock | None = None,
        config: BridgeConfig | None = None,
        chain: Chain | None = None,
        scene: SceneConfig | None = None,
        **settings: Any,
    ) -> None:
        if config is not None and settings:
            raise ValueError(f"pass either config or single settings ({', '.join(settings)}), not both")
        config = BridgeConfig.from_mapping(settings) if config is None else config
        driver = DriverSpec(driver) if isinstance(driver, str) else driver
        spec = BridgeSpec(driver, limits, config, chain, scene or SceneConfig())
        # A scene that does not fit is refused here, and what is not compiled yet is: not in the control process.
        SafetyFilter(limits, config.dt, guard=spec.guard())
        if clock is not None and not lockstep:
            raise ValueError(
                "a clock can be given only to a lockstep bridge; the control process uses CLOCK_MONOTONIC"
            )
        self._link: Link | None = LocalLink(spec, clock or FakeClock()) if lockstep else None
        self._spec = spec
        self._info: ArmInfo | None = None
        self._last_id = -1
        self._finalizer: weakref.finalize[..., ArmBridge] | None = None

    @classmethod
    def attach(cls, name: str) -> ArmBridge:
        """Join a running bridge from another process, by its ``name``. Closing then only lets go of it."""
        link = ProcessLink.attach(name)
        spec = link.spec
        bridge = cls(spec.driver, spec.limits, config=spec.config, chain=spec.chain, scene=spec.scene)
        bridge._link, bridge._info = link, link.info()
        return bridge

    # Life
    # -------------------------------------------------------------------------------------------------------

    def connect(self) -> ArmInfo:
        """Start the control loop and open the arm. Nothing moves.

        Raises:
            BridgeError: the driver cannot be made or opened, the limits do not fit, or no fresh state
                arrives.
        """
        if self._info is not None:
            raise ModeError("connect: this bridge has been connected already; make a new one after close()")
        link = self._link or ProcessLink.create(self._spec)
        self._link = link
        self._finalizer = weakref.finalize(self, _close_quietly, link, os.getpid())
        try:
            self._info = link.connect()
            self._await_state(5.0)
        except BaseException:
            self.close()
            raise
        return self._info

    def enable(self, timeout: float = 30.0) -> None:
        """Servos on, holding the pose just measured."""
        self._command(Command.ENABLE, timeout)

    def start(self) -> None:
        """Accept plans from now on; plan numbers may begin anew."""
        self._command(Command.START)

    def hold(self) -> None:
        """Drop the plan, brake, hold; plans are still accepted."""
        self._command(Command.HOLD)

    def stop(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Brake to rest; plans are refused until ``start``.

        Args:
            wait: return only when the arm is measured at rest.
            timeout: how long to wait [s].
        """
        self._command(Command.STOP)
        give_up = self.now() + timeout
        while wait and (self.mode in (Mode.STOPPING, Mode.GUIDED) or self._moving()):
            if self.now() > give_up:
                raise BridgeError(f"stop: the arm still moves after {timeout:g} s; use the emergency stop")
            self.advance(2.0 * self.config.dt)

    def estop(self) -> None:
        """The device's own stop at once, from any mode; latched as ESTOP, and nothing more is sent until ``reset``.

        A program's word, not a safety function: the arm's emergency stop button is.
        """
        self._command(Command.ESTOP)

    def home(self, q: ArrayLike, *, share: float = 0.1, tolerance: float = 0.02) -> None:
        """Go slowly to a pose and see that the arm is there; blocks, and leaves the bridge HOLDING.

        Args:
            q: the pose (n,) [rad], such as `home` of the arm's file.
            share: of the speed and acceleration limits that is used, above 0, at most 0.5.
            tolerance: largest distance of the measured pose at the end [rad].

        Raises:
            BridgeError: see ``moves.move_to``.
        """
        move_to(self, q, share, tolerance)

    def park(self, q: ArrayLike, *, share: float = 0.1, tolerance: float = 0.02) -> None:
        """Go slowly to a pose in which the arm stands by itself, then switch the servos off.

        Where the arm does not get there the servos stay on. Arguments and errors are those of ``home``.
        """
        move_to(self, q, share, tolerance)
        self.stop()
        self.disable()

    def freedrive(self) -> None:
        """Let a person move the arm by hand: GUIDED, from ENABLED (``stop`` leads there). Nothing is sent to the arm.

        Limits and scene do not hold meanwhile; the arm's own do. A fault, or a lost link, ends it.

        Raises:
            ModeError: the bridge is not ENABLED, or the arm has no freedrive.
        """
        self._command(Command.FREEDRIVE)

    def end_freedrive(self, timeout: float = 5.0) -> None:
        """Hold the arm where it is: ENABLED again, seeded from the pose measured at rest.

        Raises:
            SafetyStop: the arm did not come to rest, or a fault ended the freedrive.
        """
        self._command(Command.END_FREEDRIVE)
        give_up = self.now() + timeout
        while self.mode is Mode.GUIDED and self.now() < give_up:
            self.advance(2.0 * self.config.dt)
        if self.mode is not Mode.ENABLED:
            raise SafetyStop(f"freedrive did not end in a held pose: {self.fault or self.mode.name}")

    def reset(self, acknowledge: bool = False) -> None:
        """Clear a latched fault or emergency stop, after looking at the arm; ends ENABLED or CONNECTED, never moving.

        Raises:
            EStopActive: the emergency stop is still pressed at the device.
            BridgeError: what led to the fault is still there; it stays latched.
        """
        if not acknowledge:
            raise SafetyStop(f"reset: '{self.fault}' stays latched; look at the arm, then reset(acknowledge=True)")
        self._command(Command.RESET, 30.0)

    def disable(self, timeout: float = 30.0) -> None:
        """Servos off. The arm must be at rest."""
        self._command(Command.DISABLE, timeout)

    def close(self) -> None:
        """Brake, hold, switch off as configured, end the control process; the logs stay readable."""
        if self._finalizer is not None:
            self._finalizer()
        elif isinstance(self._link, ProcessLink):
            self._link.close()

    def __enter__(self) -> ArmBridge:
        if self._info is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In operation
    # -----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Time that plans refer to [s]."""
        return self._on().now()

    def sleep_until(self, t: float) -> None:
        """Wait until time t [s]; in lock-step this is what runs the arm."""
        self._on().sleep_until(t)

    def advance(self, seconds: float) -> None:
        """Wait for a duration [s]."""
        self.sleep_until(self.now() + seconds)

    def snapshot(self) -> Snapshot:
        """Return state, applied command and mode of one and the same tick."""
        snapshot = self._on().snapshot()
        if snapshot is None:
            raise StaleState("no control tick has run yet; connect() first")
        return snapshot

    def observe(self, max_age: float = 0.1) -> ArmState:
        """Return the measured state.

        Args:
            max_age: oldest acceptable measurement [s].

        Raises:
            StaleState: it is older, or there is none.
        """
        snapshot = self.snapshot()
        age = np.inf if snapshot.state is None else self.now() - snapshot.state.t_host
        if snapshot.state is None or age > max_age:
            raise StaleState(
                f"the newest measurement is {age:.3f} s old, allowed {max_age:g} s ({self._doing(snapshot)})"
            )
        return snapshot.state

    def submit(self, plan: ArmPlan) -> None:
        """Hand over a plan; the latest wins. Whether it was accepted shows in ``events`` and
        ``snapshot().plan_id``.

        Raises:
            CommandRejected: wrong joints, too long, or expired.
            SafetyStop: a fault is latched.
        """
        link, limits = self._on(), self.limits
        if plan.joint_names != limits.names:
            raise JointMismatch(
                f"plan has joints {list(plan.joint_names)}, the arm has {list(limits.names)}, in this order"
            )
        if plan.horizon > self.config.max_horizon:
            raise ShapeMismatch(
                f"plan has {plan.horizon} knots, allowed 1 to {self.config.max_horizon}; raise max_horizon"
            )
        if plan.expires_at <= link.now():
            raise StalePlan(
                f"plan {plan.plan_id} expired {link.now() - plan.expires_at:.3f} s ago; plan faster"
            )
        snapshot = self.snapshot()
        if snapshot.mode.latched:
            raise SafetyStop(f"plan {plan.plan_id}: '{snapshot.fault}' is latched; reset(acknowledge=True) first")
        self._last_id = max(self._last_id, plan.plan_id)
        link.submit(plan)

    def slow(self, scale: float, t: float | None = None) -> None:
        """Let the arm use only a share of its speed limits. It may only slow down: nothing exceeds the limits.

        Whoever watches the arm, such as a monitor of a learned model, calls this again and again where
        ``speed_scale_s`` is set: without a fresh share ``cautious_scale`` holds.

        Args:
            scale: share of the speed limits, above 0, at most 1; no number counts as ``cautious_scale``.
            t: when it was found [s], default now.

        Raises:
            CommandRejected: the share is not in (0, 1].
        """
        if scale <= 0.0 or scale > 1.0:  # NaN goes through, as the worst
            raise CommandRejected(f"speed scale {scale:g}, allowed above 0, at most 1: it can only slow the arm down")
        self._on().slow(float(scale), self.now() if t is None else t)

    def make_plan(
        self,
        q: ArrayLike,
        dq: ArrayLike | None = None,
        *,
        dt: float,
        t0: float | None = None,
        validity: float | None = None,
        obs_seq: int = -1,
        gripper: ArrayLike | None = None,
    ) -> ArmPlan:
        """Build a plan for this arm with the next number.

        Args:
            q: knots (H, n) [rad].
            dq: velocities at the knots (H, n) [rad/s].
            dt: spacing of the knots [s].
            t0: time of the first knot [s], default now.
            validity: how long the plan holds from t0 on [s], default its own length, at least dt.
            obs_seq: the observation it rests on.
            gripper: openings at the knots (H,), 0 closed to 1 open; None leaves it as it is.
        """
        t0 = self.now() if t0 is None else t0
        knots = np.asarray(q, dtype=np.float64)
        length = max(len(knots) - 1, 1) * dt if validity is None else validity
        # Numbers from the clock keep rising when one client takes over from another.
        self._last_id = max(self._last_id + 1, int(self.now() * 1e9))
        velocities = None if dq is None else np.asarray(dq, dtype=np.float64)
        opening = None if gripper is None else np.asarray(gripper, dtype=np.float64)
        return ArmPlan(self._last_id, t0, dt, knots, t0 + length, self.limits.names, velocities, obs_seq, opening)

    # What happened
    # ----------------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """Return all events so far."""
        return self._on().events()

    def records(self, clear: bool = False) -> NDArray[np.void]:
        """Return one record for each control tick in which the arm was enabled (see
        ``records.record_dtype``).

        Args:
            clear: forget them, so that a long run does not grow.
        """
        return self._on().records(clear)

    def metrics(self) -> dict[str, Any]:
        """Return counters and timing: rate_hz, ticks, deadline_misses, lateness_s_p50/p99/max, cost_s_..
        of whole ticks, filter_s_.. of plan and safety filter, interventions, ..."""
        return {**self._on().metrics(), "lost_records": self._on().lost()}

    def audit(self) -> Audit:
        """Check all applied commands anew against the limits, independently of the filter."""
        return audit(self.records(), self.limits, self.config.dt)

    @property
    def name(self) -> str:
        """Name to ``attach`` by; empty in lock-step."""
        return self._on().name

    @property
    def info(self) -> ArmInfo:
        """What the driver told on connecting."""
        if self._info is None:
            raise ModeError("the arm is not connected; connect() first")
        return self._info

    @property
    def limits(self) -> JointLimits:
        """Joint limits in force."""
        return self._spec.limits

    @property
    def config(self) -> BridgeConfig:
        """Settings in force."""
        return self._spec.config

    @property
    def mode(self) -> Mode:
        """State of the bridge."""
        if isinstance(self._link, LocalLink):
            return self._link.executor.mode
        return Mode.CLOSED if self._link is None else self.snapshot().mode

    @property
    def fault(self) -> str:
        """Text of the latched fault, empty when there is none."""
        return self._link.executor.fault if isinstance(self._link, LocalLink) else self.snapshot().fault

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _on(self) -> Link:
        if self._link is None:
            raise ModeError("the bridge is CLOSED; connect() first")
        return self._link

    def _command(self, command: Command, timeout: float = 5.0) -> None:
        link = self._on()
        link.command(command, timeout)
        # The answer comes before the tick: let the snapshot show the new mode before the caller looks.
        before = link.snapshot()
        give_up = link.now() + 1.0
        while isinstance(link, ProcessLink) and link.alive() and link.now() < give_up:
            after = link.snapshot()
            if after is not None and (before is None or after.tick > before.tick):
                return
            link.sleep_until(link.now() + 0.5 * self.config.dt)

    def _await_state(self, timeout: float) -> None:
        give_up, frames, last = self.now() + timeout, 0, -np.inf
        while frames < 3:
            self.advance(self.config.dt)
            snapshot = self._on().snapshot()
            if snapshot is not None and snapshot.state is not None and snapshot.state.t_device > last:
                frames, last = frames + 1, snapshot.state.t_device
            if self.now() > give_up:
                raise StaleState(
                    f"connected, but the device clock does not advance within {timeout:g} s; check the link"
                )

    def _moving(self) -> bool:
        applied = self.snapshot().applied
        return applied is not None and bool(np.abs(applied.dq).max() > 1e-6)

    def _doing(self, snapshot: Snapshot) -> str:
        silent = self.now() - snapshot.t
        alive = "control loop silent" if silent > 10 * self.config.dt else "control loop running"
        return f"mode {snapshot.mode.name}, {alive}, last tick {silent:.3f} s ago"


def _close_quietly(link: Link, pid: int) -> None:
    # A forked child (a data loader's worker, say) inherits this bridge; its end is not the arm's.
    if os.getpid() == pid:
        link.close()
