"""Put a peg into a hole."""

from __future__ import annotations

from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray
from ..observation import HOLE_SIZES, groups_of
from .fixture import LENGTH, FixtureEnv, Shares
from .fixture_scene import add_shape
from .fixture_script import FixtureScript
from .push_scene import TIP

RADIUS = 0.0125
"""Of the peg, for a large arm as all lengths here [m]; its tip is a half sphere."""
CLEARANCE = 0.002
"""Between the peg in the middle of the hole and each wall [m]. Actions do not turn the hand, whose tool tilts where
blocks stand, most with the SO-101: the peg needs more room than its width."""
HALF_BLOCK, TOP = 0.05, 0.06
"""Half edge and height of the block [m]."""
RIM = 0.012
"""Height of the tip over the rim at which the script looks for the hole [m]."""
CENTERED = 0.002
"""Distance from the axis of the hole within which it goes down [m]."""
LEARN, DRIFT = 0.1, 0.008
"""Share of its distance from that axis that the script adds to all actions that follow, and the most of it [m]."""
DESCENT = 0.008
"""Farthest that it goes down at once [m]."""


class PegInsertEnv(FixtureEnv):
    """Put a peg 2.5 cm across into a square hole 2.9 cm wide, 2 to 3 cm deep.

    Everything is as in `FixtureEnv` save that the hand holds a thinner peg, that nothing moves but the arm,
    and that the observation after the arm's is what `HOLE_UNITS` names. The goal is where the tip should be, within
    8 mm: it cannot be so low beside the hole.
    """

    batched = True
    radius: ClassVar[float] = 0.008
    goals: ClassVar[tuple[float, float]] = (0.02, 0.03)
    area: ClassVar[tuple[Shares, Shares]] = ((0.45, 0.08), (0.85, 0.92))
    peg: ClassVar[dict[str, float]] = {"radius": RADIUS, "length": LENGTH}

    def __init__(self, *args: Any, **options: Any) -> None:
        """Load arm, peg and block; arguments as of `FixtureEnv`."""
        super().__init__(*args, **options)
        self._tip = self.data.site_xpos[int(self.model.site(TIP).id)]

    def build(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, scale: float) -> None:
        """Add the block, as four walls; see `FixtureEnv.build`."""
        hole, half = RADIUS + CLEARANCE, (TOP + 0.02) / 2.0
        thick = (HALF_BLOCK - hole) / 2.0
        at, height = hole + thick, TOP - half
        for side in (-1.0, 1.0):
            add_shape(body, (side * at, 0.0, height), (thick, HALF_BLOCK, half), scale)
            add_shape(body, (0.0, side * at, height), (hole, thick, half), scale)

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a sensor for the tip, which the predictor reads."""
        super().edit_scene(spec)
        site = mujoco.mjtObj.mjOBJ_SITE
        spec.add_sensor(name=TIP, type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=site, objname=TIP)

    def path(self, travel: FloatArray) -> FloatArray:
        """Where the tip is when it is so deep in the hole; see `FixtureEnv.path`."""
        return np.stack([0.0 * travel, 0.0 * travel, TOP * self.workspace.scale - travel], axis=-1)

    @property
    def groups(self) -> dict[str, slice]:
        """Columns of the observation that follow those of the arm, see `HOLE_UNITS`."""
        return groups_of(HOLE_SIZES, self.robot_columns)

    def vector_observation(self) -> NDArray[np.float32]:
        """Observation vector of the present state, a new array."""
        seen, n = super().vector_observation(), self.robot_columns
        return np.concatenate([seen[:n], self._tip.astype(np.float32), seen[n:]])

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """The hole, (..., 5); see `ArmEnv.surroundings`."""
        yaw = qpos[..., 3:4]
        parts = (self.way(qpos[..., :4], np.zeros(qpos.shape[:-1])), np.cos(yaw), np.sin(yaw))
        return np.concatenate(parts, axis=-1, dtype=np.float32, casting="same_kind")

    def script(self, rng: np.random.Generator | None = None, noise: float = 0.0) -> FixtureScript:
        """A policy that solves the task from the observation alone."""
        return PegScript(self, rng, noise)


class PegScript(FixtureScript):
    """Over the hole, down to its rim, into it. For `cartesian_delta`."""

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the tip (3,) [m]."""
        super().reset(goal)
        self._drift = np.zeros(2)

    def shift(self, obs: FloatArray, tip: FloatArray) -> FloatArray:
        """Way that is left to the hand (3,) [m]; see `FixtureScript.shift`."""
        rim, left = obs[self._groups["hole_pos"]], self._goal - tip
        aside, above = float(np.linalg.norm(left[:2])), tip[2] - rim[2]
        if above > 0.0:
            if aside < RIM * self.size:  # what the pull to the posture would leave
                self._drift = np.clip(self._drift + LEARN * left[:2], -DRIFT * self.size, DRIFT * self.size)
            if aside > CENTERED * self.size:
                left[2] = RIM * self.size - above
                if above < 0.5 * RIM * self.size and aside > 5.0 * CENTERED * self.size:
                    left[:2] = 0.0  # up first
        else:
            left[:2] = 0.0  # the walls guide it
        left[:2] += self._drift
        left[2] = max(left[2], -DESCENT * self.size)
        return left
