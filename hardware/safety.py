"""The safety filter: the last stage before the driver. Deterministic, no learned part.

Let q_k be the applied command of tick k, T the tick, v_k = (q_k - q_k-1) / T and A = ddq_max T. For ANY
request the filter applies a command with |v_k| <= dq_max, |v_k - v_k-1| <= A and q_min <= q_k <= q_max.
Position holds by induction: each v_k is also capped such that the discrete stop v_k - A, v_k - 2A, .. 0
fits inside the limits (``trajectory.stoppable_speed``); hence the first step of that stop is admissible at
the next tick, whatever is asked.

A request that keeps the limits passes unchanged: any curve with bounded speed and acceleration has first and
second differences within the same bounds.

The filter also holds the stop that follows its last command, pose by pose down to rest (``stop_path``). A
command is taken only after it and the stop behind it were checked as a whole: position, speed, acceleration,
and with a ``Guard`` workspace, speed of points and collision. Where the check fails, a command nearer to
braking is tried, and last the stored stop goes on, which was checked before. So whatever comes, there is a
checked way to rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import NonFinite, ShapeMismatch
from .guard import Guard
from .interface import Array, Reason
from .limits import JointLimits
from .trajectory import TICK_TOLERANCE, braking_time, stoppable_speed

REPORT_TOLERANCE = 1e-6
"""Deviation that counts as an intervention [rad]; a 16-bit encoder resolves 1e-4 rad."""

CATCH_UP_S = 0.05
"""Time constant with which the last of a gap to the target is closed [s]."""

_JOIN = 1e-9
"""Gap that counts as none [rad]."""

_EASED = np.array([0.75, 0.5, 0.25])
"""Shares of the wanted change, from braking to the request, that are tried where the whole of it may not be."""

_ROUNDING = 1e-9
"""What rounding may add to a position [rad] or, as a share, to a speed."""

_SLACK = 1.0 + 5e-10
"""Speed and acceleration hold to this factor: a plan on a limit passes in spite of its rounding."""


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
        self._step = limits.ddq_max * self.dt
        self._step_max, self._v_max = self._step * _SLACK, limits.dq_max * _SLACK
        self._tau = max(CATCH_UP_S, 4.0 * self.dt)
        self._seam = 0.5 * self._step * self.dt * _SLACK
        self._q: Array | None = None
        self._v: Array = np.zeros(limits.n)
        self._last_target: Array = np.zeros(limits.n)
        self._last_w: Array = np.zeros(limits.n)
        self._ladder: Array = np.zeros((0, limits.n))
        self._stop: Array = np.zeros((0, 2, limits.n))

    def reset(self, q: ArrayLike) -> None:
        """Seed with a measured pose (..., n) [rad], at rest.

        A pose outside the limits is accepted as it is; from there only motion inwards is let through.
        """
        array = np.array(q, dtype=np.float64)
        if array.shape[-1:] != (self.limits.n,):
            raise ShapeMismatch(f"seed pose has shape {array.shape}, expected (..., {self.limits.n})")
        if not np.isfinite(array).all():
            raise NonFinite("seed pose has non-finite entries; enable only on a valid measurement")
        self._q = array
        self._v = np.zeros_like(array)
        self._last_target, self._last_w = array.copy(), np.zeros_like(array)
        self._stop = np.zeros((0, *array.shape[:-1], 2, self.limits.n))

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
        return bool((np.abs(self._v) <= TICK_TOLERANCE * self._step).all())

    @property
    def stop_path(self) -> Array:
        """The stop in store, checked as a whole: poses of the ticks to come down to rest (ticks, ..., n) [rad]."""
        return np.asarray(self._stop[..., 0, :])

    @property
    def stopping_time(self) -> float:
        """Time that a stop from the present command takes [s]."""
        return braking_time(self._v, self.limits.ddq_max, self.dt)

    def step(
        self, request: ArrayLike, velocity: ArrayLike | None = None, speed_scale: float = 1.0
    ) -> FilterOutput:
        """Apply the admissible command closest in purpose to the request.

        A gap to the target, after a jump or a limited stretch, is closed in the frame that moves with the
        target, at a speed that can be braked with half of the acceleration the target leaves over: so the
        command ends on the target with the target's velocity instead of swinging around it.

        Args:
            request: position asked for (..., n) [rad]; anything malformed is answered by braking.
            velocity: mean velocity of the target over this tick (..., n) [rad/s]; None takes the last
                request's step.
            speed_scale: share of the speed limits that may be used, 0 to 1; more counts as 1, no number as 0. A
                command that is faster already brakes at its acceleration limit until it is not.
        """
        q, v, dt = self.q, self._v, self.dt
        r = _as_array(request)
        w = None if velocity is None else _as_array(velocity)
        if r is None or r.shape != q.shape or (velocity is not None and (w is None or w.shape != q.shape)):
            return self._braked(Reason.STRUCTURE)
        bad = ~np.isfinite(r).all(axis=-1, keepdims=True)
        if w is not None:
            bad |= ~np.isfinite(w).all(axis=-1, keepdims=True)
        any_bad = bool(bad.any())
        if any_bad:
            if bad.all():
                return self._braked(Reason.NONFINITE)
            r = np.where(bad, q, r)
            w = None if w is None else np.where(bad, 0.0, w)

        limits, step = self.limits, self._step
        v_max = self._v_max * (min(speed_scale, 1.0) if speed_scale > 0.0 else 0.0)
        q_hi, q_lo = np.maximum(limits.q_max, q), np.minimum(limits.q_min, q)
        target = np.minimum(np.maximum(r, q_lo), q_hi)
        # A far target must not overflow the arithmetic, hence the clip before the difference.
        w = (target - self._last_target) / dt if w is None else w
        w = np.minimum(np.maximum(w, -v_max), v_max)
        direct = (target - q) / dt
        gap = target - w * dt - q
        # On the target, or as good as that, it is followed directly. A new plan that begins within the tick
        # has a mean velocity of its own: the seam it makes is at most half a tick of acceleration wide.
        on_target = np.abs(self._last_target - q) <= _JOIN
        follow = (np.abs(gap) <= _JOIN) | (on_target & (np.abs(gap) <= self._seam))
        want = np.where(follow, direct, w + self._closing_speed(gap, (w - self._last_w) / dt))

        brake = np.sign(v) * np.maximum(np.abs(v) - step, 0.0)
        room_hi = stoppable_speed(q_hi - q, limits.ddq_max, dt)
        room_lo = -stoppable_speed(q - q_lo, limits.ddq_max, dt)
        hi = np.maximum(np.minimum(np.minimum(v_max, v + self._step_max), room_hi), brake)
        lo = np.minimum(np.maximum(np.maximum(-v_max, v - self._step_max), room_lo), brake)
        v_new = np.minimum(np.maximum(want, lo), hi)
        if any_bad:
            v_new = np.where(bad, brake, v_new)
        q_new = np.where(v_new == direct, target, np.minimum(np.maximum(q + v_new * dt, q_lo), q_hi))
        why = self._commit(q_new, v_new, q_lo, q_hi)
        q_new, v_new = self.q, self._v

        reasons = np.zeros(q.shape, dtype=np.uint32)
        off = np.abs(q_new - r) > self.report_tolerance
        if off.any():
            reasons |= np.where(np.abs(direct) > self._v_max, Reason.VELOCITY, 0).astype(np.uint32)
            reasons |= np.where(np.abs(want) > v_max, Reason.SLOWED * (speed_scale != 1.0), 0).astype(np.uint32)
            reasons |= np.where(np.abs(direct - v) > self._step_max, Reason.ACCELERATION, 0).astype(np.uint32)
            outside = (target != r) | (want > room_hi) | (want < room_lo)
            reasons |= np.where(outside, Reason.POSITION, 0).astype(np.uint32)
            reasons = np.where(off, np.where(reasons == 0, Reason.CATCH_UP, reasons), 0).astype(np.uint32)
        if why is not None:
            reasons = reasons | why[..., None]
        if any_bad:
            reasons = np.where(bad, np.uint32(Reason.NONFINITE | Reason.BRAKE), reasons)
            target = np.where(bad, q_new, target)
        self._last_target, self._last_w = target, w
        return FilterOutput(q_new, v_new, reasons)

    def brake(self) -> FilterOutput:
        """Take one tick of the stop that is in store: each joint brakes at its own limit."""
        return self._braked(Reason.BRAKE)

    def _closing_speed(self, gap: Array, target_acceleration: Array) -> Array:
        side = np.sign(gap)
        spare = self.limits.ddq_max + side * target_acceleration
        brake = 0.5 * np.minimum(np.maximum(spare, 0.0), self.limits.ddq_max)
        size, corner = np.abs(gap), brake * self._tau**2
        fast = np.sqrt(2.0 * brake * np.maximum(size - 0.5 * corner, 0.0))
        return np.asarray(side * np.where(size < corner, size / self._tau, fast))

    def _braked(self, reason: Reason) -> FilterOutput:
        moving = (np.abs(self._v) > TICK_TOLERANCE * self._step).any(axis=-1, keepdims=True)
        always = bool(reason & ~Reason.BRAKE)
        bits = np.where(always | moving, np.uint32(reason | Reason.BRAKE), np.uint32(0))
        self._take(self._stored())
        q, v = self.q, self._v
        self._last_target, self._last_w = q, v
        return FilterOutput(q, v, np.array(np.broadcast_to(bits, q.shape)))

    # The stop in store
    # -------------------------------------------------------------------------------------------

    def _stored(self) -> Array:
        """The stop in store (ticks, ..., 2, n), at least the present pose."""
        return self._stop if len(self._stop) else np.stack([self.q, np.zeros_like(self.q)], axis=-2)[None]

    def _take(self, motion: Array) -> None:
        """Make the first row the command, and what follows the stop in store."""
        q = self.q
        lo, hi = np.minimum(self.limits.q_min, q), np.maximum(self.limits.q_max, q)
        # The clip takes off what rounding put on: the row was checked.
        self._q, self._v = np.minimum(np.maximum(motion[0, ..., 0, :], lo), hi), motion[0, ..., 1, :]
        self._stop = motion[1:]

    def _motion(self, q: Array, v: Array) -> Array:
        """A command (..., n) and the stop behind it: positions and velocities (1 + ticks, ..., 2, n)."""
        size = np.abs(v)
        ticks = math.ceil((size / self._step).max(initial=0.0) - TICK_TOLERANCE)
        if ticks >= len(self._ladder):  # what braking takes off after so many ticks
            self._ladder = np.arange(ticks + 1.0)[:, None] * self._step
        motion = np.empty((ticks + 1, *v.shape[:-1], 2, v.shape[-1]))
        path, speeds = motion[..., 0, :], motion[..., 1, :]
        np.subtract(size, self._ladder[: ticks + 1].reshape(-1, *[1] * (v.ndim - 1), v.shape[-1]), out=speeds)
        np.maximum(speeds, 0.0, out=speeds)
        speeds *= np.sign(v)
        path[0] = 0.0
        np.cumsum(speeds[1:], axis=0, out=path[1:])
        path *= self.dt
        path += q
        return motion

    def _commit(self, q: Array, v: Array, lo: Array, hi: Array) -> NDArray[np.uint32] | None:
        """Take a command if it and its stop pass, else one nearer to braking, else the stop in store.

        Returns:
            why it is not the command asked for (...), None where it is.
        """
        motion = self._motion(q, v)
        why = self._objections(self.q, self._v, motion, lo, hi)
        if not why.any():
            self._take(motion)
            return None
        n, shape = self.limits.n, q.shape
        held = np.flatnonzero(why)
        motion, stored = (x.reshape(len(x), -1, 2, n) for x in (motion, self._stored()))
        stored = stored[:, held]
        now_q, now_v, low, high = (x.reshape(-1, n)[held] for x in (self.q, self._v, lo, hi))
        back = stored[0, :, 1]
        eased = back + _EASED[:, None, None] * (motion[0, held, 1] - back)  # (shares, held, n)
        tried = self._motion(np.minimum(np.maximum(now_q + eased * self.dt, low), high), eased)
        passed = self._objections(now_q, now_v, tried, low, high) == 0
        some, share = passed.any(axis=0), passed.argmax(axis=0)
        tried = tried[:, share, np.arange(len(held))]
        ticks = max(len(motion), len(tried), len(stored))
        motion = _lengthened(motion, ticks)
        choice = some[:, None, None]
        motion[:, held] = np.where(choice, _lengthened(tried, ticks), _lengthened(stored, ticks))
        bits = why.reshape(-1).copy()
        bits[held[~some]] |= np.uint32(Reason.BRAKE)
        self._take(motion.reshape(ticks, *shape[:-1], 2, n))
        return bits.reshape(why.shape)

    def _objections(self, q: Array, v: Array, motion: Array, lo: Array, hi: Array) -> NDArray[np.uint32]:
        """Why a motion (ticks, ..., 2, n) may not follow pose and velocity (..., n): bits (...), 0 if it may."""
        path, speeds = motion[..., 0, :], motion[..., 1, :]
        found = np.zeros(path.shape[1:-1], dtype=np.uint32)
        for broken, reason in (
            (np.abs(speeds[0]) > self._v_max * (1.0 + _ROUNDING), Reason.VELOCITY),
            (np.abs(speeds[0] - v) > self._step_max * (1.0 + _ROUNDING), Reason.ACCELERATION),
            ((path.max(axis=0) > hi + _ROUNDING) | (path.min(axis=0) < lo - _ROUNDING), Reason.POSITION),
        ):
            if broken.any():
                found |= np.where(broken.any(axis=-1), np.uint32(reason), np.uint32(0))
        return found if self.guard is None else found | self.guard.check(np.broadcast_to(q, path.shape[1:]), path)


def _lengthened(motion: Array, ticks: int) -> Array:
    """Let a motion (k, ..., 2, n) stay at its end, up to a number of ticks."""
    return np.concatenate([motion, np.repeat(motion[-1:], ticks - len(motion), axis=0)])


def _as_array(value: ArrayLike) -> Array | None:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
