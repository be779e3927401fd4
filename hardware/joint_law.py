"""What one joint may do in the next tick, and how it comes to rest. Plain numbers: for seven joints that is faster.

With the tick T, speeds v_k = (q_k - q_k-1) / T and changes of speed u_k = v_k - v_k-1, the limits are |v_k| <= dq_max,
|u_k| <= A = ddq_max T and, where there is a jerk limit, |u_k - u_k-1| <= J = dddq_max T^2. A jerk limit of 2 A and
more binds nothing, for |u_k - u_k-1| <= 2 A anyway.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .trajectory import even_steps, stoppable_speed

CATCH_UP_S = 0.05
"""Time constant with which the last of a gap to the target is closed [s]."""

JOIN = 1e-9
"""Gap that counts as none [rad]."""

SLACK = 1.0 + 5e-10
"""Limits hold to this factor: a plan on a limit passes in spite of its rounding."""

_LANDED = 1e-13
"""Share of A that counts as no speed: what rounding leaves."""


class Step(NamedTuple):
    """One tick: command [rad] and speed [rad/s], and what led to it.

    ``target`` is the request inside the limits, ``w`` the speed of the target taken, ``direct`` the speed that would go
    there at once, ``want`` the speed wanted, ``outside`` whether a position limit stood in the way.
    """

    q: float
    v: float
    target: float
    w: float
    direct: float
    want: float
    outside: bool


class Course(NamedTuple):
    """A command and its stop: smallest and largest speed [rad/s], furthest ways from the command, 0 or below, and
    0 or above [rad]."""

    slowest: float
    fastest: float
    low: float
    high: float


class JointLaw:
    """The limits of one joint at one tick.

    Args:
        q_min, q_max: positions [rad].
        dq_max: speed [rad/s].
        ddq_max: acceleration [rad/s^2].
        dddq_max: jerk [rad/s^3], infinite for none.
        dt: tick [s].
    """

    def __init__(
        self, q_min: float, q_max: float, dq_max: float, ddq_max: float, dddq_max: float, dt: float
    ) -> None:
        self.q_min, self.q_max, self.ddq_max, self.dt = q_min, q_max, ddq_max, dt
        self.step = ddq_max * dt
        jolt = dddq_max * dt * dt
        self.jolt = jolt if jolt < 2.0 * self.step * (1.0 - 1e-9) else math.inf
        self.v_max, self.step_max, self.jolt_max = dq_max * SLACK, self.step * SLACK, self.jolt * SLACK
        self.jerky = math.isfinite(self.jolt)
        lag = (self.step / self.jolt + 1.0) * dt if self.jerky else 0.0
        self._lag = ddq_max * lag  # speed that is gained while the acceleration turns round
        self._tau = max(CATCH_UP_S, 4.0 * dt, 1.5 * lag)
        self._seam = 0.5 * self.step * dt * SLACK
        # Speed that landing from full braking takes, its first tick included.
        self._reserve = self._sum(self.step) if self.jerky else self.step

    def advance(
        self,
        q: float,
        v: float,
        u: float,
        request: float,
        w: float | None,
        last_target: float,
        last_w: float,
        share: float,
    ) -> Step:
        """Choose the admissible command nearest in purpose to a request.

        Args:
            q, v, u: last command [rad], its speed and its change of speed [rad/s].
            request: finite [rad].
            w: speed of the target [rad/s]; None takes that of the last tick.
            last_target, last_w: of the tick before.
            share: of the speed limit, 0 to 1.
        """
        dt, v_max = self.dt, self.v_max * share
        q_hi, q_lo = max(self.q_max, q), min(self.q_min, q)
        target = min(max(request, q_lo), q_hi)
        # A far target must not overflow the arithmetic, hence the clip before the difference.
        w = (target - last_target) / dt if w is None else w
        w = min(max(w, -v_max), v_max)
        direct = (target - q) / dt
        gap = target - w * dt - q
        # On the target, or as good as that, it is followed directly. A new plan that begins within the tick
        # has a mean velocity of its own: the seam it makes is at most half a tick of acceleration wide.
        away = abs(gap)
        follow = away <= JOIN or (away <= self._seam and abs(last_target - q) <= JOIN)
        want = direct if follow else w + self._closing_speed(gap, (w - last_w) / dt)
        room_hi, room_lo = self._room(q_hi - q), -self._room(q - q_lo)
        hi, lo = min(v_max, v + self.step_max, room_hi), max(-v_max, v - self.step_max, room_lo)
        brake = self.brake(v, u)
        if self.jerky:
            turn = v + u
            hi, lo = min(hi, turn + self.jolt_max), max(lo, turn - self.jolt_max)
            if not (follow and lo <= want <= hi):
                want_near = min(max(want, -v_max, room_lo), v_max, room_hi)
                change = self._landing(abs(want_near - v))
                new = v + math.copysign(min(change, self.step), want_near - v)
            else:
                new = want
        else:
            new = want
        hi, lo = max(hi, brake), min(lo, brake)
        new = min(max(new, lo), hi)
        q_new = target if new == direct else min(max(q + new * dt, q_lo), q_hi)
        return Step(q_new, new, target, w, direct, want, target != request or want > room_hi or want < room_lo)

    def brake(self, v: float, u: float) -> float:
        """Next speed of the fastest stop [rad/s]."""
        if not self.jerky:
            slower = abs(v) - self.step
            return math.copysign(slower, v) if slower > 0.0 else 0.0
        change = -math.copysign(min(self._landing(abs(v)), self.step), v)
        change = min(max(change, u - self.jolt), u + self.jolt)
        new = v + change
        return new if abs(new) > _LANDED * self.step else 0.0

    def stop(self, v: float, u: float) -> list[float]:
        """Speeds of the ticks of the fastest stop, down to rest, from which the speed 0 can stay [rad/s]."""
        speeds, at, ticks = self._stretches(v, u)
        if not ticks:
            return speeds
        v = speeds[at - 1] if at else v
        decrement = math.copysign(self.step, v)
        return speeds[:at] + [v - decrement * k for k in range(1, ticks + 1)] + speeds[at:]

    def course(self, v: float, u: float) -> Course:
        """How fast and how far a command of speed v, changed by u, and its stop go, without the stop tick by tick."""
        speeds, at, ticks = self._stretches(v, u)
        way = low = high = 0.0
        slowest = fastest = v
        for i, speed in enumerate(speeds):
            if i == at and ticks:
                way += ticks * v - math.copysign(0.5 * self.step * ticks * (ticks + 1), v)
                low, high = min(low, way), max(high, way)
            v = speed
            way += v
            low, high = min(low, way), max(high, way)
            slowest, fastest = min(slowest, v), max(fastest, v)
        return Course(slowest, fastest, low * self.dt, high * self.dt)

    def _stretches(self, v: float, u: float) -> tuple[list[float], int, int]:
        """The fastest stop: its speeds without the ticks of full braking, how many before these, how many these."""
        speeds: list[float] = []
        step, jolt, reserve = self.step, self.jolt, self._reserve
        still, landed, at, braked = jolt * SLACK, _LANDED * step, 0, 0
        while v != 0.0 or abs(u) > still:
            side, size = math.copysign(1.0, v), abs(v)
            if u == -side * step and size > reserve + step:  # full braking for a while
                at, braked = len(speeds), int((size - reserve) / step)
                v -= side * step * braked
                continue
            # What ``brake`` does, without its calls: this runs for every joint at every tick.
            change = -side * min(size if size <= jolt else even_steps(size, jolt), step)
            new = v + min(max(change, u - jolt), u + jolt)
            if abs(new) <= landed:
                new = 0.0
            # Exactly full braking, whatever rounding made of the difference.
            u = -side * step if abs(new - v + side * step) <= landed else new - v
            v = new
            speeds.append(v)
        return speeds, at, braked

    def _closing_speed(self, gap: float, target_acceleration: float) -> float:
        side = 1.0 if gap > 0.0 else -1.0 if gap < 0.0 else 0.0
        spare = self.ddq_max + side * target_acceleration
        brake = 0.5 * min(max(spare, 0.0), self.ddq_max)
        size, corner = abs(gap), brake * self._tau**2
        if size < corner:
            return side * (size / self._tau)
        lag = 0.5 * self._lag
        return side * (math.sqrt(lag * lag + 2.0 * brake * max(size - 0.5 * corner, 0.0)) - lag)

    def _room(self, distance: float) -> float:
        """Largest speed of the next tick after which a stop fits into a distance; with a jerk limit about that."""
        speed = stoppable_speed(distance, self.ddq_max, self.dt)
        if not self.jerky:
            return speed
        return min(speed, math.sqrt(self._lag * self._lag + 2.0 * self.ddq_max * distance) - self._lag)

    def _landing(self, speed: float) -> float:
        """Largest change of speed after which even steps J down to none take off exactly a speed: inverse of _sum."""
        return speed if speed <= self.jolt else even_steps(speed, self.jolt)

    def _sum(self, change: float) -> float:
        """Speed taken off by changes x, x - J, x - 2 J, .. down to none."""
        if change <= self.jolt:
            return change
        m = math.ceil(change / self.jolt - 1e-9)
        return m * change - self.jolt * m * (m - 1.0) * 0.5
