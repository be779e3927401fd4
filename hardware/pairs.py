"""Which bodies of an arm must keep away from what: every pair of a chain in a scene."""

from __future__ import annotations

import numpy as np

from .chain import Chain, rotation
from .geometry import CRATE, ROD, WALL, Kinematics, PairTable
from .interface import Array, Reason
from .scene import SceneConfig

_STILL = 1e-6
"""Motion of a pair that counts as none [m/rad]: a link that turns about its own axis."""


def kinematics_in(chain: Chain, scene: SceneConfig) -> Kinematics:
    """The chain's numbers, with the capsules of the scene as further bodies of its base."""
    arm, fixed = chain.kinematics, [(c.start, c.end) for c in scene.capsules]
    return arm._replace(
        frame=np.concatenate([arm.frame, np.zeros(len(fixed), dtype=np.int64)]),
        ends=np.concatenate([arm.ends, np.array(fixed, dtype=np.float64).reshape(-1, 2, 3)]),
    )


def list_pairs(chain: Chain, scene: SceneConfig) -> tuple[list[str], PairTable]:
    """Names and numbers of all pairs of a chain in a scene.

    Raises:
        LimitsMismatch: the scene names a body that the chain has not.
    """
    return _List(chain, scene).names_and_table()


class _List:
    def __init__(self, chain: Chain, scene: SceneConfig) -> None:
        self.chain, self.scene, self.reach = chain, scene, chain.reach()
        self.capsules = [i for i, body in enumerate(chain.bodies) if body.radius > 0.0]
        self.names: list[str] = []
        self.rows: list[tuple[int, int, int, float, float, Reason]] = []
        self.motions: list[Array] = []
        self.walls: list[tuple[Array, float]] = []
        self._rods()
        self._crates()
        self._walls()

    def names_and_table(self) -> tuple[list[str], PairTable]:
        kind, body, other, radius, margin, reason = zip(*self.rows, strict=True) if self.rows else ((),) * 6
        boxes = self.scene.boxes
        table = PairTable(
            kind=np.array(kind, dtype=np.int64),
            body=np.array(body, dtype=np.int64),
            other=np.array(other, dtype=np.int64),
            radius=np.array(radius, dtype=np.float64),
            margin=np.array(margin, dtype=np.float64),
            motion=np.array(self.motions, dtype=np.float64).reshape(-1, self.chain.n),
            reason=np.array(reason, dtype=np.uint32),
            box_pos=np.array([box.pos for box in boxes], dtype=np.float64).reshape(-1, 3),
            box_turn=np.array([rotation(box.quat) for box in boxes]).reshape(-1, 3, 3),
            box_half=np.array([box.half_size for box in boxes], dtype=np.float64).reshape(-1, 3),
            normal=np.array([normal for normal, _ in self.walls], dtype=np.float64).reshape(-1, 3),
            offset=np.array([offset for _, offset in self.walls], dtype=np.float64),
        )
        return self.names, table

    def _add(self, name: str, motion: Array, kind: int, body: int, other: int, radius: float, reason: Reason) -> None:
        if (motion > _STILL).any():  # else nothing moves one against the other
            margin = self.scene.margin_m if reason is Reason.COLLISION else 0.0
            self.names.append(name)
            self.motions.append(motion)
            self.rows.append((kind, body, other, radius, margin, reason))

    def _add_obstacle(self, name: str, of: tuple[str, ...], kind: int, other: int, radius: float = 0.0) -> None:
        for i in [self.chain.index(body) for body in of] or self.capsules:
            body = self.chain.bodies[i]
            both = f"{body.name} and {name}"
            self._add(both, self.reach[i], kind, i, other, radius + body.radius, Reason.COLLISION)

    def _rods(self) -> None:
        chain, bodies = self.chain, self.chain.bodies
        for pair in chain.pairs if self.scene.self_collision else ():
            a, b = sorted((chain.index(name) for name in pair), key=lambda i: bodies[i].frame)
            motion = self.reach[b].copy()
            motion[: bodies[a].frame] = 0.0  # these joints move both alike
            both = bodies[a].radius + bodies[b].radius
            self._add(" and ".join(pair), motion, ROD, a, b, both, Reason.COLLISION)
        for k, rod in enumerate(self.scene.capsules):
            self._add_obstacle(rod.name, rod.of, ROD, len(bodies) + k, rod.radius)

    def _crates(self) -> None:
        for k, box in enumerate(self.scene.boxes):
            self._add_obstacle(box.name, box.of, CRATE, k)

    def _walls(self) -> None:
        for plane in self.scene.planes:
            normal = np.asarray(plane.normal) / np.linalg.norm(plane.normal)
            self._add_obstacle(plane.name, plane.of, WALL, len(self.walls))
            self.walls.append((normal, float(normal @ plane.point)))
        for space in self.scene.workspaces:
            for i in (self.chain.index(name) for name in space.of):
                self._add_borders(i, space.lower, space.upper)

    def _add_borders(self, i: int, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        body = self.chain.bodies[i]
        for axis in range(3):
            for sign, corner in ((1.0, lower), (-1.0, upper)):
                end = f"{body.name} and {'lower' if sign > 0 else 'upper'} {'xyz'[axis]} of the workspace"
                self._add(end, self.reach[i], WALL, i, len(self.walls), body.radius, Reason.WORKSPACE)
                self.walls.append((sign * np.eye(3)[axis], sign * corner[axis]))
