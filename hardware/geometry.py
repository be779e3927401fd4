"""Where an arm's bodies are, how far they are apart, and whether a motion keeps them so: compiled, pose by pose.

A motion is a list of poses, one per tick. It is clear when at every tick every pair keeps its margin, and when between
two ticks no pair can touch: distances d1, d2 at both ends and a bound L on how far the pair can move in between leave
at least (d1 + d2 - L) / 2. The same bound proves the margin over many ticks at once, so that most poses need no look:
a stretch that it leaves open is halved, down to single ticks (conservative advancement, by bisection).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .interface import Array

ROD, CRATE, WALL = 0, 1, 2
"""Kinds of pairs: capsule and capsule, capsule and box, capsule and half-space."""

_TINY = 1e-12
"""Squared length below which a segment is a point [m^2]."""

_ROUNDING = 1e-9
"""What rounding may make of a distance [m], or as a share of a way."""


# For plain arrays: the type of an np.recarray is worked out anew by Numba at every call.
JOINT = np.dtype(
    (np.record, [("pos", "f8", 3), ("fixed", "f8", (3, 3)), ("sine", "f8", (3, 3)), ("cosine", "f8", (3, 3))])
)
"""A joint: ``pos`` is the origin of its frame in the one before [m]; the frame turns by fixed + sin q sine +
(1 - cos q) cosine there."""

BODY = np.dtype((np.record, [("frame", "i8"), ("ends", "f8", (2, 3))]))
"""A body: number of its frame, 0 for the base, and both ends of its axis there [m]."""

PAIR = np.dtype(
    (
        np.record,
        [
            *(("kind", "i8"), ("body", "i8"), ("other", "i8"), ("reason", "i8"), ("radius", "f8"), ("margin", "f8")),
            *(("pos", "f8", 3), ("turn", "f8", (3, 3)), ("half", "f8", 3), ("normal", "f8", 3), ("offset", "f8")),
        ],
    )
)
"""A pair: ``kind`` is ROD, CRATE or WALL, ``body`` the number of the body and ``other`` that of a ROD's other body,
``reason`` its bit, ``radius`` of both together and ``margin`` the distance to keep [m]. A CRATE has the box's
``pos`` [m], ``turn`` and ``half`` edges [m], a WALL its half-space: points x with normal x >= offset are free [m]."""


class Kinematics(NamedTuple):
    """Numbers of a serial arm.

    Attributes:
        joints: JOINT (n,).
        bodies: BODY (bodies,).
    """

    joints: NDArray[np.void]
    bodies: NDArray[np.void]


class PairTable(NamedTuple):
    """Pairs of bodies and what they keep clear of.

    Attributes:
        rows: PAIR (pairs,).
        motion: how far each joint moves the two against each other at most (pairs, n) [m/rad].
    """

    rows: NDArray[np.void]
    motion: Array


class FastPoints(NamedTuple):
    """Points with a speed limit.

    Attributes:
        body: their numbers (points,).
        reach: how far each joint moves them at most (points, n) [m/rad].
        far: way that they may go in a tick [m].
        reason: bit of a point that goes further.
    """

    body: NDArray[np.int64]
    reach: Array
    far: float
    reason: np.uint32


def nothing_to_look_at(n: int) -> tuple[Kinematics, PairTable, FastPoints]:
    """Numbers of an arm of n joints without bodies, pairs and points."""
    motion = np.zeros((0, n))
    arm, pairs = Kinematics(records(n, JOINT), records(0, BODY)), PairTable(records(0, PAIR), motion)
    return arm, pairs, FastPoints(np.zeros(0, dtype=np.int64), motion, 0.0, np.uint32(0))


def records(count: int, of: np.dtype[np.void], /, **fields: object) -> NDArray[np.void]:
    """Records (count,) of a dtype with some fields given, all others 0."""
    found = np.zeros(count, of)
    for name, values in fields.items():
        if count:
            found[name] = values
    return found


# Distances
# -------------------------------------------------------------------------------------------


@compiled
def segment_segment(p0: Array, p1: Array, q0: Array, q1: Array) -> float:
    """Distance between two segments [m], from their ends (3,) [m].

    The squared distance is convex in both parameters: the free minimum of the lines is clamped to the first
    segment, the second follows and is clamped, then the first follows once more.
    """
    a = b = c = e = f = 0.0
    for i in range(3):
        u, v, w = p1[i] - p0[i], q1[i] - q0[i], p0[i] - q0[i]
        a += u * u
        b += u * v
        e += v * v
        c += u * w
        f += v * w
    det = a * e - b * b
    # Parallel: every s is as good, and the last step puts it right.
    s = min(max((b * f - c * e) / det, 0.0), 1.0) if det > 1e-9 * a * e else 0.0
    t = min(max((b * s + f) / max(e, _TINY), 0.0), 1.0)
    s = min(max((b * t - c) / max(a, _TINY), 0.0), 1.0)
    squared = 0.0
    for i in range(3):
        gap = p0[i] + s * (p1[i] - p0[i]) - q0[i] - t * (q1[i] - q0[i])
        squared += gap * gap
    return math.sqrt(squared)


@compiled
def segment_box(p0: Array, p1: Array, pos: Array, turn: Array, half: Array) -> float:
    """Distance of a segment to a box [m], 0 inside.

    The squared distance is convex and piecewise quadratic along the segment; its slope is linear between the crossings
    of the six faces' planes, so that its zero is found exactly.

    Args:
        p0, p1: ends (3,) [m].
        pos: middle of the box (3,) [m].
        turn: columns are its axes (3, 3).
        half: half edges (3,) [m].
    """
    x0 = y0 = z0 = x1 = y1 = z1 = 0.0
    for i in range(3):
        a, b = p0[i] - pos[i], p1[i] - pos[i]
        x0, y0, z0 = x0 + turn[i, 0] * a, y0 + turn[i, 1] * a, z0 + turn[i, 2] * a
        x1, y1, z1 = x1 + turn[i, 0] * b, y1 + turn[i, 1] * b, z1 + turn[i, 2] * b
    start, way = (x0, y0, z0), (x1 - x0, y1 - y0, z1 - z0)
    lo, hi = 0.0, 1.0
    s_lo, s_hi = _slope(start, way, half, lo), _slope(start, way, half, hi)
    if s_lo >= 0.0:
        t = 0.0
    elif s_hi <= 0.0:
        t = 1.0
    else:
        for i in range(3):
            if abs(way[i]) > 1e-12:
                for side in (-1.0, 1.0):
                    crossing = (side * half[i] - start[i]) / way[i]
                    if lo < crossing < hi:
                        s = _slope(start, way, half, crossing)
                        if s < 0.0:
                            lo, s_lo = crossing, s
                        else:
                            hi, s_hi = crossing, s
        t = lo + (hi - lo) * (-s_lo / (s_hi - s_lo))
    squared = 0.0
    for i in range(3):
        at = start[i] + t * way[i]
        gap = at - min(max(at, -half[i]), half[i])
        squared += gap * gap
    return math.sqrt(squared)


@compiled
def _slope(start: tuple[float, float, float], way: tuple[float, float, float], half: Array, t: float) -> float:
    """Half the slope of the squared distance to a box around the origin, along a segment."""
    slope = 0.0
    for i in range(3):
        at = start[i] + t * way[i]
        slope += way[i] * (at - min(max(at, -half[i]), half[i]))
    return slope


@compiled
def segment_wall(p0: Array, p1: Array, normal: Array, offset: float) -> float:
    """Signed distance of a segment to a half-space's border [m], negative behind it; the normal has length 1."""
    a = b = 0.0
    for i in range(3):
        a += p0[i] * normal[i]
        b += p1[i] * normal[i]
    return min(a, b) - offset


