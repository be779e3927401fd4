"""Geometry and ratings of Universal Robots' arms: what the driver compares with the controller's own numbers, and what
the emulator is made of.

Sources: Universal Robots, "DH Parameters for calculations of kinematics and dynamics" (a, d, alpha, masses); "UR5e user
manual", technical specifications, and the like (joint ranges, 180 deg/s, UR3e wrist 3 without end stops and 360 deg/s
at its wrists); "Max. joint torques".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from ..interface import Array

JOINT_NAMES = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
"""Names in Universal Robots' own ROS description, from the base to the tool."""

DH_ALPHA = (pi / 2, 0.0, 0.0, pi / 2, -pi / 2, 0.0)
"""Denavit-Hartenberg alpha of all models [rad]."""


@dataclass(frozen=True)
class UrModel:
    """One model.

    Attributes:
        name: as in ``driver_kwargs.model``.
        robot_type: the controller's number of its family.
        dh_a: Denavit-Hartenberg a [m].
        dh_d: Denavit-Hartenberg d [m].
        masses: of the links [kg].
        dq_max: joint speed ratings [rad/s].
        tau_max: joint torque ratings [N m].
        q_max: end of the joint ranges, on both sides [rad].
    """

    name: str
    robot_type: int
    dh_a: tuple[float, ...]
    dh_d: tuple[float, ...]
    masses: tuple[float, ...]
    dq_max: tuple[float, ...]
    tau_max: tuple[float, ...]
    q_max: tuple[float, ...] = (2 * pi,) * 6

    def forward(self, q: Array) -> Array:
        """Pose of the flange (4, 4) in the base's frame for joint positions (6,) [rad]."""
        pose = np.eye(4)
        for theta, a, d, alpha in zip(q, self.dh_a, self.dh_d, DH_ALPHA, strict=True):
            c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
            pose = pose @ np.array(
                [
                    [c, -s * ca, s * sa, a * c],
                    [s, c * ca, -c * sa, a * s],
                    [0.0, sa, ca, d],
                    [0.0, 0.0, 0.0, 1.0],
                ]
            )
        return pose


MODELS = {
    model.name: model
    for model in (
        UrModel(
            name="ur3e",
            robot_type=3,
            dh_a=(0.0, -0.24355, -0.2132, 0.0, 0.0, 0.0),
            dh_d=(0.15185, 0.0, 0.0, 0.13105, 0.08535, 0.0921),
            masses=(1.98, 3.4445, 1.437, 0.871, 0.805, 0.261),
            dq_max=(pi, pi, pi, 2 * pi, 2 * pi, 2 * pi),
            tau_max=(56.0, 56.0, 28.0, 12.0, 12.0, 12.0),
        ),
        UrModel(
            name="ur5e",
            robot_type=1,
            dh_a=(0.0, -0.425, -0.3922, 0.0, 0.0, 0.0),
            dh_d=(0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996),
            masses=(3.761, 8.058, 2.846, 1.37, 1.3, 0.365),
            dq_max=(pi,) * 6,
            tau_max=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),
        ),
    )
}
"""Name -> model."""


def find(name: str) -> UrModel:
    """Return a model by name.

    Raises:
        ValueError: it is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"UR model '{name}' is unknown; known: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def rotation_vector(rotation: Array) -> Array:
    """Axis times angle (3,) [rad] of a rotation matrix (3, 3), as Universal Robots writes orientations."""
    angle = float(np.arccos(np.clip(0.5 * (np.trace(rotation) - 1.0), -1.0, 1.0)))
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    if angle < 1e-9:
        return np.zeros(3)
    if pi - angle > 1e-6:
        return angle * skew / (2.0 * np.sin(angle))
    column = (rotation + np.eye(3))[:, int(np.argmax(np.diag(rotation)))]  # half a turn: the axis is in R + 1
    return angle * column / np.linalg.norm(column)
