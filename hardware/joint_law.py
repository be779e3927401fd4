"""The law of each joint at each tick: the admissible command nearest in purpose to a request, and the fastest stop.

With v_k the speed of tick k, T the tick and u_k = v_k - v_k-1, every command has |v_k| <= dq_max,
|u_k| <= A = ddq_max T and, where there is a jerk limit, |u_k - u_k-1| <= J = dddq_max T^2. A jerk limit of 2 A and
more binds nothing, for |u_k - u_k-1| <= 2 A anyway.

All arrays are (arms, n): independent arms of n joints, in one memory layout, float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .interface import Array
from .limits import JointLimits

CATCH_UP_S = 0.05
"""Time constant with which the last of a gap to the target is closed [s]."""

JOIN = 1e-9
"""Gap that counts as none [rad]."""

SLACK = 1.0 + 5e-10
"""Limits hold to this factor: a plan on a limit passes in spite of its rounding."""

TICK_TOLERANCE = 1e-6
"""Share of a tick of braking that counts as rest: m ticks of speed must not take m + 1 by rounding."""

ROUNDING = 1e-9
"""What rounding may add to a position [rad] or, as a share, to a speed."""

_LANDED = 1e-13
"""Share of A that counts as no speed: what rounding leaves."""

VELOCITY, ACCELERATION, JERK, POSITION, SLOWED, CATCH_UP = 1, 2, 4, 8, 16, 32
"""Bits of why a command is not the request, or of what a motion breaks."""

LAW = np.dtype(
    (
        np.record,
        [
            (name, np.float64)
            for name in (
                *("q_min", "q_max", "v_max", "ddq_max", "dt", "step", "step_max", "jolt", "jolt_max"),
                *("lag", "tau", "seam", "reserve"),
            )
        ],
    )
)
"""Limits of a joint in units of a tick; without a jerk limit ``jolt`` is infinite.

