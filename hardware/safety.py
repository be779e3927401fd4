"""The safety filter: the last stage before the driver. Deterministic, no learned part.

Let q_k be the applied command of tick k, T the tick, v_k = (q_k - q_k-1) / T and A = ddq_max T. For ANY
request the filter applies a command with |v_k| <= dq_max, |v_k - v_k-1| <= A and q_min <= q_k <= q_max, and
where there is a jerk limit with bounded changes of v_k - v_k-1 as well (``joint_law``). Without one, position
holds by induction: each v_k is also capped such that the discrete stop v_k - A, v_k - 2A, .. 0 fits inside the
limits; hence the first step of that stop is admissible at the next tick, whatever is asked.

A request that keeps the limits passes unchanged: any curve with bounded speed and acceleration has first and
second differences within the same bounds.

The filter also holds the stop that follows its last command, pose by pose down to rest (``stop_path``). A command is
taken only after it and the stop behind it were checked as a whole: position, speed, acceleration, and with a ``Guard``
workspace, speed of points and collision. Where the check fails, a command nearer to braking is tried, and last the
stored stop goes on, which was checked before. So whatever comes, there is a checked way to rest. All of that is one
compiled function (``tick``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import joint_law
from .errors import NonFinite, ShapeMismatch
from .geometry import nothing_to_look_at
from .guard import Guard
from .interface import Array, Reason
from .joint_law import TICK_TOLERANCE, laws_of
from .limits import JointLimits
from .tick import Settings, State, tick_apart

REPORT_TOLERANCE = 1e-6
"""Deviation that counts as an intervention [rad]; a 16-bit encoder resolves 1e-4 rad."""

_EASED = np.array([0.75, 0.5, 0.25])
"""Shares of the wanted change, from braking to the request, that are tried where the whole of it may not be."""

_REASONS = (
    (joint_law.VELOCITY, Reason.VELOCITY),
    (joint_law.ACCELERATION, Reason.ACCELERATION),
    (joint_law.JERK, Reason.JERK),
    (joint_law.POSITION, Reason.POSITION),
    (joint_law.SLOWED, Reason.SLOWED),
    (joint_law.CATCH_UP, Reason.CATCH_UP),
)
_REASON_OF = np.array([sum(r for bit, r in _REASONS if bits & bit) for bits in range(64)], dtype=np.uint32)
"""``Reason`` bits of the bits of ``joint_law``."""


class FilterOutput(NamedTuple):
    """Command of one tick: position (..., n) [rad], velocity (..., n) [rad/s], reasons (..., n)."""

    q: Array
    dq: Array
    reasons: NDArray[np.uint32]


class SafetyFilter:
    """Make any stream of position requests safe to send.

    Leading axes are allowed everywhere (many independent arms at once), which the tests use.

    Args:
        limits: joint limits.
        dt: tick [s].
        report_tolerance: deviation from the request that is reported as an intervention [rad].
        guard: looks at obstacles, workspace and the speed of points; None leaves them out.
    """

    def __init__(
        self,
        limits: JointLimits,
        dt: float,
        report_tolerance: float = REPORT_TOLERANCE,
        guard: Guard | None = None,
    ) -> None:
        if not (np.isfinite(dt) and dt > 0.0):
            raise ValueError(f"filter tick {dt} s, must be finite and above 0 s")
        self.limits, self.guard = limits, guard
        self.dt = float(dt)
        self.report_tolerance = float(report_tolerance)
        laws = laws_of(limits, self.dt)
        looks = nothing_to_look_at(limits.n) if guard is None else guard.looks
        bits = np.uint32(Reason.NONFINITE), np.uint32(Reason.BRAKE)
        self._settings = Settings(laws, *looks, _EASED, _REASON_OF, *bits, self.report_tolerance).apart()
        self._still, self._jolt_max = TICK_TOLERANCE * laws["step"], np.array(laws["jolt_max"])
        self._state: State | None = None
        self._lead: tuple[int, ...] = ()
        self._warm_up()

    def _warm_up(self) -> None:
        """Compile, or load, all that a tick may need: it takes seconds, which no tick has."""
        self.reset(np.clip(0.0, self.limits.q_min, self.limits.q_max))
        self.step(self.q + 1.0)
        self.brake()
        if self.guard is not None:
            self.guard.too_close(self.q)
        self._state = None

    def reset(self, q: ArrayLike) -> None:
        """Seed with a measured pose (..., n) [rad], at rest.

        A pose outside the limits is accepted as it is; from there only motion inwards is let through.
        """
        array = np.array(q, dtype=np.float64, order="C")
        if array.shape[-1:] != (self.limits.n,):
            raise ShapeMismatch(f"seed pose has shape {array.shape}, expected (..., {self.limits.n})")
        if not np.isfinite(array).all():
            raise NonFinite("seed pose has non-finite entries; enable only on a valid measurement")
        q, self._lead = array.reshape(-1, self.limits.n), array.shape[:-1]
        still = np.zeros_like(q)
        suspects = np.full(len(q), -1)
        self._state = State(q, still, still, q, still, q[None].copy(), still[None].copy(), suspects)
        self._stopping = 0

    @property
    def q(self) -> Array:
        """Last applied command (..., n) [rad]."""
        return self._shaped(self._now.q)

    @property
    def dq(self) -> Array:
        """Velocity of the last applied command (..., n) [rad/s]."""
        return self._shaped(self._now.v)

    @property
    def _now(self) -> State:
        if self._state is None:
            raise ValueError("the filter has no pose yet; call reset(q) with a fresh measurement first")
        return self._state

    def _shaped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(*array.shape[:-2], *self._lead, array.shape[-1]) if self._lead else array[..., 0, :]

    @property
    def at_rest(self) -> bool:
        """Whether the command stands still."""
        now = self._now
        return bool((np.abs(now.v) <= self._still).all() and (np.abs(now.u) <= self._jolt_max).all())

    @property
    def stop_path(self) -> Array:
        """The stop in store, checked as a whole: poses of the ticks to come down to rest (ticks, ..., n) [rad]."""
        return self._shaped(self._now.path[: self._stopping])

    @property
    def stopping_time(self) -> float:
        """Time that a stop from the present command takes at most [s]."""
        return self._stopping * self.dt

    def step(
        self, request: ArrayLike, velocity: ArrayLike | None = None, speed_scale: float = 1.0
    ) -> FilterOutput:
        """Apply the admissible command nearest in purpose to the request (``joint_law.advance``).

        Args:
            request: position asked for (..., n) [rad]; anything malformed is answered by braking.
            velocity: mean velocity of the target over this tick (..., n) [rad/s]; None takes the last
                request's step.
            speed_scale: share of the speed limits that may be used, 0 to 1; more counts as 1, no number as 0. A
                command that is faster already brakes at its acceleration limit until it is not.
        """
        now, n = self._now, self.limits.n
        r = _as_array(request)
        w = np.empty_like(r) if velocity is None else _as_array(velocity)
        shape = (*self._lead, n)
        if r is None or w is None or r.shape != shape or w.shape != shape:
            return self._braked(Reason.STRUCTURE)
        share = min(float(speed_scale), 1.0) if speed_scale > 0.0 else 0.0
        parts = (*self._settings, *now, r.reshape(-1, n), w.reshape(-1, n), velocity is not None, share)
        q, v, target, speed, path, speeds, reasons = tick_apart(*parts)
        self._take(State(q, v, v - now.v, target, speed, path, speeds, now.suspects))
        return FilterOutput(self.q, self.dq, self._shaped(reasons))

    def rehearse(self) -> None:
        """Compute the next tick as if the target went on as it does; nothing comes of it but warm caches."""
        now, stopping = self._now, self._stopping
        self._state = now._replace(suspects=now.suspects.copy())
        try:
            self.step(self._shaped(now.target + now.w * self.dt), self._shaped(now.w))
        finally:
            self._state, self._stopping = now, stopping

    def brake(self) -> FilterOutput:
        """Take one tick of the stop that is in store: each joint brakes at its own limit."""
        return self._braked(Reason.BRAKE)

    def _braked(self, reason: Reason) -> FilterOutput:
        now = self._now
        moving = (np.abs(now.v) > self._still).any(axis=-1, keepdims=True)
        always = bool(reason & ~Reason.BRAKE)
        bits = np.where(always | moving, np.uint32(reason | Reason.BRAKE), np.uint32(0))
        # The clip takes off what rounding put on: the pose was checked.
        low, high = np.minimum(self.limits.q_min, now.q), np.maximum(self.limits.q_max, now.q)
        q, v = np.minimum(np.maximum(now.path[0], low), high), now.speeds[0].copy()
        self._take(State(q, v, v - now.v, q, v, now.path[1:], now.speeds[1:], now.suspects))
        reasons = np.array(np.broadcast_to(bits, q.shape))
        return FilterOutput(self.q, self.dq, self._shaped(reasons))

    def _take(self, state: State) -> None:
        """Go on from a state, whose stop may be over: then it is to stay where the command is."""
        self._stopping = len(state.path)
        if not self._stopping:
            state = state._replace(path=state.q[None].copy(), speeds=np.zeros_like(state.v)[None])
        self._state = state


def _as_array(value: ArrayLike) -> Array | None:
    """A copy in the one memory layout that the compiled functions know."""
    try:
        return np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        return None
