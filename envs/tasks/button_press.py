"""Press a button to a depth, against its spring, and hold it there."""

from __future__ import annotations

from typing import ClassVar

import mujoco
import numpy as np

from ..arm_env import FloatArray
from .fixture import FixtureEnv
from .fixture_scene import BASE_RGBA, add_part, add_shape

DEPTH = 0.03
"""Travel of the button, for a large arm as all lengths here [m]."""
CAP_RADIUS, CAP_HEIGHT = 0.04, 0.065
"""Of the button; its upper side is as high above the table when it is not pressed [m]."""
HOUSING_HALF = (0.06, 0.06)
"""Half edges of the box around it [m]."""
FORCE = 12.0
"""Of the spring when fully pressed [N]; it goes with the square of the size."""
DAMPING = 20.0
"""[N s/m]"""


class ButtonPressEnv(FixtureEnv):
    """Press a button 8 cm across, of 3 cm travel, to a depth drawn between a third and nine tenths of it.

    Everything is as in `FixtureEnv`; the goal is where the middle of the button's upper side should be, within 4 mm.
    A spring pushes back with up to 12 N. The peg in the hand presses best; the button gives way to any part of the arm.
    """

    batched = True
    radius: ClassVar[float] = 0.004
    goals: ClassVar[tuple[float, float]] = (DEPTH / 3.0, 0.9 * DEPTH)

    def build(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, scale: float) -> None:
        """Add housing and button; see `FixtureEnv.build`."""
        top = CAP_HEIGHT - DEPTH - 0.005  # of the housing; the fixture reaches through the table
        add_shape(body, (0.0, 0.0, top - 0.05), (*HOUSING_HALF, 0.05), scale, BASE_RGBA)
        part = add_part(
            spec,
            body,
            CAP_HEIGHT * scale,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0.0, 0.0, -1.0),
            range=(0.0, DEPTH * scale),
            stiffness=FORCE / DEPTH * scale,
            damping=DAMPING * scale**1.5,
        )
        half = (CAP_HEIGHT - top + 0.02) / 2.0
        add_shape(part, (0.0, 0.0, -half), (CAP_RADIUS, half), scale)

    def path(self, travel: FloatArray) -> FloatArray:
        """Middle of the button's upper side; see `FixtureEnv.path`."""
        return np.stack([0.0 * travel, 0.0 * travel, CAP_HEIGHT * self.workspace.scale - travel], axis=-1)
