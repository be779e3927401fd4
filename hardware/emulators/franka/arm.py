"""The arm behind the Franka emulator: MuJoCo, made from the arm's published geometry, or any MJCF with seven joints.

Its clock is the controller's: one call, one step of the clock, whatever the machine does meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...clock import FakeClock
from ...drivers.sim import SimArmDriver
from ...errors import LimitsMismatch
from ...interface import Array
from ...wire.franka_models import FrankaModel, N

STEP_S = 0.004
"""Time between two looks at the simulation [s]: four cycles of the controller share one measurement."""

_STIFFNESS = (8000.0,) * 4 + (1500.0,) * 3  # N m/rad
_DAMPING = (160.0,) * 4 + (30.0,) * 3  # N m s/rad; over the stiffness: a lag of 20 ms
_ARMATURE = (0.605721456,) * 2 + (0.462474144,) * 2 + (0.205544064,) * 3  # kg m^2: Drake's franka_description/README.md


def make_mjcf(model: FrankaModel, home: Sequence[float]) -> str:
    """Describe an arm by its geometry; drives and inertias are stand-ins.

    Args:
        model: the arm.
        home: pose of the keyframe (7,) [rad].
    """
    bodies, drives, end = "", "", ""
    for i, name in enumerate(model.joint_names):
        x, y, z = model.origins[i]
        roll, low, high, tau = model.rolls[i], model.q_min[i], model.q_max[i], model.tau_max[i]
        centre = " ".join(map(str, model.centres[i]))
        bodies += (
            f'<body name="link{i + 1}" pos="{x} {y} {z}" quat="{np.cos(roll / 2)} {np.sin(roll / 2)} 0 0" gravcomp="1">'
            f'<joint name="{name}" axis="0 0 1" range="{low} {high}" armature="{_ARMATURE[i]}"/>'
            f'<inertial pos="{centre}" mass="{model.masses[i]}" diaginertia="0.02 0.02 0.02"/>'
        )
        gains = f'kp="{_STIFFNESS[i]}" kv="{_DAMPING[i]}" forcerange="{-tau} {tau}"'
        drives += f'<position name="{name}" joint="{name}" {gains}/>'
        end += "</body>"
    pose = " ".join(repr(float(x)) for x in home)
    return (
        f'<mujoco model="{model.name}"><compiler angle="radian"/>'
        f'<option timestep="{STEP_S / 2}" integrator="implicitfast"/><default><joint limited="true"/></default>'
        f'<worldbody>{bodies}<site name="flange" pos="0 0 {model.origins[N][2]}"/>{end}</worldbody>'
        f'<actuator>{drives}</actuator><keyframe><key name="home" qpos="{pose}" ctrl="{pose}"/></keyframe></mujoco>'
    )


class FrankaArm:
    """Seven driven joints that take position targets.

    Args:
        model: geometry of the built-in arm.
        mjcf: another model file, None for the built-in one.
        joints: its joints from base to tool, None for the names of the model.
        home: first pose (7,) [rad], None for the vendor's ready pose.
    """

    def __init__(
        self,
        model: FrankaModel,
        mjcf: str | None = None,
        joints: Sequence[str] | None = None,
        home: Sequence[float] | None = None,
    ) -> None:
        names = tuple(joints or model.joint_names)
        if len(names) != N:
            raise LimitsMismatch(f"Franka emulator: {len(names)} joints {list(names)}, a Franka arm has {N}")
        self._clock = FakeClock()
        pose = tuple(home or model.home)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{model.name}.xml"
            path.write_text(make_mjcf(model, pose))
            self._sim = SimArmDriver(mjcf or path, names, pose, clock=self._clock)
            self._sim.open()
        self._sim.enable()
        self.q, self.dq, self.tau = self._look()

    @property
    def true_q(self) -> Array:
        """True joint positions (7,) [rad]."""
        return self._sim.true_q

    def step(self, target: Array) -> None:
        """Pass ``STEP_S`` with a position target (7,) [rad]; then ``q``, ``dq``, ``tau`` are new."""
        self._sim.write(target, 0.0)
        self._clock.advance(STEP_S)
        self.q, self.dq, self.tau = self._look()

    def inject(self, kind: str, **settings: Any) -> None:
        """Let the arm itself fail: "jam" or "encoder_jump", see ``drivers.sim.SimFault``."""
        self._sim.inject(kind=kind, **settings)

    def heal(self) -> None:
        """End those failures."""
        self._sim.heal()

    def _look(self) -> tuple[Array, Array, Array]:
        state = self._sim.read(0.0)
        return state.q, state.dq, state.tau if state.tau is not None else np.zeros(N)
