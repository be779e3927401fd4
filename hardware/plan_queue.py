"""The plan in force and the one that waits for its start: acceptance, take-over, expiry."""

from __future__ import annotations

import numpy as np

from .config import BridgeConfig
from .interface import ArmPlan, Array
from .trajectory import sample_plan, sample_step

_SAME_TIME = 1e-8
"""Two times that differ by less are one [s]: a float64 of 10^7 s resolves 2e-9 s."""

_SAME_PHASE = 1e-5
"""Phases of a plan that differ by less are one [s]: at 2 rad/s this is 20 microradian."""

_DT_RANGE = (1e-4, 60.0)
"""Spacing of knots that makes sense [s]; beyond it the arithmetic of phases would overflow."""

_MAX_AGE_S = 60.0
"""A plan whose first knot lies further back than this is not meant for now [s]."""


class PlanQueue:
    """Latest plan wins; the plan in force stays until a successor starts or it expires itself.

    Args:
        joint_names: joints and order of the arm.
        config: ages and distances allowed.
    """

    def __init__(self, joint_names: tuple[str, ...], config: BridgeConfig) -> None:
        self._names, self._config = joint_names, config
        self._current: ArmPlan | None = None
        self._pending: ArmPlan | None = None
        self._last_id = -1
        self._tau = self._ends = 0.0
        self._warm_up()

    def _warm_up(self) -> None:
        """Compile, or load, what samples a plan: no tick has the time."""
        knots = np.zeros((2, len(self._names)))
        plan = ArmPlan(0, 0.0, 1.0, knots, 1.0, self._names, knots)
        sample_plan(plan, 0.5)
        sample_step(plan, 0.5, 0.1)

    @property
    def plan_id(self) -> int:
        """Plan in force, -1 for none."""
        return -1 if self._current is None else self._current.plan_id

    @property
    def waiting(self) -> bool:
        """Whether a plan waits for its start."""
        return self._pending is not None

    def restart(self) -> None:
        """Forget both plans, and let numbers begin anew."""
        self.clear()
        self._last_id = -1

    def clear(self) -> None:
        """Forget both plans; their numbers stay used."""
        self._current = self._pending = None

    def drop_current(self) -> None:
        """Forget the plan in force; a waiting one may still start."""
        self._current = None

    def offer(self, plan: ArmPlan, now: float, seen_at: float | None) -> str | None:
        """Check a plan on arrival and let it wait for its start.

        Args:
            plan: the plan; its arrays were checked when it was made.
            now: time [s].
            seen_at: when the observation it rests on was taken [s], None when that is unknown.

        Returns:
            why it is refused, or None.
        """
        config = self._config
        if plan.joint_names != self._names:
            return f"joints {list(plan.joint_names)}, the arm has {list(self._names)}, in this order"
        if plan.plan_id <= self._last_id:
            return f"not newer than plan {self._last_id}; number plans upwards"
        low, high = _DT_RANGE
        if not low <= plan.dt <= high:
            return f"knots are spaced by {plan.dt:g} s, allowed [{low:g}, {high:g}] s"
        if now - plan.t0 > _MAX_AGE_S:
            return f"started {now - plan.t0:.6g} s ago, allowed {_MAX_AGE_S:g} s; give a later t0"
        if plan.expires_at <= now:
            return f"expired {now - plan.expires_at:.3f} s ago; plan faster or give a longer validity"
        if plan.valid_until - now > config.max_validity_s:
            return f"valid for {plan.valid_until - now:.3f} s, allowed {config.max_validity_s:g} s"
        if plan.t0 - now > config.max_lead_s:
            return f"starts in {plan.t0 - now:.3f} s, allowed {config.max_lead_s:g} s"
        if plan.obs_seq >= 0 and (seen_at is None or now - seen_at > config.max_obs_age_s):
            age = "unknown" if seen_at is None else f"{now - seen_at:.3f} s"
            return f"rests on observation {plan.obs_seq} of age {age}, allowed {config.max_obs_age_s:g} s"
        self._pending, self._last_id = plan, plan.plan_id
        return None

    def activate(self, now: float, command: Array, reach: float) -> tuple[float | None, str | None]:
        """Let the waiting plan take over when its time has come.

        Args:
            now: time [s].
            command: present command (n,) [rad].
            reach: how far from it a plan may start [rad].

        Returns:
            how far from the command it starts [rad] if it took over, and why it was refused (the old plan then stays in
            force).
        """
        plan = self._pending
        if plan is None or plan.t0 > now + _SAME_TIME:
            return None, None
        self._pending = None
        jump = np.abs(sample_plan(plan, now - plan.t0)[0] - command)
        worst = int(np.argmax(jump))
        if not jump[worst] <= reach:  # NaN is refused as well
            return None, (
                f"plan {plan.plan_id}: joint '{self._names[worst]}' starts {jump[worst]:.3f} rad from the "
                f"command, allowed {reach:g} rad; plan from the present command"
            )
        self._tau = self._phase(plan, now) - self._config.dt
        self._current, self._ends = plan, plan.expires_at - _SAME_TIME
        return float(jump[worst]), None

    def _phase(self, plan: ArmPlan, now: float) -> float:
        # Successive plans on one grid of knots, as a controller makes them, join without rounding: float64
        # times shift one against the other by nanoseconds, and a plan at full acceleration has no room.
        old = self._current
        if old is not None:
            knots = round((plan.t0 - old.t0) / plan.dt)
            tau = self._tau + self._config.dt - knots * plan.dt
            if abs(tau - (now - plan.t0)) < _SAME_PHASE:
                return tau
        return now - plan.t0

    def gripper(self, now: float) -> float | None:
        """Opening that the plan in force asks for, 0 to 1; None where it says nothing."""
        plan = self._current
        if plan is None or plan.gripper is None:
            return None
        knots = np.arange(plan.horizon) * plan.dt
        return float(np.interp(now - plan.t0, knots, plan.gripper))

    def expired(self, now: float) -> bool:
        """Whether the plan in force has run out."""
        return self._current is not None and now >= self._ends

    def target(self, now: float) -> tuple[Array, Array]:
        """Sample the plan in force: position (n,) [rad] and mean velocity over the tick (n,) [rad/s].

        Ticks that follow one another are spaced by exactly one period even where float64 time stamps are not:
        a nanosecond of noise would read as 1e-4 rad/s^2.
        """
        plan, dt = self._current, self._config.dt
        if plan is None:
            raise ValueError("no plan is in force; sample only while one is followed")
        tau = self._tau + dt
        if abs(tau - (now - plan.t0)) > _SAME_PHASE:
            tau = now - plan.t0
        self._tau = tau
        return sample_step(plan, tau, dt)