``lag`` is the speed that is gained while the acceleration turns round, ``tau`` the time in which gaps close, ``seam``
the gap between two plans that counts as none, ``reserve`` the speed that landing from full braking takes off."""


def laws_of(limits: JointLimits, dt: float) -> NDArray[np.void]:
    """Laws (n,) of the joints at a tick of dt [s]."""
    laws = np.zeros(limits.n, LAW)
    laws["q_min"], laws["q_max"], laws["ddq_max"], laws["dt"] = limits.q_min, limits.q_max, limits.ddq_max, dt
    step = limits.ddq_max * dt
    jolt = np.full(limits.n, np.inf) if limits.dddq_max is None else limits.dddq_max * dt * dt
    jolt = np.where(jolt < 2.0 * step * (1.0 - 1e-9), jolt, np.inf)
    jerky = np.isfinite(jolt)
    lag = np.where(jerky, (step / jolt + 1.0) * dt, 0.0)
    laws["step"], laws["jolt"] = step, jolt
    laws["v_max"], laws["step_max"], laws["jolt_max"] = limits.dq_max * SLACK, step * SLACK, jolt * SLACK
    laws["lag"], laws["tau"] = limits.ddq_max * lag, np.maximum(max(CATCH_UP_S, 4.0 * dt), 1.5 * lag)
    laws["seam"] = 0.5 * step * dt * SLACK
    laws["reserve"] = [_landing_sum(a, j) if math.isfinite(j) else a for a, j in zip(step, jolt, strict=True)]
    return laws


@compiled
def advance(
    laws: NDArray[np.void],
    q: Array,
    v: Array,
    u: Array,
    request: Array,
    w: Array,
    last_target: Array,
    last_w: Array,
    share: float,
) -> tuple[Array, Array, Array, Array, NDArray[np.uint8]]:
    """Choose the admissible command nearest in purpose to a request.

    A gap to the target, after a jump or a limited stretch, is closed in the frame that moves with the target, at a
    speed that can be braked with half of the acceleration the target leaves over: so the command ends on the target
    with the target's speed instead of swinging around it.

    Args:
        laws: of the joints (n,).
        q, v, u: last commands [rad], their speeds and changes of speed [rad/s].
        request: finite [rad].
        w: speeds of the targets [rad/s]; NaN takes that of the last tick.
        last_target, last_w: of the tick before.
        share: of the speed limits, 0 to 1.

    Returns:
        commands [rad], speeds [rad/s], the requests inside the limits [rad], the speeds of the targets taken [rad/s],
        and bits of why a command is not its request.
    """
    arms, n = q.shape
    q_new, v_new, target, speed = np.empty((arms, n)), np.empty((arms, n)), np.empty((arms, n)), np.empty((arms, n))
    why = np.zeros((arms, n), np.uint8)
    for a in range(arms):
        for i in range(n):
            law = laws[i]
            q_now, v_now, u_now = q[a, i], v[a, i], u[a, i]
            dt, v_max = law.dt, law.v_max * share
            jerky = law.jolt < math.inf
            q_hi, q_lo = max(law.q_max, q_now), min(law.q_min, q_now)
            to = min(max(request[a, i], q_lo), q_hi)
            # A far target must not overflow the arithmetic, hence the clip before the difference.
            w_now = (to - last_target[a, i]) / dt if math.isnan(w[a, i]) else w[a, i]
            w_now = min(max(w_now, -v_max), v_max)
            direct = (to - q_now) / dt
            gap = to - w_now * dt - q_now
            # On the target, or as good as that, it is followed directly. A new plan that begins within the tick
            # has a mean velocity of its own: the seam it makes is at most half a tick of acceleration wide.
            follow = abs(gap) <= JOIN or (abs(gap) <= law.seam and abs(last_target[a, i] - q_now) <= JOIN)
            want = direct if follow else w_now + _closing_speed(law, gap, (w_now - last_w[a, i]) / dt)
            room_hi, room_lo = _room(law, q_hi - q_now), -_room(law, q_now - q_lo)
            hi, lo = min(v_max, v_now + law.step_max, room_hi), max(-v_max, v_now - law.step_max, room_lo)
            brake = _braked(law, v_now, u_now)[0]
            new = want
            if jerky:
                hi, lo = min(hi, v_now + u_now + law.jolt_max), max(lo, v_now + u_now - law.jolt_max)
                if not (follow and lo <= want <= hi):
                    near = min(max(want, -v_max, room_lo), v_max, room_hi)
                    new = v_now + math.copysign(min(_landing(law, abs(near - v_now)), law.step), near - v_now)
            hi, lo = max(hi, brake), min(lo, brake)
            new = min(max(new, lo), hi)
            q_new[a, i] = to if new == direct else min(max(q_now + new * dt, q_lo), q_hi)
            v_new[a, i], target[a, i], speed[a, i] = new, to, w_now

            bits = VELOCITY if abs(direct) > law.v_max else 0
            bits |= SLOWED if share < 1.0 and abs(want) > v_max else 0
            bits |= ACCELERATION if abs(direct - v_now) > law.step_max else 0
            bits |= JERK if abs(direct - v_now - u_now) > law.jolt_max else 0
            bits |= POSITION if to != request[a, i] or want > room_hi or want < room_lo else 0
            why[a, i] = bits if bits else CATCH_UP
    return q_new, v_new, target, speed, why


@compiled
def lay_out(laws: NDArray[np.void], q: Array, v: Array, before: Array) -> tuple[Array, Array]:
    """Commands and the fastest stops that follow them, tick by tick down to rest.

    Args:
        laws: of the joints (n,).
        q, v: commands [rad] and their speeds [rad/s].
        before: speeds of the tick before [rad/s].

    Returns:
        positions and speeds (1 + ticks, arms, n) [rad], [rad/s]; the last speeds can stay.
    """
    arms, n = q.shape
    speeds, ticks = np.zeros((64, arms, n)), 0
    for a in range(arms):
        for i in range(n):
            law, k = laws[i], 0
            speed, change = v[a, i], v[a, i] - before[a, i]
            speeds[0, a, i] = speed
            jerky = law.jolt < math.inf
            while speed != 0.0 or (jerky and abs(change) > law.jolt * SLACK):
                side, size, full = math.copysign(1.0, speed), abs(speed), 0
                if not jerky:
                    full = math.ceil(size / law.step - TICK_TOLERANCE)
                elif change == -side * law.step and size > law.reserve + law.step:
                    full = int((size - law.reserve) / law.step)
                while k + full + 1 >= len(speeds):
                    speeds = np.concatenate((speeds, np.zeros_like(speeds)))
                for step in range(1, full + 1):  # full braking: products, for sums over many ticks would round
                    speed = side * max(size - law.step * step, 0.0)
                    speeds[k + step, a, i] = speed
                k += full
                if not jerky:
                    break
                if full == 0:
                    speed, change = _braked(law, speed, change)
                    k += 1
                    speeds[k, a, i] = speed
            ticks = max(ticks, k)
    speeds = speeds[: ticks + 1].copy()
    path = np.empty_like(speeds)
    for a in range(arms):
        for i in range(n):
            way = 0.0
            path[0, a, i] = q[a, i]
            for k in range(1, ticks + 1):
                way += speeds[k, a, i]
                path[k, a, i] = q[a, i] + way * laws[i].dt
    return path, speeds


@compiled
def lay_out_eased(
    laws: NDArray[np.void], q: Array, v: Array, wanted: Array, back: Array, held: NDArray[np.uint32], shares: Array
) -> tuple[Array, Array]:
    """The same for commands between braking and what is wanted, of the arms that are held.

    Args:
        laws: of the joints (n,).
        q, v: last commands [rad] and their speeds [rad/s].
        wanted: speeds wanted [rad/s].
        back: speeds of the stop in store [rad/s].
        held: not 0 for the arms in question (arms,); the others get a command that stands still.
        shares: of the way from back to wanted (shares,).

    Returns:
        positions and speeds (1 + ticks, shares * arms, n) [rad], [rad/s], share after share.
    """
    arms, n = q.shape
    to, speed = np.empty((len(shares) * arms, n)), np.zeros((len(shares) * arms, n))
    before = np.zeros_like(speed)
    for s in range(len(shares)):
        for a in range(arms):
            for i in range(n):
                row = s * arms + a
                to[row, i] = q[a, i]
                if held[a]:
                    law, before[row, i] = laws[i], v[a, i]
                    speed[row, i] = back[a, i] + shares[s] * (wanted[a, i] - back[a, i])
                    low, high = min(law.q_min, q[a, i]), max(law.q_max, q[a, i])
                    to[row, i] = min(max(q[a, i] + speed[row, i] * law.dt, low), high)
    return lay_out(laws, to, speed, before)


@compiled
def settle(
    path: Array,
    speeds: Array,
    why: NDArray[np.uint32],
    eased_path: Array,
    eased_speeds: Array,
    eased_why: NDArray[np.uint32],
    stop_path: Array,
    stop_speeds: Array,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Of each arm the motion wanted if it passes, else the first eased one that does, else the stop in store.

    Args:
        path, speeds: wanted (ticks, arms, n), with reasons why not (arms,), 0 for none.
        eased_path, eased_speeds: (ticks, shares * arms, n), with reasons why not (shares * arms,).
        stop_path, stop_speeds: in store (ticks, arms, n).

    Returns:
        positions and speeds, all as long as the longest chosen (ticks, arms, n), and which arms go on with their stop.
    """
    arms, n = path.shape[1:]
    most, ticks = max(len(path), len(eased_path), len(stop_path)), 0
    q, v = np.empty((most, arms, n)), np.empty((most, arms, n))
    stops = np.zeros(arms, np.bool_)
    for a in range(arms):
        chosen_q, chosen_v, row = path, speeds, a
        if why[a]:
            chosen_q, chosen_v, stops[a] = stop_path, stop_speeds, True
            for eased in range(a, len(eased_why), arms):
                if not eased_why[eased]:
                    chosen_q, chosen_v, row, stops[a] = eased_path, eased_speeds, eased, False
                    break
        last = len(chosen_q) - 1
        for k in range(most):
            for i in range(n):
                q[k, a, i], v[k, a, i] = chosen_q[min(k, last), row, i], chosen_v[k, row, i] if k <= last else 0.0
        ticks = max(ticks, last + 1)
    return q[:ticks], v[:ticks], stops


