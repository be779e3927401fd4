"""The safety filter: the last stage before the driver. Deterministic, no learned part.

Let q_k be the applied command of tick k, T the tick, v_k = (q_k - q_k-1) / T and A = ddq_max T. For ANY
request the filter applies a command with |v_k| <= dq_max, |v_k - v_k-1| <= A and q_min <= q_k <= q_max, and
where there is a jerk limit with bounded changes of v_k - v_k-1 as well (``joint_law``). Without one, position
holds by induction: each v_k is also capped such that the discrete stop v_k - A, v_k - 2A, .. 0 fits inside the
limits; hence the first step of that stop is admissible at the next tick, whatever is asked.

A request that keeps the limits passes unchanged: any curve with bounded speed and acceleration has first and
second differences within the same bounds.

The filter also holds the stop that follows its last command, pose by pose down to rest (``stop_path``); laid out only
where its extremes do not prove it clear already. A
command is taken only after it and the stop behind it were checked as a whole: position, speed, acceleration,
and with a ``Guard`` workspace, speed of points and collision. Where the check fails, a command nearer to
braking is tried, and last the stored stop goes on, which was checked before. So whatever comes, there is a
checked way to rest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import NonFinite, ShapeMismatch
from .guard import Guard
from .interface import Array, Reason
from .joint_law import SLACK, JointLaw, Step
from .limits import JointLimits
from .trajectory import TICK_TOLERANCE, braking_time

REPORT_TOLERANCE = 1e-6
"""Deviation that counts as an intervention [rad]; a 16-bit encoder resolves 1e-4 rad."""

_EASED = np.array([0.75, 0.5, 0.25])
"""Shares of the wanted change, from braking to the request, that are tried where the whole of it may not be."""

_ROUNDING = 1e-9
"""What rounding may add to a position [rad] or, as a share, to a speed."""


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
        jerk = np.full(limits.n, np.inf) if limits.dddq_max is None else limits.dddq_max
        columns = (limits.q_min, limits.q_max, limits.dq_max, limits.ddq_max, jerk)
        rows = np.stack(columns, axis=1).tolist()
        self._laws = [JointLaw(low, high, v, a, j, self.dt) for low, high, v, a, j in rows]
        self._jerky = any(law.jerky for law in self._laws)
        # Without a jerk limit the poses of a stop are a ladder, laid out in less time than its extremes take.
        self._by_extremes = self._jerky
        self._jolt_max = np.array([law.jolt_max for law in self._laws])
        self._step = limits.ddq_max * self.dt
        self._most_v = limits.dq_max * SLACK * (1.0 + _ROUNDING)
        self._most_step = self._step * SLACK * (1.0 + _ROUNDING)
        self._still = TICK_TOLERANCE * self._step
        self._q: Array | None = None
        self._v: Array = np.zeros(limits.n)
        self._u: Array = np.zeros(limits.n)
        self._last: tuple[list[float], list[float]] = ([], [])
        self._ladder: Array = np.zeros((0, limits.n))
        # Command, its speed and the speed before, where the stop behind them is not laid out yet.
        self._stop_of: tuple[Array, Array, Array] | None = None
        self._laid_out: Array = np.zeros((0, 2, limits.n))

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
        self._v, self._u = np.zeros_like(array), np.zeros_like(array)
        self._last = array.reshape(-1).tolist(), [0.0] * array.size
        self._stop_of, self._laid_out = None, np.zeros((0, *array.shape[:-1], 2, self.limits.n))

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
        return bool((np.abs(self._v) <= self._still).all() and (np.abs(self._u) <= self._jolt_max).all())

    @property
    def stop_path(self) -> Array:
        """The stop in store, checked as a whole: poses of the ticks to come down to rest (ticks, ..., n) [rad]."""
        return np.asarray(self._stop[..., 0, :])

    @property
    def stopping_time(self) -> float:
        """Time that a stop from the present command takes [s]."""
        if self._jerky:
            return len(self._stop) * self.dt
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
        q, v = self.q, self._v
        r = _as_array(request)
        w = None if velocity is None else _as_array(velocity)
        if r is None or r.shape != q.shape or (velocity is not None and (w is None or w.shape != q.shape)):
            return self._braked(Reason.STRUCTURE)
        asked = r.reshape(-1).tolist()
        speeds: list[Any] = [None] * len(asked) if w is None else w.reshape(-1).tolist()
        bad = None
        if not (all(map(math.isfinite, asked)) and (w is None or all(map(math.isfinite, speeds)))):
            bad = ~np.isfinite(r).all(axis=-1, keepdims=True)
            if w is not None:
                bad |= ~np.isfinite(w).all(axis=-1, keepdims=True)
            if bad.all():
                return self._braked(Reason.NONFINITE)
            asked = np.where(bad, q, r).reshape(-1).tolist()
            speeds = speeds if w is None else np.where(bad, 0.0, w).reshape(-1).tolist()

        share = min(speed_scale, 1.0) if speed_scale > 0.0 else 0.0
        now = (q.reshape(-1).tolist(), v.reshape(-1).tolist(), self._u.reshape(-1).tolist())
        laws = self._laws * (len(asked) // len(self._laws))
        steps = [law.advance(*x, share) for law, *x in zip(laws, *now, asked, speeds, *self._last, strict=True)]
        q_new = np.array([step.q for step in steps]).reshape(q.shape)
        v_new = np.array([step.v for step in steps]).reshape(q.shape)
        if bad is not None:
            back = self._stored()[0]
            q_new, v_new = np.where(bad, back[..., 0, :], q_new), np.where(bad, back[..., 1, :], v_new)
        if self._by_extremes and q.ndim == 1 and not (self.guard and self.guard.looked) and self._proven(steps, *now):
            why = None
            self._q, self._v, self._u, self._stop_of = q_new, v_new, v_new - v, (q_new, v_new, v)
        else:
            why = self._commit(q_new, v_new)
            q_new, v_new = self.q, self._v

        reasons = np.zeros(q.shape, dtype=np.uint32)
        off = np.abs(q_new - (r if bad is None else np.where(bad, q, r))) > self.report_tolerance
        if off.any():
            flat = reasons.reshape(-1)
            for i in np.flatnonzero(off).tolist():
                flat[i] = _reason(laws[i], steps[i], now[1][i], now[2][i], share)
        if why is not None:
            reasons = reasons | why[..., None]
        targets = [step.target for step in steps]
        if bad is not None:
            reasons = np.where(bad, np.uint32(Reason.NONFINITE | Reason.BRAKE), reasons)
            targets = np.where(bad, q_new, np.array(targets).reshape(q.shape)).reshape(-1).tolist()
        self._last = targets, [step.w for step in steps]
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
        self._last = q.reshape(-1).tolist(), v.reshape(-1).tolist()
        return FilterOutput(q, v, np.array(np.broadcast_to(bits, q.shape)))

    # The stop in store
    # -------------------------------------------------------------------------------------------

    @property
    def _stop(self) -> Array:
        if self._stop_of is not None:
            self._laid_out = self._motion(*self._stop_of)[1:]
            self._stop_of = None
        return self._laid_out

    def _stored(self) -> Array:
        """The stop in store (ticks, ..., 2, n), at least the present pose."""
        return self._stop if len(self._stop) else np.stack([self.q, np.zeros_like(self.q)], axis=-2)[None]

    def _take(self, motion: Array) -> None:
        """Make the first row the command, and what follows the stop in store."""
        q, v = self.q, motion[0, ..., 1, :]
        # The clip takes off what rounding put on: the row was checked.
        lo, hi = np.minimum(self.limits.q_min, q), np.maximum(self.limits.q_max, q)
        self._q = np.minimum(np.maximum(motion[0, ..., 0, :], lo), hi)
        self._u = v - self._v
        self._v, self._stop_of, self._laid_out = v, None, motion[1:]

    def _motion(self, q: Array, v: Array, before: Array) -> Array:
        """A command (..., n), after the speed `before`, and its stop: positions and speeds (1 + ticks, ..., 2, n)."""
        if self._jerky:
            speeds_of = self._speeds(v, v - before)
            motion = np.empty((len(speeds_of), *v.shape[:-1], 2, v.shape[-1]))
            path, speeds = motion[..., 0, :], motion[..., 1, :]
            speeds[:] = speeds_of
        else:
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

    def _speeds(self, v: Array, u: Array) -> Array:
        """Speeds of commands (..., n), changed by u, and of their stops with bounded jerk (1 + ticks, ..., n)."""
        laws = self._laws * (v.size // len(self._laws))
        stops = [
            law.stop(a, b) for law, a, b in zip(laws, v.reshape(-1).tolist(), u.reshape(-1).tolist(), strict=True)
        ]
        speeds = np.zeros((1 + max(map(len, stops)), v.size))
        speeds[0] = v.reshape(-1)
        for i, stop in enumerate(stops):
            speeds[1 : len(stop) + 1, i] = stop
        return speeds.reshape(-1, *v.shape)

    def _commit(self, q: Array, v: Array) -> NDArray[np.uint32] | None:
        """Take a command if it and its stop pass, else one nearer to braking, else the stop in store.

        Returns:
            why it is not the command asked for (...), None where it is.
        """
        motion = self._motion(q, v, self._v)
        why = self._objections(self.q, self._v, self._u, motion)
        if not why.any():
            self._take(motion)
            return None
        n, shape = self.limits.n, q.shape
        held = np.flatnonzero(why)
        motion, stored = (x.reshape(len(x), -1, 2, n) for x in (motion, self._stored()))
        stored = stored[:, held]
        now_q, now_v, now_u = (x.reshape(-1, n)[held] for x in (self.q, self._v, self._u))
        low, high = np.minimum(self.limits.q_min, now_q), np.maximum(self.limits.q_max, now_q)
        back = stored[0, :, 1]
        eased = back + _EASED[:, None, None] * (motion[0, held, 1] - back)  # (shares, held, n)
        tried = self._motion(np.minimum(np.maximum(now_q + eased * self.dt, low), high), eased, now_v)
        passed = self._objections(now_q, now_v, now_u, tried) == 0
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

    def _objections(self, q: Array, v: Array, u: Array, motion: Array) -> NDArray[np.uint32]:
        """Why a motion (ticks, ..., 2, n) may not follow pose, speed and change of speed (..., n): bits (...)."""
        path, speeds = motion[..., 0, :], motion[..., 1, :]
        turn = speeds[0] - v
        if self._jerky:  # the stop may go on a little before it turns, faster and further
            fastest, low, high = np.abs(speeds).max(axis=0), path.min(axis=0), path.max(axis=0)
            jolted = np.abs(turn - u) > self._jolt_max * (1.0 + _ROUNDING)
        else:  # it only brakes: its ends are its extremes
            fastest, low, high = np.abs(speeds[0]), np.minimum(path[0], path[-1]), np.maximum(path[0], path[-1])
            jolted = np.zeros((), dtype=bool)
        hi = np.maximum(self.limits.q_max, q) + _ROUNDING
        lo = np.minimum(self.limits.q_min, q) - _ROUNDING
        fast, hard = fastest > self._most_v, np.abs(turn) > self._most_step
        beyond = (high > hi) | (low < lo)
        found = np.zeros(path.shape[1:-1], dtype=np.uint32)
        if (fast | hard | beyond | jolted).any():
            for broken, reason in (
                (fast, Reason.VELOCITY),
                (hard, Reason.ACCELERATION),
                (jolted, Reason.JERK),
                (beyond, Reason.POSITION),
            ):
                if broken.any():
                    found |= np.where(broken.any(axis=-1), np.uint32(reason), np.uint32(0))
        if self.guard is None:
            return found
        here = q if q.shape == path.shape[1:] else np.broadcast_to(q, path.shape[1:])
        return found | self.guard.check(here, path)

    def _proven(self, steps: list[Step], q: list[float], v: list[float], u: list[float]) -> bool:
        """Whether commands of the joints of one arm and their stops are clear, as far as their extremes tell.

        What this proves ``_objections`` finds nothing against: nobody needs the stop pose by pose, until it runs.
        """
        dt, extremes, slack = self.dt, [], 1.0 + _ROUNDING
        for law, step, q_now, v_now, u_now in zip(self._laws, steps, q, v, u, strict=True):
            turn = step.v - v_now
            slowest, fastest, low, high = law.course(step.v, turn)
            low, high = low + step.q, high + step.q
            if not (
                law.q_min <= low
                and high <= law.q_max
                and max(fastest, -slowest) <= law.v_max * slack
                and abs(turn) <= law.step_max * slack
                and abs(turn - u_now) <= law.jolt_max * slack
            ):
                return False
            extremes.append((min(low, q_now), max(high, q_now), slowest * dt, fastest * dt))
        return self.guard is None or self.guard.prove(self.q, *np.array(extremes).T)


def _reason(law: JointLaw, step: Step, v: float, u: float, share: float) -> int:
    """Why the command of a joint is not the request."""
    bits = Reason.NONE
    change = step.direct - v
    if abs(step.direct) > law.v_max:
        bits |= Reason.VELOCITY
    if share < 1.0 and abs(step.want) > law.v_max * share:
        bits |= Reason.SLOWED
    if abs(change) > law.step_max:
        bits |= Reason.ACCELERATION
    if abs(change - u) > law.jolt_max:
        bits |= Reason.JERK
    if step.outside:
        bits |= Reason.POSITION
    return int(bits or Reason.CATCH_UP)


def _lengthened(motion: Array, ticks: int) -> Array:
    """Let a motion (k, ..., 2, n) stay at its end, up to a number of ticks."""
    return np.concatenate([motion, np.repeat(motion[-1:], ticks - len(motion), axis=0)])


def _as_array(value: ArrayLike) -> Array | None:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
