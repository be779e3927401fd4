"""Does a whole stop keep clear of obstacles, of the arm itself and of its workspace's walls? Numpy only.

A motion is a list of poses, one per tick. It is clear when at every tick every pair keeps its margin, and
when between two ticks no pair can touch: distances d1, d2 at both ends and a bound L on how far the pair can
move in between leave at least (d1 + d2 - L) / 2. The same bound saves most of the work: where it proves the
margin between two poses eight ticks apart, first with spheres around the bodies, then with exact distances,
the poses between need no look.

A single arm in real time also keeps the exact distance of each pair at the pose where it last looked: what the joints
have moved and will move since then, times the same bounds, proves most pairs clear without any kinematics (``proof``).
What is left open is looked at for all the motions in question at once.

A pair that is closer than its margin already (an arm that was enabled there) may stay and move away, not
come closer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .chain import Chain
from .interface import Array, Reason
from .pairs import Pairs
from .proof import KnownDistances, KnownSpeeds, KnownWalls
from .scene import SceneConfig

STRIDE = 8
"""Ticks between the poses of the first look."""

FEW = 4
"""Motions that count as those of one arm: what it is asked for, or the commands nearer to braking instead."""

MANY = 1500
"""Poses times pairs up to which all are looked at at once; above, first one pose in STRIDE."""

KEEP = 10
"""Checks or ticks that what is known of all pairs, and Jacobians, are kept at least; also answers kept."""


class Guard:
    """Checks motions of a chain in a scene; leading axes are independent arms.

    Args:
        chain: the arm.
        scene: what to keep clear of.
        dt: tick [s].

    Attributes:
        looked: whether the last check of one arm's motion could not do with proofs; the next one hardly will.
    """

    def __init__(self, chain: Chain, scene: SceneConfig, dt: float) -> None:
        self.chain, self.scene, self.dt = chain, scene, float(dt)
        self.pairs = Pairs(chain, scene)
        self._known = KnownDistances(self.pairs.motion, self.pairs.margin)
        self._walls = [(i, KnownWalls(w, nrm, self.pairs.reach[i])) for i, w, nrm in self.pairs.limits_of_points()]
        self._age = KEEP
        self._speeds: KnownSpeeds | None = None
        self._answers: dict[bytes, int] = {}
        self.looked = False
        self._all = np.arange(len(self.pairs.names))
        self._fast = np.array([chain.index(name) for name in scene.speed_of if scene.speed_max], dtype=np.int64)

    @property
    def names(self) -> list[str]:
        """Names of the pairs that are looked at."""
        return self.pairs.names

    def clearances(self, q: ArrayLike) -> Array:
        """Distance of every pair in ``names``, surface to surface.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            distances (..., pairs) [m]; between axes or behind a plane below 0 where they overlap.
        """
        return self.pairs.apart(self.pairs.ends(q), self._all)

    def too_close(self, q: ArrayLike) -> list[str]:
        """Names of the pairs that are closer than their margin at one pose (n,) [rad]."""
        return [self.names[i] for i in np.flatnonzero(self.clearances(q) < self.pairs.margin)]

    def check(self, now: Array, path: Array) -> NDArray[np.uint32]:
        """Look at a motion as a whole.

        Args:
            now: present pose (..., n) [rad].
            path: poses to come, one per tick (ticks, ..., n) [rad].

        Returns:
            0 where it is clear, else ``Reason`` bits (...).
        """
        rows = np.concatenate([now[None], path]).reshape(len(path) + 1, -1, self.chain.n)
        steps = np.abs(rows[1:] - rows[:-1])
        if rows.shape[1] <= FEW:
            return np.array(self._check_few(rows, steps), dtype=np.uint32).reshape(now.shape[:-1])
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        moving = np.flatnonzero(steps.any(axis=(0, 2)))
        if moving.size:
            rows, steps = rows[:, moving], steps[:, moving]
            if self.names:
                found[moving] |= self._touching(rows, steps)
            if self._fast.size:
                found[moving] |= self._speeding(rows, steps)
        return found.reshape(now.shape[:-1])

    # One arm in real time
    # -------------------------------------------------------------------------------------------

    def prove(self, now: Array, low: Array, high: Array, slowest: Array, fastest: Array) -> bool:
        """Whether ``check`` would find a motion clear, as far as its extremes and what is known of before tell.

        Args:
            now: present pose (n,) [rad].
            low, high: smallest and largest position of each joint, the present one included (n,) [rad].
            slowest, fastest: its smallest and largest step in one tick, with the sign (n,) [rad].

        Returns:
            whether it is proven clear; False says nothing.
        """
        if self._open(low, high, np.maximum(fastest, -slowest)).size:
            return False
        if not self._fast.size:
            return True
        speeds = self._speeds or self._refer(now)
        speeds.age += 1
        if speeds.prove(low, high, slowest, fastest):
            return True
        return speeds.age >= KEEP and self._refer(now).prove(low, high, slowest, fastest)

    def _open(self, low: Array, high: Array, longest: Array) -> NDArray[np.int64]:
        found = self._known.open(low, high, longest)
        for _, walls in self._walls if found.size else ():
            clear = walls.which[walls.prove(low, high)]
            found = found[~(found[:, None] == clear).any(axis=1)]
        return found

    def _learn_all(self, q: Array) -> None:
        """Look at all pairs at the present pose (n,) alone."""
        self._age, apart = 0, self.clearances(q)
        self._known.learn(q, self._all, apart)
        for body, walls in self._walls:
            walls.learn(q.copy(), apart[walls.which], self.chain.jacobian(q, body))

    def _check_few(self, rows: Array, steps: Array) -> list[int]:
        """The same for few motions (ticks + 1, few, n) of one arm: proofs first, a look at what they leave open."""
        found = [0] * rows.shape[1]
        low, high, longest = rows.min(axis=0), rows.max(axis=0), steps.max(axis=0)
        doubtful, pairs = [], []
        self._age += 1
        keys: dict[int, bytes] = {}
        for i in range(len(found)):
            if not longest[i].any():
                continue
            box = low[i], high[i], longest[i]
            near = self._open(*box)
            if near.size and self._age >= KEEP:
                self._learn_all(rows[0, i])
                near = self._open(*box)
            fast = self._may_speed(rows[:, i], steps[:, i])
            if not (near.size or fast):
                continue
            keys[i] = rows[:, i].tobytes()  # an arm that stands before an obstacle asks the same again at every tick
            if keys[i] in self._answers:
                found[i] = self._answers.pop(keys[i])
                continue
            if fast:
                found[i] = int(self._speeding(rows[:, i, None], steps[:, i, None])[0])
            if near.size:
                doubtful.append(i)
                pairs.append(near)
        if doubtful:
            among = pairs[0] if len(pairs) == 1 else np.unique(np.concatenate(pairs))
            seen = self._touching(rows[:, doubtful], steps[:, doubtful], among)
            for i, bits in zip(doubtful, seen.tolist(), strict=True):
                found[i] |= bits
        self.looked = bool(doubtful)
        for i, key in keys.items():
            self._answers[key] = found[i]
        while len(self._answers) > KEEP:
            del self._answers[next(iter(self._answers))]
        return found

    def _may_speed(self, rows: Array, steps: Array) -> bool:
        if not self._fast.size:
            return False
        speeds = self._speeds or self._refer(rows[0])
        speeds.age += 1
        if not speeds.open(rows, steps).size:
            return False
        return speeds.age < KEEP or bool(self._refer(rows[0]).open(rows, steps).size)

    def _refer(self, q: Array) -> KnownSpeeds:
        jacobians = np.array([self.chain.jacobian(q, i) for i in self._fast])
        far = self.scene.speed_max * self.dt
        self._speeds = KnownSpeeds(q.copy(), jacobians, self.pairs.reach[self._fast], far)
        return self._speeds

    # A look
    # -------------------------------------------------------------------------------------------

    def _touching(self, rows: Array, steps: Array, among: NDArray[np.int64] | None = None) -> NDArray[np.uint32]:
        """Reasons (arms,) why motions (ticks + 1, arms, n) come too close; `among` some pairs, all from one pose."""
        if among is not None and len(rows) * rows.shape[1] * among.size <= MANY:
            d = self.pairs.apart(self.pairs.ends(rows), among)
            self._known.learn(rows[0, 0], among, d[0, 0])
            return self._judge(d[:-1], d[1:], steps, among, d[0])
        last = len(rows) - 1
        first = np.arange(0, last, STRIDE)
        moved = np.add.reduceat(steps, first, axis=0) @ self.pairs.motion.T  # (intervals, arms, pairs)
        ends, margin = self.pairs.ends(rows[np.append(first, last)]), self.pairs.margin
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        if among is None:
            pairs = np.flatnonzero(_unproven(self.pairs.at_least(ends), moved, margin).any(axis=(0, 1)))
        else:
            pairs = among
        if pairs.size:
            d = self.pairs.apart(ends, pairs)
            if among is not None:
                self._known.learn(rows[0, 0], pairs, d[0, 0])
            doubt = _unproven(d, moved[..., pairs], margin[pairs])
            some, arms, ticks = (np.flatnonzero(doubt.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2)))
            if arms.size:
                ticks = (first[ticks][:, None] + np.arange(STRIDE)).reshape(-1)
                ticks = ticks[ticks < last]
                ends = self.pairs.ends(rows[:, arms][np.stack([ticks, ticks + 1])])
                before, after = self.pairs.apart(ends, pairs[some])
                found[arms] = self._judge(before, after, steps[:, arms][ticks], pairs[some], d[0][arms][:, some])
        return found

    def _judge(
        self, before: Array, after: Array, steps: Array, pairs: NDArray[np.int64], here: Array
    ) -> NDArray[np.uint32]:
        """Reasons (arms,) from distances of pairs around each tick (ticks, arms, pairs), at present (arms, pairs)."""
        margin = self.pairs.margin[pairs]
        bad = (after < np.minimum(margin, here)).any(axis=0)
        swept = 0.5 * (before + after - steps @ self.pairs.motion[pairs].T) < 0.0
        bad |= swept.any(axis=0) & (here >= margin) & (margin > 0.0)
        return np.asarray(np.bitwise_or.reduce(np.where(bad, self.pairs.reason[pairs], np.uint32(0)), axis=1))

    def _speeding(self, rows: Array, steps: Array) -> NDArray[np.uint32]:
        far = self.scene.speed_max * self.dt * (1.0 + 1e-9)
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        doubtful = np.flatnonzero((steps @ self.pairs.reach[self._fast].T > far).any(axis=(0, 2)))
        if doubtful.size:
            points = self.chain.ends(rows[:, doubtful])[..., self._fast, 0, :]
            jump = np.linalg.norm(np.diff(points, axis=0), axis=-1)
            found[doubtful[(jump > far).any(axis=(0, 2))]] = Reason.POINT_SPEED
        return found


def _unproven(d: Array, moved: Array, margin: Array) -> NDArray[np.bool_]:
    return np.asarray(0.5 * (d[:-1] + d[1:] - moved) < margin)