@compiled
def broken(
    laws: NDArray[np.void], q: Array, v: Array, u: Array, path: Array, speeds: Array
) -> NDArray[np.uint8]:
    """What motions, as ``lay_out`` returns them, break when they follow commands q, their speeds v and changes u.

    Args:
        laws: of the joints (n,).
        q, v, u: (arms, n).
        path, speeds: of each arm in one way or several (ticks, ways * arms, n), way after way.

    Returns:
        bits (ways * arms,), 0 where all limits are kept. A pose outside the limits may stay and move inwards.
    """
    arms, n = q.shape
    found = np.zeros(path.shape[1], np.uint8)
    for m in range(path.shape[1]):
        a, bits = m % arms, 0
        for i in range(n):
            law = laws[i]
            hi, lo = max(law.q_max, q[a, i]) + ROUNDING, min(law.q_min, q[a, i]) - ROUNDING
            most = law.v_max * (1.0 + ROUNDING)
            for k in range(len(path)):
                if not (lo <= path[k, m, i] <= hi):
                    bits |= POSITION
                if not (abs(speeds[k, m, i]) <= most):
                    bits |= VELOCITY
            turn = speeds[0, m, i] - v[a, i]
            if not (abs(turn) <= law.step_max * (1.0 + ROUNDING)):
                bits |= ACCELERATION
            if not (abs(turn - u[a, i]) <= law.jolt_max * (1.0 + ROUNDING)):
                bits |= JERK
        found[m] = bits
    return found


