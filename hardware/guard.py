"""Does a whole stop keep clear of obstacles, of the arm itself and of its workspace's walls? Numpy only.

A motion is a list of poses, one per tick. It is clear when at every tick every pair keeps its margin, and
when between two ticks no pair can touch: distances d1, d2 at both ends and a bound L on how far the pair can
move in between leave at least (d1 + d2 - L) / 2. The same bound saves most of the work: where it proves the
margin between two poses eight ticks apart, first with spheres around the bodies, then with exact distances,
the poses between need no look.

A single arm in real time also keeps the exact distances at a pose of a moment ago: what the joints have moved and will
move since then, times the same bounds, proves most pairs clear without any kinematics.

A pair that is closer than its margin already (an arm that was enabled there) may stay and move away, not
come closer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .chain import Chain, rotation
from .distance import segment_box, segment_plane, segment_segment
from .interface import Array, Reason
from .proof import Reference
from .scene import SceneConfig

STRIDE = 8
"""Ticks between the poses of the first look."""


FEW = 4
"""Motions that are looked at one by one: one arm, or the commands nearer to braking that it may take instead."""

KEEP = 10
"""Ticks that the distances of a pose are kept at least, for they cost as much as a look; also answers kept."""


_STILL = 1e-6
"""Motion of a pair that counts as none [m/rad]: a link that turns about its own axis."""


class Guard:
    """Checks motions of a chain in a scene; leading axes are independent arms.

    Args:
        chain: the arm.
        scene: what to keep clear of.
        dt: tick [s].
    """

    def __init__(self, chain: Chain, scene: SceneConfig, dt: float) -> None:
        self.chain, self.scene, self.dt = chain, scene, float(dt)
        self._reach = chain.reach()
        capsules = [i for i, body in enumerate(chain.bodies) if body.radius > 0.0]
        radii = np.array([body.radius for body in chain.bodies] + [c.radius for c in scene.capsules])
        fixed = [(c.start, c.end) for c in scene.capsules]
        self._fixed = np.array(fixed, dtype=np.float64).reshape(-1, 2, 3)
        self.names: list[str] = []
        margins: list[float] = []
        reasons: list[Reason] = []
        motions: list[Array] = []

        def add(name: str, motion: Array, margin: float, reason: Reason) -> bool:
            if not (motion > _STILL).any():  # nothing moves one against the other
                return False
            self.names.append(name)
            motions.append(motion)
            margins.append(margin)
            reasons.append(reason)
            return True

        def bodies(of: tuple[str, ...]) -> list[int]:
            return [chain.index(name) for name in of] or capsules

        rods = []
        if scene.self_collision:
            for pair in chain.pairs:
                a, b = sorted((chain.index(name) for name in pair), key=lambda i: chain.bodies[i].frame)
                motion = self._reach[b].copy()
                motion[: chain.bodies[a].frame] = 0.0  # these joints move both alike
                if add(" and ".join(pair), motion, scene.margin_m, Reason.COLLISION):
                    rods.append((a, b))
        for k, capsule in enumerate(scene.capsules):
            for i in bodies(capsule.of):
                name = f"{chain.bodies[i].name} and {capsule.name}"
                if add(name, self._reach[i], scene.margin_m, Reason.COLLISION):
                    rods.append((i, len(chain.bodies) + k))
        crates = []
        for k, box in enumerate(scene.boxes):
            for i in bodies(box.of):
                name = f"{chain.bodies[i].name} and {box.name}"
                if add(name, self._reach[i], scene.margin_m, Reason.COLLISION):
                    crates.append((i, k))
        walls: list[tuple[int, Array, float]] = []
        for plane in scene.planes:
            normal = np.asarray(plane.normal) / np.linalg.norm(plane.normal)
            for i in bodies(plane.of):
                name = f"{chain.bodies[i].name} and {plane.name}"
                if add(name, self._reach[i], scene.margin_m, Reason.COLLISION):
                    walls.append((i, normal, float(normal @ plane.point)))
        for space in scene.workspaces:
            for i in (chain.index(name) for name in space.of):
                for axis in range(3):
                    for sign, corner in ((1.0, space.lower), (-1.0, space.upper)):
                        normal = sign * np.eye(3)[axis]
                        end = f"{'lower' if sign > 0 else 'upper'} {'xyz'[axis]} of the workspace"
                        if add(f"{chain.bodies[i].name} and {end}", self._reach[i], 0.0, Reason.WORKSPACE):
                            walls.append((i, normal, sign * corner[axis]))
        self._margin, self._reason = np.array(margins), np.array(reasons, dtype=np.uint32)
        self._motion = np.array(motions).reshape(-1, chain.n)
        self._rods = np.array(rods, dtype=np.int64).reshape(-1, 2).T
        self._crates = np.array([i for i, _ in crates], dtype=np.int64)
        chosen = [scene.boxes[k] for _, k in crates]
        self._box_pos = np.array([box.pos for box in chosen]).reshape(-1, 1, 3)
        self._box_turn = np.array([rotation(box.quat) for box in chosen]).reshape(-1, 3, 3)
        self._box_half = np.array([box.half_size for box in chosen], dtype=np.float64).reshape(-1, 3)
        self._walls = np.array([i for i, _, _ in walls], dtype=np.int64)
        self._normal = np.array([normal for _, normal, _ in walls]).reshape(-1, 3)
        self._offset = np.array([offset for _, _, offset in walls])
        self._radius = np.concatenate([radii[self._rods].sum(axis=0), radii[self._crates], radii[self._walls]])
        self._borders = np.cumsum([self._rods.shape[1], len(self._crates)])
        self._reference: Reference | None = None
        self._answers: dict[bytes, int] = {}
        self._fast = np.array([chain.index(name) for name in scene.speed_of if scene.speed_max], dtype=np.int64)

    def clearances(self, q: ArrayLike) -> Array:
        """Distance of every pair in ``names``, surface to surface.

        Args:
            q: joint positions (..., n) [rad].

        Returns:
            distances (..., pairs) [m]; between axes or behind a plane below 0 where they overlap.
        """
        return self._apart(self._ends(q), np.arange(len(self.names)))

    def _ends(self, q: ArrayLike) -> Array:
        ends = self.chain.ends(q)
        return np.concatenate([ends, np.broadcast_to(self._fixed, (*ends.shape[:-3], *self._fixed.shape))], axis=-3)

    def _apart(self, ends: Array, which: NDArray[np.int64]) -> Array:
        # Distances of the pairs `which`, in rising order.
        first, second = np.searchsorted(which, self._borders)
        rods, crates, walls = which[:first], which[first:second] - self._borders[0], which[second:] - self._borders[1]
        parts = []
        if rods.size:
            a, b = ends[..., self._rods[0, rods], :, :], ends[..., self._rods[1, rods], :, :]
            parts.append(segment_segment(a[..., 0, :], a[..., 1, :], b[..., 0, :], b[..., 1, :]))
        if crates.size:
            inside = (ends[..., self._crates[crates], :, :] - self._box_pos[crates]) @ self._box_turn[crates]
            parts.append(segment_box(inside[..., 0, :], inside[..., 1, :], self._box_half[crates]))
        if walls.size:
            parts.append(self._from_walls(ends, walls))
        apart = np.concatenate(parts, axis=-1) if parts else np.zeros((*ends.shape[:-3], 0))
        return np.asarray(apart - self._radius[which])

    def _from_walls(self, ends: Array, walls: NDArray[np.int64]) -> Array:
        e = ends[..., self._walls[walls], :, :]
        return segment_plane(e[..., 0, :], e[..., 1, :], self._normal[walls], self._offset[walls])

    def _at_least(self, ends: Array) -> Array:
        # Bounds from below on all distances, from spheres around the bodies.
        middle = 0.5 * (ends[..., 0, :] + ends[..., 1, :])
        half = 0.5 * np.linalg.norm(ends[..., 1, :] - ends[..., 0, :], axis=-1)
        a, b = self._rods
        parts = [np.linalg.norm(middle[..., a, :] - middle[..., b, :], axis=-1) - half[..., a] - half[..., b]]
        if self._crates.size:
            at = middle[..., self._crates, None, :] - self._box_pos
            at = (at @ self._box_turn)[..., 0, :]
            outside = np.maximum(np.abs(at) - self._box_half, 0.0)
            parts.append(np.linalg.norm(outside, axis=-1) - half[..., self._crates])
        parts.append(self._from_walls(ends, np.arange(len(self._walls))))
        return np.asarray(np.concatenate(parts, axis=-1) - self._radius)

    def too_close(self, q: ArrayLike) -> list[str]:
        """Names of the pairs that are closer than their margin at one pose (n,) [rad]."""
        return [self.names[i] for i in np.flatnonzero(self.clearances(q) < self._margin)]

    def check(self, now: Array, path: Array) -> NDArray[np.uint32]:
        """Look at a motion as a whole.

        Args:
            now: present pose (..., n) [rad].
            path: poses to come, one per tick (ticks, ..., n) [rad].

        Returns:
            0 where it is clear, else ``Reason`` bits (...).
        """
        rows = np.concatenate([now[None], path]).reshape(len(path) + 1, -1, self.chain.n)
        if rows.shape[1] <= FEW:
            answers = [self._check_one(rows[:, i]) for i in range(rows.shape[1])]
            return np.array(answers, dtype=np.uint32).reshape(now.shape[:-1])
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        steps = np.abs(np.diff(rows, axis=0))
        moving = np.flatnonzero(steps.any(axis=(0, 2)))
        if moving.size:
            rows, steps = rows[:, moving], steps[:, moving]
            if self.names:
                found[moving] |= self._touching(rows, steps)
            if self._fast.size:
                found[moving] |= self._speeding(rows, steps)
        return found.reshape(now.shape[:-1])

    def _check_one(self, rows: Array) -> int:
        """The same for the poses (ticks + 1, n) of one arm: proofs first, then that look at what they leave open."""
        steps = np.abs(rows[1:] - rows[:-1])
        longest = steps.max(axis=0)
        if not longest.any():
            return 0
        key = rows.tobytes()  # an arm that stands before an obstacle asks the same again at every tick
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= KEEP:
                self._answers.clear()
            found = self._answers[key] = self._prove_or_look(rows, steps, longest)
        return found

    def _prove_or_look(self, rows: Array, steps: Array, longest: Array) -> int:
        reference = self._reference
        if reference is None:
            reference = self._refer(rows[0])
        open_pairs, open_ticks = reference.open(rows, steps, longest)
        reference.age += 1
        if reference.age >= KEEP and (open_pairs.size or open_ticks.size):
            open_pairs, open_ticks = self._refer(rows[0]).open(rows, steps, longest)
        found = 0
        if open_pairs.size:
            found |= int(self._touching(rows[:, None], steps[:, None], open_pairs)[0])
        if open_ticks.size:
            ends = np.stack([rows[open_ticks], rows[open_ticks + 1]])
            found |= int(self._speeding(ends.reshape(2, -1, self.chain.n), steps[open_ticks][None]).max(initial=0))
        return found

    def _refer(self, q: Array) -> Reference:
        jacobians = np.array([self.chain.jacobian(q, i) for i in self._fast]).reshape(-1, 3, self.chain.n)
        far = self.scene.speed_max * self.dt
        reach = self._reach[self._fast]
        self._reference = Reference(q.copy(), self.clearances(q), self._motion, self._margin, jacobians, reach, far)
        return self._reference

    def _touching(self, rows: Array, steps: Array, among: NDArray[np.int64] | None = None) -> NDArray[np.uint32]:
        last = len(rows) - 1
        at = np.append(np.arange(0, last, STRIDE), last)
        moved = np.add.reduceat(steps, at[:-1], axis=0) @ self._motion.T  # (intervals, arms, pairs)
        ends = self._ends(rows[at])
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        if among is None:
            pairs = np.flatnonzero(self._unproven(self._at_least(ends), moved, self._margin).any(axis=0))
        else:
            pairs = among
        if pairs.size:
            doubt = self._unproven(self._apart(ends, pairs), moved[..., pairs], self._margin[pairs])
            pairs, arms = pairs[doubt.any(axis=0)], np.flatnonzero(doubt.any(axis=1))
            if arms.size:
                found[arms] = self._look(rows[:, arms], steps[:, arms], pairs)
        return found

    @staticmethod
    def _unproven(d: Array, moved: Array, margin: Array) -> NDArray[np.bool_]:
        return np.asarray((0.5 * (d[:-1] + d[1:] - moved) < margin).any(axis=0))

    def _look(self, rows: Array, steps: Array, pairs: NDArray[np.int64]) -> NDArray[np.uint32]:
        d, margin = self._apart(self._ends(rows), pairs), self._margin[pairs]  # (ticks + 1, arms, pairs)
        bad = (d[1:] < np.minimum(margin, d[0])).any(axis=0)
        swept = 0.5 * (d[:-1] + d[1:] - steps @ self._motion[pairs].T) < 0.0
        bad |= swept.any(axis=0) & (d[0] >= margin) & (margin > 0.0)
        return np.asarray(np.bitwise_or.reduce(np.where(bad, self._reason[pairs], np.uint32(0)), axis=1))

    def _speeding(self, rows: Array, steps: Array) -> NDArray[np.uint32]:
        far = self.scene.speed_max * self.dt * (1.0 + 1e-9)
        found = np.zeros(rows.shape[1], dtype=np.uint32)
        doubtful = np.flatnonzero((steps @ self._reach[self._fast].T > far).any(axis=(0, 2)))
        if doubtful.size:
            points = self.chain.ends(rows[:, doubtful])[..., self._fast, 0, :]
            jump = np.linalg.norm(np.diff(points, axis=0), axis=-1)
            found[doubtful[(jump > far).any(axis=(0, 2))]] = Reason.POINT_SPEED
        return found
