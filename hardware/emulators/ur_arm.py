"""The arm behind the UR emulator: MuJoCo, made from the Denavit-Hartenberg table, or any MJCF with six joints.

Its clock is the controller's: one control cycle, one step of the clock, whatever the machine does meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..clock import FakeClock
from ..drivers.sim import SimArmDriver
from ..errors import LimitsMismatch
from ..interface import Array
from ..wire.ur_models import DH_ALPHA, JOINT_NAMES, UrModel

HOME = (0.0, -1.5707963267948966, 1.5707963267948966, -1.3, -1.5707963267948966, 0.4)
"""Pose at power-on [rad]: upright, no singularity, no two joints alike but shoulder_lift and wrist_2."""

_TIMESTEP_S = 0.002
_STIFFNESS = (8000.0, 8000.0, 8000.0, 1000.0, 1000.0, 1000.0)  # N m/rad
_DAMPING = (240.0, 240.0, 240.0, 22.0, 22.0, 22.0)  # N m s/rad
_ARMATURE = (1.5, 1.5, 1.5, 0.12, 0.12, 0.12)  # kg m^2, rotors behind their gears; made up for a tight servo


def make_mjcf(model: UrModel, home: Sequence[float] = HOME) -> str:
    """Describe an arm by its Denavit-Hartenberg parameters; drives and inertias are stand-ins.

    Args:
        model: the arm.
        home: pose of the keyframe (6,) [rad].
    """
    bodies, end = "", ""
    a, d, alpha = 0.0, 0.0, 0.0
    for i, name in enumerate(JOINT_NAMES):
        bodies += (
            f'<body name="link{i + 1}" pos="{a} 0 {d}" quat="{np.cos(alpha / 2)} {np.sin(alpha / 2)} 0 0" gravcomp="1">'
            f'<joint name="{name}" axis="0 0 1" range="{-model.q_max[i]} {model.q_max[i]}" armature="{_ARMATURE[i]}"/>'
        )
        a, d, alpha = model.dh_a[i], model.dh_d[i], DH_ALPHA[i]
        bodies += (
            f'<geom type="capsule" size="0.04" fromto="0 0 0 {a} 0 {d}" mass="{model.masses[i]}"'
            ' contype="0" conaffinity="0"/>'
        )
        end += "</body>"
    quat = f"{np.cos(alpha / 2)} {np.sin(alpha / 2)} 0 0"
    drives = "".join(
        f'<position name="{n}" joint="{n}" kp="{p}" kv="{v}" forcerange="{-t} {t}"/>'
        for n, p, v, t in zip(JOINT_NAMES, _STIFFNESS, _DAMPING, model.tau_max, strict=True)
    )
    pose = " ".join(repr(float(x)) for x in home)
    return (
        f'<mujoco model="{model.name}"><compiler angle="radian"/>'
        f'<option timestep="{_TIMESTEP_S}" integrator="implicitfast"/>'
        '<default><joint limited="true"/></default>'
        f'<worldbody>{bodies}<site name="flange" pos="{a} 0 {d}" quat="{quat}"/>{end}</worldbody>'
        f'<actuator>{drives}</actuator><keyframe><key name="home" qpos="{pose}" ctrl="{pose}"/></keyframe></mujoco>'
    )


class UrArm:
    """Six driven joints that take position targets each control cycle.

    Args:
        model: geometry of the built-in arm.
        dt: control cycle [s].
        mjcf: another model file, None for the built-in one.
        joints: its joints from base to tool.
        home: first pose: a keyframe, positions (6,) [rad], or None for the file's own.
    """

    def __init__(
        self,
        model: UrModel,
        dt: float,
        mjcf: str | None = None,
        joints: Sequence[str] = JOINT_NAMES,
        home: str | Sequence[float] | None = None,
    ) -> None:
        if len(joints) != 6:
            raise LimitsMismatch(f"UR emulator: {len(joints)} joints {list(joints)}, a UR controller has 6")
        self._clock, self._dt = FakeClock(), dt
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{model.name}.xml"
            path.write_text(make_mjcf(model))
            self._sim = SimArmDriver(mjcf or path, tuple(joints), home, clock=self._clock)
            self.info = self._sim.open()
        self._sim.enable()
        self.guided = False
        self.q, self.dq, self.tau = self._look()

    @property
    def true_q(self) -> Array:
        """True joint positions (6,) [rad]."""
        return self._sim.true_q

    def guide(self, on: bool) -> None:
        """Let the joints go where they are pushed, or hold them where they are."""
        self._sim.freedrive(on)
        self.guided = on

    def step(self, target: Array) -> None:
        """Pass one control cycle with a position target (6,) [rad]; then ``q``, ``dq``, ``tau`` are new."""
        if not self.guided:
            self._sim.write(target, 0.0)
        self._clock.advance(self._dt)
        self.q, self.dq, self.tau = self._look()

    def inject(self, kind: str, **settings: Any) -> None:
        """Let the arm itself fail: "jam", "push" or "encoder_jump", see ``drivers.sim.SimFault``."""
        self._sim.inject(kind=kind, **settings)

    def heal(self) -> None:
        """End those failures."""
        self._sim.heal()

    def _look(self) -> tuple[Array, Array, Array]:
        state = self._sim.read(0.0)
        return state.q, state.dq, state.tau if state.tau is not None else np.zeros(6)