# Poses
# -------------------------------------------------------------------------------------------


@compiled
def frames_of(arm: Kinematics, poses: Array) -> tuple[Array, Array]:
    """Frames 0 .. n at poses (m, n) [rad]: rotations (m, n + 1, 3, 3) and origins (m, n + 1, 3) [m]."""
    m, n = poses.shape
    turn, at = np.empty((m, n + 1, 3, 3)), np.empty((m, n + 1, 3))
    for k in range(m):
        _frames(arm, poses[k], turn[k], at[k])
    return turn, at


@compiled
def ends_of(arm: Kinematics, poses: Array) -> Array:
    """Ends of the bodies' axes at poses (m, n) [rad]: (m, bodies, 2, 3) [m]."""
    m, n = poses.shape
    turn, at, ends = np.empty((n + 1, 3, 3)), np.empty((n + 1, 3)), np.empty((m, len(arm.bodies), 2, 3))
    for k in range(m):
        _ends(arm, poses[k], turn, at, ends[k])
    return ends


@compiled
def clearances(arm: Kinematics, pairs: PairTable, poses: Array) -> Array:
    """Distances of the pairs, surface to surface, at poses (m, n) [rad]: (m, pairs) [m]."""
    m, n = poses.shape
    turn, at, ends = np.empty((n + 1, 3, 3)), np.empty((n + 1, 3)), np.empty((len(arm.bodies), 2, 3))
    found = np.empty((m, len(pairs.rows)))
    for k in range(m):
        _ends(arm, poses[k], turn, at, ends)
        for p in range(len(pairs.rows)):
            found[k, p] = _apart(pairs.rows[p], ends)
    return found


