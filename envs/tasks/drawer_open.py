"""Pull a drawer open by its handle."""

from __future__ import annotations

from typing import ClassVar

import mujoco
import numpy as np

from ..arm_env import FloatArray
from .fixture import FixtureEnv
from .fixture_scene import BAR, BASE_RGBA, PANEL, add_handle, add_part, add_shape

TRAVEL = 0.12
"""Of the drawer, for a large arm as all lengths here [m]."""
TOP = 0.065
"""Height of cabinet and handle [m]."""
HALF_WIDTH, HALF_DEPTH = 0.08, 0.08
"""Half edges of the cabinet [m]."""
FRICTION, DAMPING = 2.0, 15.0
"""Of the runners [N, N s/m]; they go with the square of the size."""


class DrawerOpenEnv(FixtureEnv):
    """Pull a drawer that is closed, or open by up to 1.5 cm, until it is open by 4 to 11 cm.

    Everything is as in `FixtureEnv`; the goal is where the middle of the handle should be, within 1.5 cm. The peg in
    the hand fits into the handle from above.
    """

    batched = True
    radius: ClassVar[float] = 0.015
    goals: ClassVar[tuple[float, float]] = (0.04, 0.11)
    begins: ClassVar[tuple[float, float]] = (0.0, 0.015)
    hook: ClassVar[float] = 0.025

    def build(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, scale: float) -> None:
        """Add cabinet and drawer; see `FixtureEnv.build`."""
        wall = BAR / 2.0
        front = -PANEL - wall  # of the cabinet; it reaches through the table
        middle, low = front - HALF_DEPTH, -0.02
        half = (TOP - low) / 2.0
        add_shape(body, (middle, 0.0, TOP - wall), (HALF_DEPTH, HALF_WIDTH, wall), scale, BASE_RGBA)
        for side in (-1.0, 1.0):
            at = (middle, side * (HALF_WIDTH - wall), TOP - half)
            add_shape(body, at, (HALF_DEPTH, wall, half), scale, BASE_RGBA)
        add_shape(body, (front - 2.0 * HALF_DEPTH + wall, 0.0, TOP - half), (wall, HALF_WIDTH, half), scale, BASE_RGBA)
        part = add_part(
            spec,
            body,
            TOP * scale,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(1.0, 0.0, 0.0),
            range=(0.0, TRAVEL * scale),
            frictionloss=FRICTION * scale**2,
            damping=DAMPING * scale**2,
        )
        add_handle(part, scale)
        add_shape(part, (-PANEL, 0.0, -0.03), (wall, HALF_WIDTH, 0.03), scale)
        depth = HALF_DEPTH - BAR
        add_shape(part, (-PANEL - depth, 0.0, -0.05), (depth, HALF_WIDTH - 2.0 * BAR, wall), scale)

    def path(self, travel: FloatArray) -> FloatArray:
        """Middle of the handle's upper side; see `FixtureEnv.path`."""
        return np.stack([travel, 0.0 * travel, 0.0 * travel + TOP * self.workspace.scale], axis=-1)
