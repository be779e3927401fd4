"""Pull a door open by its handle."""

from __future__ import annotations

from typing import ClassVar

import mujoco
import numpy as np

from ..arm_env import FloatArray
from .fixture import FixtureEnv
from .fixture_scene import BAR, BASE_RGBA, PANEL, SLOT, add_handle, add_part, add_shape

ARM = 0.14
"""Distance of the hinge from the middle of the handle along the door, for a large arm as all lengths here [m]."""
TOP = 0.065
"""Height of cupboard and handle [m]."""
DEPTH = 0.08
"""Of the cupboard [m]."""
WIDEST = 1.3
"""Angle at which the door stops [rad]."""
FRICTION, DAMPING = 0.3, 0.2
"""Of the hinge [N m, N m s]: 2 N at the handle to move it; they go with the third power of the size."""


class DoorOpenEnv(FixtureEnv):
    """Pull a door that is closed, or open by up to 0.08 rad, until it is open by 0.5 to 1.2 rad.

    Everything is as in `FixtureEnv`; the goal is where the middle of the handle should be, within 2 cm (0.14 rad). The
    peg in the hand fits into the handle from above. The hinge is to the left of who faces the door.
    """

    batched = True
    radius: ClassVar[float] = 0.02
    unit: ClassVar[str] = "rad"
    goals: ClassVar[tuple[float, float]] = (0.5, 1.2)
    begins: ClassVar[tuple[float, float]] = (0.0, 0.08)
    hook: ClassVar[float] = 0.025

    def build(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, scale: float) -> None:
        """Add cupboard and door; see `FixtureEnv.build`."""
        wall, low = BAR / 2.0, -0.02  # it reaches through the table
        half, latch = (TOP - low) / 2.0, -(SLOT[1] + BAR)
        edges = (latch - wall, ARM + BAR)
        for y in edges:
            add_shape(body, (-PANEL - DEPTH / 2.0, y, TOP - half), (DEPTH / 2.0, wall, half), scale, BASE_RGBA)
        middle, half_width = (edges[0] + edges[1]) / 2.0, (edges[1] - edges[0]) / 2.0
        add_shape(body, (-PANEL - DEPTH, middle, TOP - half), (wall, half_width, half), scale, BASE_RGBA)
        part = add_part(
            spec,
            body,
            TOP * scale,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=(0.0, 0.0, 1.0),
            pos=np.array([-PANEL, ARM, 0.0]) * scale,
            range=(0.0, WIDEST),
            frictionloss=FRICTION * scale**3,
            damping=DAMPING * scale**3,
        )
        add_handle(part, scale)
        add_shape(part, (-PANEL, (ARM + latch) / 2.0, -0.03), (wall, (ARM - latch) / 2.0, 0.03), scale)

    def path(self, travel: FloatArray) -> FloatArray:
        """Middle of the handle's upper side, on an arc about the hinge; see `FixtureEnv.path`."""
        size, c, s = self.workspace.scale, np.cos(travel), np.sin(travel)
        x, y = PANEL * (c - 1.0) + ARM * s, ARM * (1.0 - c) + PANEL * s
        return np.stack([size * x, size * y, 0.0 * travel + size * TOP], axis=-1)