@compiled
def _frames(arm: Kinematics, q: Array, turn: Array, at: Array) -> None:
    for i in range(3):
        at[0, i] = 0.0
        for j in range(3):
            turn[0, i, j] = 1.0 if i == j else 0.0
    for f in range(len(q)):
        joint = arm.joints[f]
        sin, versed = math.sin(q[f]), 1.0 - math.cos(q[f])
        for i in range(3):
            at[f + 1, i] = at[f, i]
            for j in range(3):
                turn[f + 1, i, j] = 0.0
        for k in range(3):
            for i in range(3):
                at[f + 1, i] += turn[f, i, k] * joint.pos[k]
            for j in range(3):  # Rodrigues
                local = joint.fixed[k, j] + sin * joint.sine[k, j] + versed * joint.cosine[k, j]
                for i in range(3):
                    turn[f + 1, i, j] += turn[f, i, k] * local


@compiled
def _ends(arm: Kinematics, q: Array, turn: Array, at: Array, ends: Array) -> None:
    _frames(arm, q, turn, at)
    for b in range(len(arm.bodies)):
        body = arm.bodies[b]
        f = body.frame
        for end in range(2):
            x, y, z = body.ends[end, 0], body.ends[end, 1], body.ends[end, 2]
            for i in range(3):
                ends[b, end, i] = at[f, i] + turn[f, i, 0] * x + turn[f, i, 1] * y + turn[f, i, 2] * z


@compiled
def _apart(pair: Any, ends: Array) -> float:
    """Distance of a pair, surface to surface, from the ends of all bodies (bodies, 2, 3) [m]."""
    a, other = pair.body, pair.other
    if pair.kind == ROD:
        d = segment_segment(ends[a, 0], ends[a, 1], ends[other, 0], ends[other, 1])
    elif pair.kind == CRATE:
        d = segment_box(ends[a, 0], ends[a, 1], pair.pos, pair.turn, pair.half)
    else:
        d = segment_wall(ends[a, 0], ends[a, 1], pair.normal, pair.offset)
    return d - pair.radius


# Motions
# -------------------------------------------------------------------------------------------


class Motion(NamedTuple):
    """A motion of one arm, and what is known of it so far.

    Attributes:
        rows: its poses, the present one first (ticks + 1, n) [rad].
        way: how far each joint has gone until each pose (ticks + 1, n) [rad].
        ends: ends of the bodies at each pose (ticks + 1, bodies, 2, 3) [m] ..
        known: .. as far as they have been worked out (ticks + 1,).
        turn, at: room to work them out (n + 1, 3, 3), (n + 1, 3).
    """

    rows: Array
    way: Array
    ends: Array
    known: NDArray[np.bool_]
    turn: Array
    at: Array


