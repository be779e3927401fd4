"""Which bodies of an arm must keep away from what, and how far they are: every pair of a chain in a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .chain import Chain, rotation
from .distance import segment_box, segment_plane, segment_segment
from .interface import Array, Reason
from .scene import SceneConfig

_STILL = 1e-6
"""Motion of a pair that counts as none [m/rad]: a link that turns about its own axis."""


class Pairs:
    """All pairs of a chain in a scene, in the order rods (capsule and capsule), crates (capsule and box), walls.

    Args:
        chain: the arm.
        scene: what to keep clear of.

    Attributes:
        names: of the pairs.
        margin: distance to keep (pairs,) [m].
        reason: ``Reason`` bit of each (pairs,).
        motion: how far each joint moves the two against each other at most (pairs, n) [m/rad].
        reach: how far each joint moves a body (bodies, n) [m/rad].
    """

    def __init__(self, chain: Chain, scene: SceneConfig) -> None:
        self.chain, self.reach = chain, chain.reach()
        self.names: list[str] = []
        self._fixed = np.array([(c.start, c.end) for c in scene.capsules], dtype=np.float64).reshape(-1, 2, 3)
        self._capsules = [i for i, body in enumerate(chain.bodies) if body.radius > 0.0]
        self._margins: list[float] = []
        self._reasons: list[Reason] = []
        self._motions: list[Array] = []
        rods, crates, walls = self._list_rods(scene), self._list_crates(scene), self._list_walls(scene)
        self.margin, self.reason = np.array(self._margins), np.array(self._reasons, dtype=np.uint32)
        self.motion = np.array(self._motions).reshape(-1, chain.n)
        self._rods = np.array(rods, dtype=np.int64).reshape(-1, 2).T
        self._crates = np.array([i for i, _ in crates], dtype=np.int64)
        chosen = [scene.boxes[k] for _, k in crates]
        self._box_pos = np.array([box.pos for box in chosen]).reshape(-1, 1, 3)
        self._box_turn = np.array([rotation(box.quat) for box in chosen]).reshape(-1, 3, 3)
        self._box_half = np.array([box.half_size for box in chosen], dtype=np.float64).reshape(-1, 3)
        self._walls = np.array([i for i, _, _ in walls], dtype=np.int64)
        self._normal = np.array([normal for _, normal, _ in walls]).reshape(-1, 3)
        self._offset = np.array([offset for _, _, offset in walls])
        radii = np.array([body.radius for body in chain.bodies] + [c.radius for c in scene.capsules])
        self._radius = np.concatenate([radii[self._rods].sum(axis=0), radii[self._crates], radii[self._walls]])
        self._borders = np.cumsum([self._rods.shape[1], len(self._crates)])

    def _add(self, name: str, motion: Array, margin: float, reason: Reason) -> bool:
        if not (motion > _STILL).any():  # nothing moves one against the other
            return False
        self.names.append(name)
        self._motions.append(motion)
        self._margins.append(margin)
        self._reasons.append(reason)
        return True

    def _add_obstacle(self, name: str, of: tuple[str, ...], margin: float) -> list[int]:
        chain = self.chain
        bodies = [chain.index(body) for body in of] or self._capsules
        texts = [f"{chain.bodies[i].name} and {name}" for i in bodies]
        return [i for i, t in zip(bodies, texts, strict=True) if self._add(t, self.reach[i], margin, Reason.COLLISION)]

    def _list_rods(self, scene: SceneConfig) -> list[tuple[int, int]]:
        chain, rods = self.chain, []
        for pair in chain.pairs if scene.self_collision else ():
            a, b = sorted((chain.index(name) for name in pair), key=lambda i: chain.bodies[i].frame)
            motion = self.reach[b].copy()
            motion[: chain.bodies[a].frame] = 0.0  # these joints move both alike
            if self._add(" and ".join(pair), motion, scene.margin_m, Reason.COLLISION):
                rods.append((a, b))
        for k, capsule in enumerate(scene.capsules):
            for i in self._add_obstacle(capsule.name, capsule.of, scene.margin_m):
                rods.append((i, len(chain.bodies) + k))
        return rods

    def _list_crates(self, scene: SceneConfig) -> list[tuple[int, int]]:
        found = ((k, self._add_obstacle(box.name, box.of, scene.margin_m)) for k, box in enumerate(scene.boxes))
        return [(i, k) for k, bodies in found for i in bodies]

    def _list_walls(self, scene: SceneConfig) -> list[tuple[int, Array, float]]:
        chain, walls = self.chain, []
        for plane in scene.planes:
            normal = np.asarray(plane.normal) / np.linalg.norm(plane.normal)
            for i in self._add_obstacle(plane.name, plane.of, scene.margin_m):
                walls.append((i, normal, float(normal @ plane.point)))
        for space in scene.workspaces:
            for i in (chain.index(name) for name in space.of):
                for axis in range(3):
                    for sign, corner in ((1.0, space.lower), (-1.0, space.upper)):
                        normal = sign * np.eye(3)[axis]
                        end = f"{'lower' if sign > 0 else 'upper'} {'xyz'[axis]} of the workspace"
                        if self._add(f"{chain.bodies[i].name} and {end}", self.reach[i], 0.0, Reason.WORKSPACE):
                            walls.append((i, normal, sign * corner[axis]))
        return walls

    def limits_of_points(self) -> list[tuple[int, NDArray[np.int64], Array]]:
        """Points within workspaces, without radius and margin: body, its pairs (walls,), normals (walls, 3)."""
        walls = np.flatnonzero(self.reason[self._borders[1] :] == Reason.WORKSPACE)
        walls = walls[self._radius[self._borders[1] + walls] == 0.0]
        bodies = sorted({int(i) for i in self._walls[walls] if self.chain.bodies[i].start == self.chain.bodies[i].end})
        of = [(i, walls[self._walls[walls] == i]) for i in bodies]
        return [(i, self._borders[1] + w, self._normal[w]) for i, w in of]

    def ends(self, q: ArrayLike) -> Array:
        """Ends of the bodies and of the scene's capsules at poses (..., n): (..., bodies + capsules, 2, 3) [m]."""
        ends = self.chain.ends(q)
        if not len(self._fixed):
            return ends
        return np.concatenate([ends, np.broadcast_to(self._fixed, (*ends.shape[:-3], *self._fixed.shape))], axis=-3)

    def apart(self, ends: Array, which: NDArray[np.int64]) -> Array:
        """Distances of the pairs `which`, in rising order, surface to surface (..., which) [m]."""
        first, second = which.searchsorted(self._borders)
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

    def at_least(self, ends: Array) -> Array:
        """Bounds from below on all distances, from spheres around the bodies (..., pairs) [m]."""
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