@compiled
def _braked(law: Any, v: float, u: float) -> tuple[float, float]:
    """Next speed of the fastest stop and its change [rad/s]."""
    size = abs(v)
    if not law.jolt < math.inf:
        new = math.copysign(size - law.step, v) if size > law.step else 0.0
        return new, new - v
    change = -math.copysign(min(_landing(law, size), law.step), v)
    new = v + min(max(change, u - law.jolt), u + law.jolt)
    if abs(new) <= _LANDED * law.step:
        new = 0.0
    full = -math.copysign(law.step, v)
    change = new - v
    # Exactly full braking, whatever rounding made of the difference.
    return new, full if abs(change - full) <= _LANDED * law.step else change


@compiled
def _closing_speed(law: Any, gap: float, target_acceleration: float) -> float:
    side = 1.0 if gap > 0.0 else -1.0 if gap < 0.0 else 0.0
    brake = 0.5 * min(max(law.ddq_max + side * target_acceleration, 0.0), law.ddq_max)
    size, corner = abs(gap), brake * (law.tau * law.tau)
    if size < corner:
        return side * (size / law.tau)
    lag = 0.5 * law.lag
    return side * (math.sqrt(lag * lag + 2.0 * brake * max(size - 0.5 * corner, 0.0)) - lag)


@compiled
def _room(law: Any, distance: float) -> float:
    """Largest speed of the next tick after which a stop fits into a distance; with a jerk limit about that."""
    speed = stoppable_speed(distance, law.ddq_max, law.dt)
    if not law.jolt < math.inf:
        return speed
    return min(speed, math.sqrt(law.lag * law.lag + 2.0 * law.ddq_max * distance) - law.lag)


@compiled
def stoppable_speed(distance: float, ddq_max: float, dt: float) -> float:
    """Largest speed of the next tick after which a discrete stop still fits into a distance.

    Solves dt ((m+1) v - A m (m+1) / 2) = distance with A = ddq_max*dt and m = floor(v/A): the tick itself
    plus the stop.

    Args:
        distance: room [rad], at least 0.
        ddq_max: braking [rad/s^2].
        dt: tick [s].

    Returns:
        speed [rad/s].
    """
    return _even_steps(distance / dt, ddq_max * dt)


@compiled
def _landing(law: Any, speed: float) -> float:
    """Largest change of speed after which even steps J down to none take off exactly a speed."""
    return speed if speed <= law.jolt else _even_steps(speed, law.jolt)


@compiled
def _even_steps(total: float, step: float) -> float:
    """The x for which x + (x - step) + (x - 2 step) + .., as long as terms are above 0, is a total of at least 0."""
    m = math.floor((math.sqrt(1.0 + 8.0 * total / step) - 1.0) * 0.5)
    return (total + step * m * (m + 1.0) * 0.5) / (m + 1.0)


def _landing_sum(change: float, jolt: float) -> float:
    """Speed taken off by changes x, x - J, x - 2 J, .. down to none: the inverse of ``_landing``."""
    if change <= jolt:
        return change
    m = math.ceil(change / jolt - 1e-9)
    return m * change - jolt * m * (m - 1.0) * 0.5
