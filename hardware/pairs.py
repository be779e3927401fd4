"""Which bodies of an arm must keep away from what: every pair of a chain in a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chain import Chain, rotation
from .geometry import BODY, CRATE, PAIR, ROD, WALL, Kinematics, PairTable, records
from .interface import Array, Reason
from .scene import SceneConfig

_STILL = 1e-6
"""Motion of a pair that counts as none [m/rad]: a link that turns about its own axis."""


def kinematics_in(chain: Chain, scene: SceneConfig) -> Kinematics:
    """The chain's numbers, with the capsules of the scene as further bodies of its base."""
    arm, fixed = chain.kinematics, [(c.start, c.end) for c in scene.capsules]
    return arm._replace(bodies=np.concatenate([arm.bodies, records(len(fixed), BODY, ends=fixed)]))


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
        self.rows: list[NDArray[np.void]] = []
        self.motions: list[Array] = []
        self._rods()
        self._crates()
        self._walls()

    def names_and_table(self) -> tuple[list[str], PairTable]:
        rows = np.concatenate([records(0, PAIR), *self.rows])
        return self.names, PairTable(rows, np.array(self.motions, dtype=np.float64).reshape(-1, self.chain.n))

    def _add(self, name: str, motion: Array, reason: Reason, **fields: object) -> None:
        if (motion > _STILL).any():  # else nothing moves one against the other
            margin = self.scene.margin_m if reason is Reason.COLLISION else 0.0
            self.names.append(name)
            self.motions.append(motion)
            self.rows.append(records(1, PAIR, reason=int(reason), margin=margin, **fields))

    def _add_obstacle(self, name: str, of: tuple[str, ...], radius: float = 0.0, **fields: object) -> None:
        for i in [self.chain.index(body) for body in of] or self.capsules:
            body = self.chain.bodies[i]
            both, reach = f"{body.name} and {name}", self.reach[i]
            self._add(both, reach, Reason.COLLISION, body=i, radius=radius + body.radius, **fields)

    def _rods(self) -> None:
        chain, bodies = self.chain, self.chain.bodies
        for pair in chain.pairs if self.scene.self_collision else ():
            a, b = sorted((chain.index(name) for name in pair), key=lambda i: bodies[i].frame)
            motion = self.reach[b].copy()
            motion[: bodies[a].frame] = 0.0  # these joints move both alike
            both = bodies[a].radius + bodies[b].radius
            self._add(" and ".join(pair), motion, Reason.COLLISION, kind=ROD, body=a, other=b, radius=both)
        for k, rod in enumerate(self.scene.capsules):
            self._add_obstacle(rod.name, rod.of, rod.radius, kind=ROD, other=len(bodies) + k)

    def _crates(self) -> None:
        for box in self.scene.boxes:
            turn = rotation(box.quat)
            self._add_obstacle(box.name, box.of, kind=CRATE, pos=box.pos, turn=turn, half=box.half_size)

    def _walls(self) -> None:
        for plane in self.scene.planes:
            normal = np.asarray(plane.normal) / np.linalg.norm(plane.normal)
            offset = float(normal @ plane.point)
            self._add_obstacle(plane.name, plane.of, kind=WALL, normal=normal, offset=offset)
        for space in self.scene.workspaces:
            for i in (self.chain.index(name) for name in space.of):
                self._add_borders(i, space.lower, space.upper)

    def _add_borders(self, i: int, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        body = self.chain.bodies[i]
        for axis in range(3):
            for sign, corner in ((1.0, lower), (-1.0, upper)):
                end = f"{body.name} and {'lower' if sign > 0 else 'upper'} {'xyz'[axis]} of the workspace"
                border = {"normal": sign * np.eye(3)[axis], "offset": sign * corner[axis]}
                self._add(end, self.reach[i], Reason.WORKSPACE, kind=WALL, body=i, radius=body.radius, **border)
