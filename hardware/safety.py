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
workspace, speed of points and collision. Where the check fails, a command nearer to
braking is tried, and last the stored stop goes on, which was checked before. So whatever comes, there is a
checked way to rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import joint_law
from .errors import NonFinite, ShapeMismatch
from .guard import Guard
from .interface import Array, Reason
from .joint_law import TICK_TOLERANCE, advance, broken, laws_of, lay_out, lay_out_eased, settle
from .limits import JointLimits

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


class Motion(NamedTuple):
    """Poses and speeds, one per tick: both (ticks, ..., n) [rad], [rad/s]."""

    q: Array
    v: Array


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
        self._laws = laws_of(limits, self.dt)
        self._still = TICK_TOLERANCE * self._laws["step"]
        self._q: Array | None = None
        self._start(np.zeros(limits.n))
        self._warm_up()

    def _warm_up(self) -> None:
        """Compile, or load, all that a tick may need: it takes seconds, which no tick has."""
        pose = np.clip(0.0, self.limits.q_min, self.limits.q_max)
        self.reset(pose)
        self.step(pose + 1.0, np.zeros(self.limits.n))
        self.brake()
        self._commit(pose + 1.0, 2.0 * self.limits.dq_max)
        if self.guard is not None:
            self.guard.too_close(pose)
        self._q = None

    def reset(self, q: ArrayLike) -> None:
        """Seed with a measured pose (..., n) [rad], at rest.

        A pose outside the limits is accepted as it is; from there only motion inwards is let through.
        """
        array = np.array(q, dtype=np.float64, order="C")
        if array.shape[-1:] != (self.limits.n,):
            raise ShapeMismatch(f"seed pose has shape {array.shape}, expected (..., {self.limits.n})")
        if not np.isfinite(array).all():
            raise NonFinite("seed pose has non-finite entries; enable only on a valid measurement")
        self._start(array)
        self._q = array

    def _start(self, q: Array) -> None:
        self._v, self._u = np.zeros_like(q), np.zeros_like(q)
        self._last_target, self._last_w = q, np.zeros_like(q)
        self._stop = Motion(np.zeros((0, *q.shape)), np.zeros((0, *q.shape)))

    @property
    def q(self) -> Array:
        """Last applied command (..., n) [rad]."""
        if self._q is None:
            raise ValueError("the filter has no pose yet; call reset(q) with a fresh measurement first")
        return self._q

    @property
    def dq(self) -> Array:
        """Velocity of the last applied command (..., n) [rad/s]."""
        return self._v

    @property
    def at_rest(self) -> bool:
        """Whether the command stands still."""
        return bool((np.abs(self._v) <= self._still).all() and (np.abs(self._u) <= self._laws["jolt_max"]).all())

    @property
    def stop_path(self) -> Array:
        """The stop in store, checked as a whole: poses of the ticks to come down to rest (ticks, ..., n) [rad]."""
        return self._stop.q

    @property
    def stopping_time(self) -> float:
        """Time that a stop from the present command takes at most [s]."""
        return len(self._stop.q) * self.dt

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
        q, n = self.q, self.limits.n
        r = _as_array(request)
        w = np.full(q.shape, np.nan) if velocity is None else _as_array(velocity)
        if r is None or w is None or r.shape != q.shape or w.shape != q.shape:
            return self._braked(Reason.STRUCTURE)
        bad = ~np.isfinite(r).all(axis=-1, keepdims=True)
        if velocity is not None:
            bad |= ~np.isfinite(w).all(axis=-1, keepdims=True)
        any_bad = bool(bad.any())
        if any_bad:
            if bad.all():
                return self._braked(Reason.NONFINITE)
            r, w = np.where(bad, q, r), np.where(bad, 0.0, w)

        share = min(float(speed_scale), 1.0) if speed_scale > 0.0 else 0.0
        now = q.reshape(-1, n), self._v.reshape(-1, n), self._u.reshape(-1, n)
        last = self._last_target.reshape(-1, n), self._last_w.reshape(-1, n)
        *found, bits = advance(self._laws, *now, r.reshape(-1, n), w.reshape(-1, n), *last, share)
        q_new, v_new, target, w_new = (x.reshape(q.shape) for x in found)
        if any_bad:
            back = self._stored()
            q_new, v_new = np.where(bad, back.q[0], q_new), np.where(bad, back.v[0], v_new)
        why = self._commit(q_new, v_new)
        q_new, v_new = self.q, self._v

        off = np.abs(q_new - r) > self.report_tolerance
        reasons = np.where(off, _REASON_OF[bits].reshape(q.shape), np.uint32(0))
        if why is not None:
            reasons |= why[..., None]
        if any_bad:
            reasons = np.where(bad, np.uint32(Reason.NONFINITE | Reason.BRAKE), reasons)
            target = np.where(bad, q_new, target)
        self._last_target, self._last_w = target, w_new
        return FilterOutput(q_new, v_new, reasons)

    def brake(self) -> FilterOutput:
        """Take one tick of the stop that is in store: each joint brakes at its own limit."""
        return self._braked(Reason.BRAKE)

    def _braked(self, reason: Reason) -> FilterOutput:
        moving = (np.abs(self._v) > self._still).any(axis=-1, keepdims=True)
        always = bool(reason & ~Reason.BRAKE)
        bits = np.where(always | moving, np.uint32(reason | Reason.BRAKE), np.uint32(0))
        self._take(self._stored())
        q, v = self.q, self._v
        self._last_target, self._last_w = q, v
        return FilterOutput(q, v, np.array(np.broadcast_to(bits, q.shape)))

    # The stop in store
    # -------------------------------------------------------------------------------------------

    def _stored(self) -> Motion:
        """The stop in store, at least the present pose."""
        return self._stop if len(self._stop.q) else Motion(self.q[None], np.zeros_like(self.q)[None])

    def _take(self, motion: Motion) -> None:
        """Make the first row the command, and what follows the stop in store."""
        q, v = self.q, motion.v[0]
        # The clip takes off what rounding put on: the row was checked.
        lo, hi = np.minimum(self.limits.q_min, q), np.maximum(self.limits.q_max, q)
        self._q = np.minimum(np.maximum(motion.q[0], lo), hi)
        self._u, self._v = v - self._v, v
        self._stop = Motion(motion.q[1:], motion.v[1:])

    def _commit(self, q: Array, v: Array) -> NDArray[np.uint32] | None:
        """Take a command if it and its stop pass, else one nearer to braking, else the stop in store.

        Returns:
            why it is not the command asked for (...), None where it is.
        """
        n, lead = self.limits.n, q.shape[:-1]
        now = self.q.reshape(-1, n), self._v.reshape(-1, n), self._u.reshape(-1, n)
        motion = Motion(*lay_out(self._laws, q.reshape(-1, n), v.reshape(-1, n), now[1]))
        why = self._objections(*now, motion)
        if not why.any():
            self._take(_shaped(motion, lead))
            return None
        stop = Motion(*(x.reshape(len(x), -1, n) for x in self._stored()))
        eased = Motion(*lay_out_eased(self._laws, *now[:2], motion.v[0], stop.v[0], why, _EASED))
        *chosen, stops = settle(*motion, why, *eased, self._objections(*now, eased), *stop)
        self._take(_shaped(Motion(*chosen), lead))
        return np.where(stops, why | np.uint32(Reason.BRAKE), why).reshape(lead)

    def _objections(self, q: Array, v: Array, u: Array, motion: Motion) -> NDArray[np.uint32]:
        """Why motions (ticks, ways * arms, n) may not follow poses, speeds and changes of speed (arms, n).

        Returns:
            bits (ways * arms,), 0 for none; ways of an arm after one that passes are not looked at.
        """
        found = _REASON_OF[broken(self._laws, q, v, u, *motion)]
        return found if self.guard is None else self.guard.first_clear(q, motion.q, found)


def _shaped(motion: Motion, lead: tuple[int, ...]) -> Motion:
    return Motion(*(x.reshape(len(x), *lead, x.shape[-1]) for x in motion))


def _as_array(value: ArrayLike) -> Array | None:
    """A copy in the one memory layout that the compiled functions know."""
    try:
        return np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        return None
