"""One control tick and the state machine around it, without a clock and without a process of its own.

``Executor.tick(now)``: read the arm, watch it, choose what is wanted (plan, hold or brake), filter, write,
record. The same object runs inside the control process and, with a fake clock, in tests and lock-step
simulation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .config import BridgeConfig
from .drivers.silent import SilentDriver
from .errors import BridgeError, Disconnected, EStopActive, HardwareFault, ModeError, SafetyStop, StaleState
from .guard import Guard
from .interface import Applied, ArmDriver, ArmInfo, ArmPlan, ArmState, Array, Mode, Reason
from .limits import JointLimits
from .plan_queue import PlanQueue
from .records import Event, Sink, Snapshot, pack_text, record_dtype, snapshot_dtype
from .safety import FilterOutput, SafetyFilter
from .speed import SpeedScale
from .timing import Histogram
from .watch import Escalation, Watch

_CONFIRM_S = 1.0
_GRIP = 1e-3
"""Change of a gripper's opening that is worth a command."""

_FULL = ("full_speed", "the whole speed limits are allowed again")
_SCENE = int(Reason.COLLISION | Reason.WORKSPACE | Reason.POINT_SPEED)


class Executor:
    """Carries out plans on a driver.

    Args:
        driver: the arm.
        limits: joint limits, same joints and order as the driver.
        config: settings; ``config.dt`` is the tick of the filter.
        sink: takes events and records.
        guard: looks at the scene; None where there is nothing to look at.
        timer: reads a clock [s], to measure what the filter costs; None measures nothing.

    Attributes:
        filter_cost: of each tick, where it is measured.
    """

    def __init__(
        self,
        driver: ArmDriver,
        limits: JointLimits,
        config: BridgeConfig,
        sink: Sink,
        guard: Guard | None = None,
        timer: Callable[[], float] | None = None,
    ) -> None:
        self._timer, self.filter_cost = timer, Histogram()
        if config.commands != "send":
            driver = SilentDriver(driver, follow=config.commands == "dry_run")
        self.driver, self.limits, self.config, self.sink = driver, limits, config, sink
        self.mode = Mode.CLOSED
        self.fault = ""
        self.counts = dict.fromkeys(
            ("ticks", "intervention_ticks", "plans_accepted", "plans_rejected", "plans_expired", "faults"), 0
        )
        self.filter = SafetyFilter(limits, config.dt, guard=guard)
        self.plans = PlanQueue(limits.names, config)
        self.watch = Watch(limits, config)
        self.escalation = Escalation(config)
        self.speed = SpeedScale(config)
        self._enabled = False
        self._written_off = False
        self._last_limited = -np.inf
        self._limited_by = 0
        self._slow = False
        self._opening = np.nan
        self._grips, self._has_gripper = True, False
        self._rest_since: float | None = None
        self._has_freedrive = False
        self._epoch = self._event_seq = 0
        self._snapshot = np.zeros((), dtype=snapshot_dtype(limits.n))
        self._record = np.zeros((), dtype=record_dtype(limits.n))

    @property
    def enabled(self) -> bool:
        """Whether the servos are on and commands are written."""
        return self._enabled

    @property
    def moving(self) -> bool:
        """Whether a command is under way that does not stand still."""
        return self._enabled and (self.mode is Mode.GUIDED or not self.filter.at_rest)

    # Commands
    # ---------------------------------------------------------------------------------------------------

    def connect(self, now: float) -> ArmInfo:
        """CLOSED -> CONNECTED: open the transport, compare device and limits. Never moves the arm."""
        self._require("connect", Mode.CLOSED)
        info = self.driver.open()
        try:
            self.limits.check_device(info)
        except BridgeError:
            self.driver.close()
            raise
        self.watch.restart()
        self._has_gripper, self._has_freedrive = info.gripper, info.freedrive
        self.mode = Mode.CONNECTED
        self._event(
            now, "connected", f"{info.model}, {info.dof} joints, firmware {info.firmware or 'unknown'}"
        )
        if self.config.commands != "send":
            self._event(now, self.config.commands, "the arm is read, and nothing is sent to it")
        return info

    def enable(self, now: float) -> None:
        """CONNECTED -> ENABLED: hold the pose just measured. Never moves the arm."""
        if self.mode is Mode.ENABLED:
            return
        self._require("enable", Mode.CONNECTED)
        self._read(now)
        self._require("enable", Mode.CONNECTED)  # that look at the arm may have latched a fault
        state = self._fit_to_seed(now, "enable")
        self.driver.enable()
        self._seed(state)
        self._enabled = True
        self._enter(Mode.ENABLED, now, "enabled", "holding the measured pose")

    def start(self, now: float) -> None:
        """ENABLED -> HOLDING: from now on plans are accepted."""
        if self.mode.active:
            return
        self._require("start", Mode.ENABLED)
        self.plans.restart()
        self.escalation.restart()
        self.speed.restart(now)
        self._enter(Mode.HOLDING, now, "started", "accepting plans")

    def submit(self, plan: ArmPlan, now: float) -> bool:
        """Offer a plan; it takes over at its t0, or at once when that has passed.

        A refused plan leaves an event and changes nothing.
        """
        refusal = None
        if not self.mode.active:
            refusal = f"the bridge is {self.mode.name}, plans need RUNNING or HOLDING"
        elif self.watch.stale:
            refusal = "the measured state is stale"
        elif plan.gripper is not None and not self._has_gripper:
            refusal = "it moves a gripper, and the arm has none"
        else:
            try:
                refusal = self.plans.offer(plan, now, self.watch.seen_at(plan.obs_seq))
            except Exception as error:  # no plan may end the loop in mid-motion
                refusal = f"{type(error).__name__}: {error}"
        if refusal is not None:
            self.counts["plans_rejected"] += 1
            self._event(now, "plan_rejected", f"plan {plan.plan_id}: {refusal}", plan.plan_id)
        return refusal is None

    def hold(self, now: float) -> None:
        """Drop the plan, and one that waits for its t0, brake and hold; new plans are still accepted."""
        waiting = self.plans.waiting
        self.plans.clear()
        if self.mode is Mode.HOLDING:
            if waiting:
                self._event(now, "held", "waiting plan dropped on request")
            return
        self._require("hold", Mode.RUNNING, Mode.ALIGNING)
        self._enter(Mode.HOLDING, now, "held", "plan dropped on request")

    def stop(self, now: float) -> None:
        """Brake to rest, then ENABLED: plans are refused until ``start``. Allowed in every mode."""
        self.plans.clear()
        if self.mode is Mode.GUIDED:
            self.end_freedrive(now)
        if self.mode.active:
            self._rest_since = None
            self._enter(Mode.STOPPING, now, "stopping", "controlled stop on request")

    def estop(self, now: float) -> None:
        """Any mode but CLOSED -> ESTOP: the device's own stop at once; nothing is written until the reset."""
        if self.mode is Mode.CLOSED:
            raise ModeError("estop: the bridge is CLOSED; use the arm's own button")
        if self._latch_estop(now, "asked for"):
            self._device_stop(now)

    def freedrive(self, now: float) -> None:
        """ENABLED -> GUIDED: a person may move the arm by hand; it is read, and nothing is written to it."""
        if self.mode is Mode.GUIDED and self._rest_since is None:
            return
        self._require("freedrive", Mode.ENABLED)
        if not self._has_freedrive:
            raise ModeError("freedrive: this arm has none, or its driver does not offer it; use the arm's own button")
        self.driver.freedrive(True)  # type: ignore[attr-defined]  # those that say so have it
        self._rest_since = None
        self._enter(Mode.GUIDED, now, "guided", "the arm may be moved by hand; nothing is sent to it")

    def end_freedrive(self, now: float) -> None:
        """GUIDED -> ENABLED, as soon as the arm is measured at rest; its pose there is held."""
        if self.mode is Mode.ENABLED or (self.mode is Mode.GUIDED and self._rest_since is not None):
            return
        self._require("end freedrive", Mode.GUIDED)
        try:
            self.driver.freedrive(False)  # type: ignore[attr-defined]
        except BridgeError as error:
            self._fault(now, "freedrive", str(error))
            raise
        self._rest_since = now

    def reset(self, now: float, acknowledge: bool = False) -> None:
        """FAULT or ESTOP -> ENABLED (or CONNECTED if the arm was not enabled), seeded from a fresh measurement.

        Raises:
            SafetyStop: not acknowledged.
            BridgeError: the condition persists; the fault stays latched.
        """
        if not self.mode.latched:
            return
        if not acknowledge:
            raise self._latched("reset")
        if self.watch.state is not None and self.watch.state.estop:
            raise EStopActive("reset: the emergency stop is still pressed; release it at the device first")
        self.driver.clear_faults()
        broken = self._look(now)
        if broken is not None:
            raise SafetyStop(f"reset: {broken[0]}: {broken[1]}; the fault '{self.fault}' stays latched")
        if self._enabled:
            state = self._fit_to_seed(now, "reset")
            self.driver.enable()
            self._seed(state)
        elif self.watch.age(now) > self.config.stale_s:
            raise StaleState(
                f"reset: the last measurement is {self.watch.age(now):.3f} s old; restore the link first"
            )
        self.fault, self._written_off = "", False
        self._enter(Mode.ENABLED if self._enabled else Mode.CONNECTED, now, "reset", "fault acknowledged")

    def disable(self, now: float) -> None:
        """Switch the servos off at rest: ENABLED or HOLDING -> CONNECTED; FAULT and ESTOP stay latched."""
        if self.moving:
            raise ModeError("disable: the arm still moves, or may be moved by hand; stop() first")
        self.driver.disable()
        self._enabled = False
        self.plans.clear()
        if not (self.mode.latched or self.mode is Mode.CLOSED):
            self._enter(Mode.CONNECTED, now, "disabled", "servos off")

    def close(self, now: float) -> None:
        """Close the transport, torque as it is."""
        if self.mode is not Mode.CLOSED:
            self.driver.close()
            self._enabled = False
            self._enter(Mode.CLOSED, now, "closed", "transport closed")

    # Tick
    # -------------------------------------------------------------------------------------------------------

    def tick(self, now: float, lateness: float = 0.0, missed: int = 0) -> None:
        """Run one control tick.

        Args:
            now: nominal time of the tick [s]: multiples of the period, so that a plan is sampled evenly.
            lateness: how late the tick really runs [s], for the record.
            missed: ticks left out just before; they are computed now, as far as ``config.make_up_s`` goes.
        """
        self.counts["ticks"] += 1
        if self.mode is Mode.CLOSED:
            return
        self._read(now)
        self._supervise(now)
        if self.mode is Mode.GUIDED:
            self._guided(now)
        elif self._enabled:
            dt = self.config.dt
            for back in range(min(missed, int(self.config.make_up_s / dt + 1e-9)), 0, -1):
                self._bookkeep(now - back * dt, *self._command(now - back * dt), lateness, sent=False)
                self.counts["ticks"] += 1
            requested, out = self._timed(now)
            self._write(out.q, now)
            self._grip(now)
            self._bookkeep(now, requested, out, lateness)
        self.publish(now)

    def rehearse(self) -> None:
        """Let the safety filter compute a tick for practice, shortly before one is due (``SafetyFilter.rehearse``)."""
        if self._enabled:
            self.filter.rehearse()

    def _guided(self, now: float) -> None:
        state, record = self.watch.state, self._record
        if state is None:
            return
        record["requested"] = record["applied"] = state.q
        if self._rest_since is None or self.watch.stale:
            return
        speed = float(np.abs(state.dq).max())
        if speed <= self.config.rest_speed and state.t_host > self._rest_since:
            self._seed(state)
            self._enter(Mode.ENABLED, now, "guided_to", "holding the measured pose")
        elif now - self._rest_since > _CONFIRM_S:
            self._fault(now, "freedrive", f"the arm still moves at {speed:.3f} rad/s, {_CONFIRM_S:g} s after its end")

    def _timed(self, now: float) -> tuple[Array, FilterOutput]:
        if self._timer is None:
            return self._command(now)
        began = self._timer()
        found = self._command(now)
        self.filter_cost.add(self._timer() - began)
        return found

    def _command(self, now: float) -> tuple[Array, FilterOutput]:
        scale = self.speed.step(now)
        if (scale < 1.0) is not self._slow:
            self._slow = scale < 1.0
            self._event(now, *(("slowed", "less than the whole speed limits") if self._slow else _FULL), scale)
        target = self._target(now) if self.mode.active else None
        if target is not None:
            if self.mode is Mode.ALIGNING:
                scale = min(scale, self.config.align_scale)
            return target[0], self.filter.step(*target, scale)
        if not self.filter.at_rest:
            out = self.filter.brake()
            return out.q, out
        if self.mode is Mode.STOPPING:
            self._confirm_rest(now)
        requested = self.filter.q
        return requested, self.filter.step(requested, np.zeros(self.limits.n))

    def _target(self, now: float) -> tuple[Array, Array] | None:
        # What the plans want; None: brake and hold. Whatever goes wrong with a plan ends in a controlled stop.
        try:
            self._advance_plan(now)
            if not self.mode.follows:
                return None
            target = self.plans.target(now)
            if self.mode is Mode.ALIGNING and np.abs(target[0] - self.filter.q).max() <= self.config.max_jump_rad:
                self._enter(Mode.RUNNING, now, "aligned", "at the plan; follows it in full", self.plans.plan_id)
            return target
        except Exception as error:
            self._fault(now, "plan_error", f"{type(error).__name__}: {error}")
            return None

    def _confirm_rest(self, now: float) -> None:
        # The command rests; the stop is over when the arm says so too.
        if self._rest_since is None:
            self._rest_since = now
        state = self.watch.state
        speed = np.inf if state is None or self.watch.stale else float(np.abs(state.dq).max())
        if speed <= self.config.rest_speed:
            self._enter(Mode.ENABLED, now, "stopped", f"at rest, measured {speed:.4f} rad/s", speed)
        elif now - self._rest_since > _CONFIRM_S:
            text = f"the command rests, but the arm is measured at {speed:.3f} rad/s after {_CONFIRM_S:g} s"
            self._enter(Mode.ENABLED, now, "stop_incomplete", text, speed)

    def _advance_plan(self, now: float) -> None:
        if self.plans.waiting:
            self._take_over(now)
        if self.mode.follows and self.plans.expired(now):
            text = (
                f"plan {self.plans.plan_id} ran out; brakes for {self.filter.stopping_time:.3f} s, then holds"
            )
            self.counts["plans_expired"] += 1
            self._enter(Mode.HOLDING, now, "plan_expired", text, self.plans.plan_id)
            self.plans.drop_current()

    def _take_over(self, now: float) -> None:
        config = self.config
        starts = self.mode is Mode.ALIGNING or (self.mode is Mode.HOLDING and self.filter.at_rest)
        reach = max(config.max_jump_rad, config.align_rad) if starts else config.max_jump_rad
        away, refusal = self.plans.activate(now, self.filter.q, reach)
        if refusal is not None:
            self.counts["plans_rejected"] += 1
            self._event(now, "plan_rejected", refusal)
        if away is not None:
            self.counts["plans_accepted"] += 1
            if self.mode is Mode.HOLDING:
                self._follow(now, away)

    def _follow(self, now: float, away: float) -> None:
        plan_id, share = self.plans.plan_id, self.config.align_scale
        if away <= self.config.max_jump_rad:
            self._enter(Mode.RUNNING, now, "running", f"plan {plan_id} in force", plan_id)
        else:
            text = f"plan {plan_id} starts {away:.3f} rad away; goes there with {share:.0%} of the speeds"
            self._enter(Mode.ALIGNING, now, "aligning", text, away)

    def _read(self, now: float) -> None:
        broken = self._look(now)
        if broken is not None:
            self._fault(now, *broken)

    def _look(self, now: float) -> tuple[str, str] | None:
        # Take a measurement; what cannot be tolerated comes back as kind and text of a fault.
        try:
            state = self.driver.read(now + self.config.dt)
        except Disconnected as error:
            self.watch.missed()
            return "disconnected", str(error)
        except BridgeError as error:
            if self.watch.missed():
                self._event(now, "transport", str(error))
            return None
        note = self.watch.accept(state, now)
        return None if note is None else ("device_clock", note)

    def _supervise(self, now: float) -> None:
        age = self.watch.age(now)
        stale = self.watch.became_stale(now)
        if stale is True:
            self._event(now, "stale", f"no fresh measurement for {age:.3f} s; brakes and holds", age)
            if self.mode.follows:
                self._enter(Mode.HOLDING, now, "held", "plan dropped: stale state")
            self.plans.clear()
        elif stale is False:
            self._event(now, "fresh", "measurements advance again")
        if not self._enabled:
            return
        if age > self.config.disconnect_after_s:
            self._fault(now, "disconnected", f"no fresh measurement for {age:.3f} s")
        fault = self.watch.device_fault()
        if self.watch.state is not None and self.watch.state.estop:
            if self._latch_estop(now, fault or "pressed at the device"):
                self._written_off = True  # the device has stopped by itself
        elif fault is not None:
            self._fault(now, "device_fault", fault)
        follows = self.config.commands != "shadow" and self.mode is not Mode.GUIDED
        text = self.watch.following(self.filter.q, now) if follows else None
        if text is not None and not self._written_off:
            # Braking would leave the command ahead of the arm, which would go on pressing on what blocks it.
            self._fault(now, "following_error", text)
            self._device_stop(now)
        text = self.watch.effort(now)
        if text is not None:
            self._fault(now, "effort", text)
        warm, hot = self.watch.heat(now)
        if warm is not None:
            self._event(now, "warm", warm)
        if hot is not None:
            self._fault(now, "temperature", hot)

    def _write(self, q: Array, now: float) -> None:
        if self._written_off:
            return
        try:
            self.driver.write(q, now + self.config.dt)
        except (Disconnected, HardwareFault, ModeError) as error:
            # A device may refuse a command before a measurement tells of its fault.
            self._fault(now, "device_fault" if isinstance(error, HardwareFault) else "write_failed", str(error))
            self._device_stop(now)
        except BridgeError as error:
            lost = self.watch.write_missed(now)
            if lost == 0.0:
                self._event(now, "transport", str(error))
            if lost > self.config.disconnect_after_s:
                self._fault(now, "write_failed", f"no command got through for {lost:.3f} s: {error}")
                self._device_stop(now)
        else:
            self.watch.wrote()

    def _grip(self, now: float) -> None:
        # A gripper is told when its opening changes, not at every tick; where plans say nothing it stays.
        opening = self.plans.gripper(now) if self.mode is Mode.RUNNING and not self._written_off else None
        if opening is None or abs(opening - self._opening) < _GRIP:
            return
        try:
            self.driver.gripper(opening)  # type: ignore[attr-defined]  # plans that need it were refused without
        except HardwareFault as error:
            self._fault(now, "device_fault", str(error))
        except BridgeError as error:
            if self._grips:
                self._event(now, "gripper", f"opening {opening:.2f} was not taken: {error}", opening)
            self._grips = False
        else:
            self._opening, self._grips = opening, True

    def _device_stop(self, now: float) -> None:
        # A streamed stop no longer arrives or does not help: ask once for the device's own, and write no more
        # until the reset.
        self._written_off = True
        try:
            self.driver.stop()
        except BridgeError as error:
            self._event(now, "stop_incomplete", f"the device did not confirm a stop: {error}")

    # Bookkeeping
    # ------------------------------------------------------------------------------------------------

    def _fit_to_seed(self, now: float, action: str) -> ArmState:
        state, age = self.watch.state, self.watch.age(now)
        if state is None or age > self.config.stale_s or self.watch.frames < 2:
            raise StaleState(
                f"{action}: needs fresh measurements, the last is {age:.3f} s old; check the link"
            )
        fault = self.watch.device_fault()
        if fault is not None:
            raise HardwareFault(f"{action}: the device reports '{fault}'; clear it at the device first")
        hot = self.watch.too_hot()
        if hot is not None:
            raise HardwareFault(f"{action}: {hot}; let it cool down")
        speed = float(np.abs(state.dq).max())
        if speed > self.config.rest_speed:
            raise ModeError(
                f"{action}: a joint moves at {speed:.3f} rad/s, allowed {self.config.rest_speed:g} rad/s"
            )
        outside = (state.q < self.limits.q_min) | (state.q > self.limits.q_max)
        if outside.any():
            name = self.limits.names[int(np.argmax(outside))]
            self._event(
                now,
                "out_of_limits",
                f"joint '{name}' rests outside its limits; only motion inwards is let through",
            )
        close = [] if self.filter.guard is None else self.filter.guard.too_close(state.q)
        if close:
            text = f"{', '.join(close)}: closer than allowed; only motion away is let through"
            self._event(now, "too_close", text, float(len(close)))
        return state

    def _seed(self, state: ArmState) -> None:
        self.filter.reset(state.q)
        self._epoch += 1
        self._opening, self._grips = np.nan, True
        row = self._record  # the snapshot shows the seed even before the next tick
        row["requested"] = row["applied"] = state.q
        row["applied_dq"], row["reasons"] = 0.0, 0
        self.plans.clear()
        self.watch.settle()

    def _fault(self, now: float, kind: str, text: str) -> None:
        if self.mode.latched or self.mode is Mode.CLOSED:
            return
        self.counts["faults"] += 1
        self.plans.clear()
        self.fault = f"{kind}: {text}"
        guided = self.mode is Mode.GUIDED
        self._enter(Mode.FAULT, now, "fault", self.fault)
        if guided:  # the last command lies where the arm was before: nothing may be written until the reset
            self._device_stop(now)

    def _latch_estop(self, now: float, text: str) -> bool:
        if self.mode is Mode.ESTOP:
            return False
        self.counts["faults"] += 1
        self.plans.clear()
        self.fault = f"estop: {text}"
        self._enter(Mode.ESTOP, now, "estop", text)
        return True

    def _latched(self, action: str) -> SafetyStop:
        what = EStopActive if self.mode is Mode.ESTOP else SafetyStop
        return what(f"{action}: '{self.fault}' is latched; look at the arm, then reset(acknowledge=True)")

    def _require(self, action: str, *modes: Mode) -> None:
        if self.mode.latched:
            raise self._latched(action)
        if self.mode not in modes:
            raise ModeError(f"{action}: the bridge is {self.mode.name}, needs {modes[0].name}")

    def _enter(self, mode: Mode, now: float, kind: str, text: str, value: float = float("nan")) -> None:
        self.mode = mode
        self._event(now, kind, text, value)

    def _event(self, now: float, kind: str, text: str, value: float = float("nan")) -> None:
        event = Event(self._event_seq, now, kind, text, value)
        self._event_seq += 1
        self.sink.event(event)

    def note(self, now: float, kind: str, text: str, value: float = float("nan")) -> None:
        """Put an event of the surrounding process into the log."""
        self._event(now, kind, text, value)

    def _bookkeep(
        self, now: float, requested: Array, out: FilterOutput, lateness: float, sent: bool = True
    ) -> None:
        limited = out.reasons & ~np.uint32(Reason.BRAKE)
        if limited.any():
            self.counts["intervention_ticks"] += 1
            # The record has every tick; the log gets the onset, and what only joins in afterwards.
            if now - self._last_limited > 1.0:
                self._limited_by = 0
            scene = int(np.bitwise_or.reduce(limited)) & _SCENE
            if now - self._last_limited > 1.0 or scene & ~self._limited_by:
                self._limited_by |= scene
                applied = Applied(0, now, self.plans.plan_id, requested, out.q, out.dq, out.reasons)
                why = applied.interventions(self.limits.names)
                what = ", ".join(f"{joint}: {reason.name}" for joint, reason in why.items())
                self._event(now, "limited", what, float(np.abs(out.q - requested).max()))
            self._last_limited = now
        share = self.escalation.add(bool(limited.any()))
        if share is not None and self.mode.active:
            self.plans.clear()
            self._rest_since = None
            text = f"{share:.0%} of the requests of the last {self.config.escalate_s:g} s had to be changed"
            self._enter(Mode.STOPPING, now, "escalated", f"{text}; brakes, then start() again", share)
        row = self._record
        row["tick"], row["t"], row["mode"], row["plan_id"] = (
            self.counts["ticks"],
            now,
            self.mode,
            self.plans.plan_id,
        )
        row["requested"], row["applied"], row["applied_dq"], row["reasons"] = (
            requested,
            out.q,
            out.dq,
            out.reasons,
        )
        row["gripper"] = self._opening
        row["epoch"], row["sent"], row["speed_scale"] = self._epoch, sent, self.speed.value
        row["lateness"], row["state_age"] = lateness, self.watch.age(now)
        if self.watch.state is not None:
            row["q"], row["dq"] = self.watch.state.q, self.watch.state.dq
        self.sink.record(row)

    def publish(self, now: float) -> None:
        """Bring the snapshot up to date; each tick does so by itself."""
        row, state, record = self._snapshot, self.watch.state, self._record
        record["tick"], record["t"], record["mode"] = self.counts["ticks"], now, self.mode
        record["plan_id"], record["speed_scale"] = self.plans.plan_id, self.speed.value
        row["enabled"], row["has_state"] = self._enabled, state is not None
        if state is not None:
            record["q"], record["dq"] = state.q, state.dq
            row["seq"], row["t_host"], row["t_device"] = state.seq, state.t_host, state.t_device
            row["has_tau"] = state.tau is not None
            row["tau"] = 0.0 if state.tau is None else state.tau
            row["has_temperature"] = state.temperature is not None
            row["temperature"] = 0.0 if state.temperature is None else state.temperature
            row["estop"] = state.estop
            row["gripper"] = np.nan if state.gripper is None else state.gripper
            row["device_fault"] = pack_text(state.fault or "")
        row["record"], row["fault"] = record, pack_text(self.fault)

    @property
    def snapshot_row(self) -> np.ndarray:
        """The last tick in ``snapshot_dtype``; valid until the next tick."""
        return self._snapshot

    def snapshot(self) -> Snapshot:
        """Return the last tick as objects."""
        return Snapshot.from_row(self._snapshot.copy())