@compiled
def look(
    arm: Kinematics,
    pairs: PairTable,
    points: FastPoints,
    now: Array,
    path: Array,
    why: NDArray[np.uint32],
    suspects: NDArray[np.int64],
    thorough: bool,
) -> NDArray[np.uint32]:
    """Whether motions keep clear as a whole.

    A pair that is closer than its margin already (an arm that was enabled there) may stay and move away, not come
    closer. Of several ways to go on, those after the first clear one are not looked at.

    Args:
        arm: numbers of the arm.
        pairs: to look at.
        points: whose speed is limited.
        now: present poses (arms, n) [rad].
        path: poses to come, one per tick, in one way or several (ticks, ways * arms, n) [rad], way after way.
        why: bits of what speaks against each motion already (ways * arms,); such motions are not looked at.
        suspects: number of the pair of each arm that came too close last, which is looked at first, -1 for none
            (arms,); brought up to date.
        thorough: whether all reasons are wanted; otherwise the first one ends the look at a motion.

    Returns:
        bits of why not (ways * arms,), 0 where a motion is clear or was not looked at.
    """
    if len(pairs.rows) + len(points.body) == 0:
        return why
    ticks, motions, n = path.shape
    found, settled = why.copy(), np.zeros(len(now), np.bool_)
    rows, way, known = np.empty((ticks + 1, n)), np.empty((ticks + 1, n)), np.empty(ticks + 1, np.bool_)
    ends = np.empty((ticks + 1, len(arm.bodies), 2, 3))
    motion = Motion(rows, way, ends, known, np.empty((n + 1, 3, 3)), np.empty((n + 1, 3)))
    for m in range(motions):
        a = m % len(now)
        if settled[a] or why[m]:
            continue
        rows[0], way[0], known[:] = now[a], 0.0, False
        moved = False
        for k in range(ticks):
            for j in range(n):
                rows[k + 1, j] = path[k, m, j]
                step = abs(rows[k + 1, j] - rows[k, j])
                way[k + 1, j] = way[k, j] + step
                moved |= step != 0.0
        for k in range(-1, len(pairs.rows) if moved else -1):
            p = suspects[a] if k < 0 else k
            if p < 0 or found[m] & pairs.rows[p].reason or (found[m] and not thorough):
                continue
            if not _keeps(arm, pairs, p, motion):
                found[m] |= np.uint32(pairs.rows[p].reason)
                suspects[a] = p
        for i in range(len(points.body) if moved else 0):
            if found[m] & points.reason or (found[m] and not thorough):
                continue
            if _speeds(arm, points, i, motion):
                found[m] |= points.reason
        settled[a] = not found[m]
    return found


@compiled
def _place(arm: Kinematics, of: Motion, k: int) -> Array:
    """Ends of the bodies at pose k of a motion, worked out once."""
    if not of.known[k]:
        _ends(arm, of.rows[k], of.turn, of.at, of.ends[k])
        of.known[k] = True
    return of.ends[k]


@compiled
def _keeps(arm: Kinematics, pairs: PairTable, p: int, of: Motion) -> bool:
    """Whether pair p stays apart along a motion."""
    last, pair = len(of.rows) - 1, pairs.rows[p]
    margin = pair.margin
    here = _apart(pair, _place(arm, of, 0))
    least, free = min(margin, here), here >= margin
    moved = 0.0
    for j in range(of.rows.shape[1]):
        moved += pairs.motion[p, j] * of.way[last, j]
    if moved == 0.0 or here - moved * (1.0 + _ROUNDING) >= margin + _ROUNDING:
        return True
    until, apart = np.empty(64, np.int64), np.empty(64)  # ends of the stretches still to prove, the nearest on top
    until[0], apart[0] = last, _apart(pair, _place(arm, of, last))
    top, i, d_i = 0, 0, here
    while top >= 0:
        k, d_k = until[top], apart[top]
        moved = 0.0
        for j in range(of.rows.shape[1]):
            moved += pairs.motion[p, j] * (of.way[k, j] - of.way[i, j])
        left = 0.5 * (d_i + d_k - moved * (1.0 + _ROUNDING))
        proven = moved == 0.0 or left >= least + _ROUNDING
        if proven or k == i + 1:
            if not proven and (not d_k >= least or (free and margin > 0.0 and not left >= 0.0)):
                return False
            i, d_i = k, d_k
            top -= 1
        else:
            top += 1
            until[top] = (i + k) // 2
            apart[top] = _apart(pair, _place(arm, of, until[top]))
    return True


@compiled
def _speeds(arm: Kinematics, points: FastPoints, i: int, of: Motion) -> bool:
    """Whether point i goes too far in any tick of a motion."""
    body, far = points.body[i], points.far * (1.0 + _ROUNDING)
    for k in range(len(of.rows) - 1):
        most = 0.0
        for j in range(of.rows.shape[1]):
            most += points.reach[i, j] * (of.way[k + 1, j] - of.way[k, j])
        if most <= far:
            continue
        before = _place(arm, of, k)[body, 0]
        after = _place(arm, of, k + 1)[body, 0]
        squared = 0.0
        for j in range(3):
            squared += (after[j] - before[j]) ** 2
        if not math.sqrt(squared) <= far:
            return True
    return False
