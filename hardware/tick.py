"""One tick of the safety filter, from requests to checked commands with the stops behind them: compiled as a whole."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .geometry import FastPoints, Kinematics, PairTable, look
from .interface import Array
from .joint_law import advance, broken, lay_out, lay_out_eased, settle


class Settings(NamedTuple):
    """What stays.

    Attributes:
        laws: of the joints (n,).
        arm, pairs, points: what is looked at, see ``geometry.look``.
        shares: of the way from braking to what is wanted that are tried where the whole may not be (shares,).
        reason_of: ``Reason`` bits of the bits of ``joint_law`` (64,).
        nonfinite, brake: ``Reason`` bits.
        tolerance: deviation from the request that counts [rad].
    """

    laws: NDArray[np.void]
    arm: Kinematics
    pairs: PairTable
    points: FastPoints
    shares: Array
    reason_of: NDArray[np.uint32]
    nonfinite: np.uint32
    brake: np.uint32
    tolerance: float

    def apart(self) -> tuple[Any, ...]:
        """What they hold, one after the other, as ``tick_apart`` takes it."""
        return (self.laws, *self.arm, *self.pairs, *self.points, *self[4:])


class State(NamedTuple):
    """What a tick goes on from; all arrays (arms, n).

    Attributes:
        q, v, u: last commands [rad], their speeds and changes of speed [rad/s].
        target, w: last targets [rad] and their speeds [rad/s].
        path, speeds: the stop in store, at least one tick (ticks, arms, n).
        suspects: see ``geometry.look`` (arms,); brought up to date.
    """

    q: Array
    v: Array
    u: Array
    target: Array
    w: Array
    path: Array
    speeds: Array
    suspects: NDArray[np.int64]


# fmt: off
@compiled
def tick_apart(
    laws: Any, joints: Any, bodies: Any, rows: Any, motion: Any, body: Any, reach: Any, far: Any, fast: Any,
    shares: Any, reason_of: Any, nonfinite: Any, brake: Any, tolerance: Any,
    q: Any, v: Any, u: Any, target: Any, target_w: Any, path: Any, speeds: Any, suspects: Any,
    request: Array, w: Array, moves: bool, share: float,
) -> tuple[Array, Array, Array, Array, Array, Array, NDArray[np.uint32]]:
    """``tick`` of ``*Settings.apart(), *State, request, w, moves, share``.

    What is in tuples, and in tuples of them, Numba would find out anew at every call from Python.
    """
    looks = Kinematics(joints, bodies), PairTable(rows, motion), FastPoints(body, reach, far, fast)
    of = Settings(laws, looks[0], looks[1], looks[2], shares, reason_of, nonfinite, brake, tolerance)
    return tick(of, State(q, v, u, target, target_w, path, speeds, suspects), request, w, moves, share)
# fmt: on


@compiled
def tick(
    of: Settings, state: State, request: Array, w: Array, moves: bool, share: float
) -> tuple[Array, Array, Array, Array, Array, Array, NDArray[np.uint32]]:
    """Take requests that pass with the stops behind them, else commands nearer to braking, else the stops in store.

    Args:
        of: what stays.
        state: what it goes on from.
        request: positions asked for (arms, n) [rad]; an arm with one that is no number brakes. Overwritten.
        w: speeds of the targets (arms, n) [rad/s]. Overwritten.
        moves: whether they are given; otherwise they are those of the requests.
        share: of the speed limits, 0 to 1.

    Returns:
        commands [rad], speeds [rad/s], targets [rad] and their speeds [rad/s], the stop behind (ticks, arms, n) as
        positions and speeds, and ``Reason`` bits (arms, n).
    """
    arms, n = request.shape
    bad = np.zeros(arms, np.bool_)
    for a in range(arms):
        for i in range(n):
            bad[a] |= not (math.isfinite(request[a, i]) and (math.isfinite(w[a, i]) or not moves))
        if bad[a]:
            request[a], w[a] = state.q[a], 0.0
        elif not moves:
            w[a] = math.nan
    q, v, target, speed, bits = advance(
        of.laws, state.q, state.v, state.u, request, w, state.target, state.w, share
    )
    path, speeds = lay_out(of.laws, q, v, state.v)
    why = _broken(of, state, path, speeds, bad)
    why = look(of.arm, of.pairs, of.points, state.q, path, why, state.suspects, True)
    if why.any():
        eased, eased_speeds = lay_out_eased(of.laws, state.q, state.v, v, state.speeds[0], why, of.shares)
        eased_why = _broken(of, state, eased, eased_speeds, bad)
        eased_why = look(of.arm, of.pairs, of.points, state.q, eased, eased_why, state.suspects, False)
        path, speeds, stops = settle(
            path, speeds, why, eased, eased_speeds, eased_why, state.path, state.speeds
        )
        for a in range(arms):
            if stops[a]:
                why[a] |= of.brake
    reasons = np.zeros((arms, n), np.uint32)
    for a in range(arms):
        for i in range(n):
            # The clip takes off what rounding put on: the pose was checked.
            low, high = min(of.laws[i].q_min, state.q[a, i]), max(of.laws[i].q_max, state.q[a, i])
            q[a, i], v[a, i] = min(max(path[0, a, i], low), high), speeds[0, a, i]
            if bad[a]:
                target[a, i], speed[a, i] = q[a, i], v[a, i]
            elif abs(q[a, i] - request[a, i]) > of.tolerance:
                reasons[a, i] = of.reason_of[bits[a, i]]
            reasons[a, i] |= why[a]
    return q, v, target, speed, path[1:], speeds[1:], reasons


@compiled
def _broken(of: Settings, state: State, path: Array, speeds: Array, bad: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Reasons why motions (ticks, ways * arms, n) may not be, as far as the joints and the requests tell."""
    bits = broken(of.laws, state.q, state.v, state.u, path, speeds)
    why = np.empty(len(bits), np.uint32)
    for m in range(len(bits)):
        why[m] = of.nonfinite if bad[m % len(bad)] else of.reason_of[bits[m]]
    return why
