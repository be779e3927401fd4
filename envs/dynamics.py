"""How hidden dynamics enter a MuJoCo model."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from .arms.arm import Arm
from .randomize import Dynamics

PAYLOAD_BODY = "payload"
PAYLOAD_RADIUS = 0.04
"""The payload is a solid sphere of this radius [m]."""
FRICTION_IMPEDANCE = 0.99
"""MuJoCo's dry friction is soft: at its default of 0.9 a joint under load creeps ten times faster."""


def add_payload(spec: mujoco.MjSpec, arm: Arm) -> None:
    """Add a body without mass at the tool centre point, for `ModelDynamics` to load.

    Args:
        spec: the arm's, from `Arm.load_model(edit=...)`.
        arm: the arm.
    """
    plain = arm.load_model()
    site = int(plain.site(arm.ee_site).id)
    parent = str(plain.body(int(plain.site_bodyid[site])).name)
    body = next(body for body in spec.bodies if body.name == parent)
    body.add_body(name=PAYLOAD_BODY, pos=plain.site_pos[site], explicitinertial=True, mass=0.0, ipos=np.zeros(3))
    # A body that something refers to is not fused with its parent. It has no shape, the pair never touches anyway.
    spec.add_exclude(name=PAYLOAD_BODY, bodyname1=PAYLOAD_BODY, bodyname2=parent)


GEOM_FIELDS = ("geom_size", "geom_rbound", "geom_aabb", "geom_friction")
CHANGED_FIELDS = (
    *("body_mass", "body_inertia", "body_pos", "body_ipos", "body_subtreemass", "body_invweight0"),
    *("dof_frictionloss", "dof_damping", "dof_solimp", "dof_invweight0"),
    *("actuator_gainprm", "actuator_biasprm", "actuator_acc0"),
    *GEOM_FIELDS,
)
"""What `ModelDynamics` changes of a model and what MuJoCo derives from it, save what is for pictures alone."""


class ModelDynamics:
    """Writes dynamics into a model, always starting from the values it was compiled with."""

    def __init__(self, model: mujoco.MjModel, arm: Arm) -> None:
        """Keep the nominal values.

        Args:
            model: of the arm, with the body of `add_payload`; `apply` changes it in place.
            arm: the arm.
        """
        self._model = model
        self._scratch = mujoco.MjData(model)
        self._body = int(model.body(PAYLOAD_BODY).id)
        self._joints = np.array([int(model.joint(name).dofadr[0]) for name in arm.joint_names])
        self._share = arm.tau_max / arm.tau_max.max()
        self._damping = model.dof_damping.copy()
        self._friction = model.dof_frictionloss.copy()
        self._gain = model.actuator_gainprm.copy()
        self._bias = model.actuator_biasprm.copy()
        self._mass = model.body_mass.copy()
        self._inertia = model.body_inertia.copy()
        self._links = links(model, arm)
        self._link_pos, self._link_mass_at = model.body_pos[self._links].copy(), model.body_ipos[self._links].copy()
        free = np.flatnonzero(model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE))
        self._objects = model.jnt_bodyid[free]
        self._geoms = np.flatnonzero(np.isin(model.geom_bodyid, self._objects))
        self._shape = {name: getattr(model, name).copy() for name in GEOM_FIELDS}
        self._center, self._extent = model.stat.center.copy(), float(model.stat.extent)
        model.dof_solimp[self._joints, :2] = FRICTION_IMPEDANCE

    def apply(self, dynamics: Dynamics) -> None:
        """Give the model these dynamics; nominal ones restore the compiled values bit by bit.

        The delay is not in the model: whoever steps it has to keep the queue.
        """
        model, body, joints = self._model, self._body, self._joints
        model.body_mass[:] = self._mass
        model.body_mass[body] += dynamics.payload
        model.body_inertia[:] = self._inertia
        model.body_inertia[body] += 0.4 * dynamics.payload * PAYLOAD_RADIUS**2
        model.dof_frictionloss[:] = self._friction
        model.dof_frictionloss[joints] += dynamics.friction * self._share
        model.dof_damping[:] = self._damping
        model.dof_damping[joints] *= dynamics.damping
        model.actuator_gainprm[:] = self._gain
        model.actuator_gainprm[:, 0] *= dynamics.gain
        model.actuator_biasprm[:] = self._bias
        model.actuator_biasprm[:, 1:3] *= dynamics.gain
        model.body_pos[self._links] = self._link_pos * dynamics.link_length
        model.body_ipos[self._links] = self._link_mass_at * dynamics.link_length
        self._change_objects(dynamics)
        # Masses enter derived constants, e.g. those that scale the softness of contacts.
        mujoco.mj_setConst(model, self._scratch)
        # It also measures the scene anew, for the cameras; the MJCF has its own numbers.
        model.stat.center[:] = self._center
        model.stat.extent = self._extent

    def dress(self, model: mujoco.MjModel) -> None:
        """Give another model of the scene, one for pictures, the sizes and lengths of this one."""
        for link in self._links:
            model.body(self._model.body(int(link)).name).pos[:] = self._model.body_pos[link]
        for geom in self._geoms:
            model.geom(self._model.geom(int(geom)).name).size[:] = self._model.geom_size[geom]

    def _change_objects(self, dynamics: Dynamics) -> None:
        """Objects on the table: boxes and upright cylinders, each one geom."""
        model, scale = self._model, dynamics.object_size
        for name, values in self._shape.items():
            getattr(model, name)[:] = values
        model.geom_friction[self._geoms, 0] *= dynamics.object_friction
        model.body_mass[self._objects] *= dynamics.object_mass
        model.body_inertia[self._objects] *= dynamics.object_mass
        if scale == 1.0:
            return
        for geom in self._geoms:
            body, box = int(model.geom_bodyid[geom]), model.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_BOX)
            before = _solid(self._shape["geom_size"][geom], box)
            model.geom_size[geom, : 2 if box else 1] *= scale
            model.geom_aabb[geom, 3:5] *= scale
            after = _solid(model.geom_size[geom], box)
            model.body_inertia[body] *= after / before
            model.geom_rbound[geom] = np.linalg.norm(model.geom_size[geom, : 3 if box else 2])


def links(model: mujoco.MjModel, arm: Arm) -> NDArray[np.intp]:
    """Numbers of the bodies from the second joint to the tool, whose places in one another are the arm's lengths."""
    first = int(model.jnt_bodyid[model.joint(arm.joint_names[0]).id])
    body = int(model.site_bodyid[model.site(arm.ee_site).id])
    found = []
    while body != first:
        found.append(body)
        body = int(model.body_parentid[body])
    return np.array(found[::-1], dtype=np.intp)


def _solid(size: NDArray[np.float64], box: bool) -> NDArray[np.float64]:
    """Moments of inertia (3,) of a solid of mass 1 about its axes [m^2]: of a box, or of a cylinder along z."""
    if box:
        x, y, z = size**2 / 3.0
        return np.array([y + z, x + z, x + y])
    across, along = size[0] ** 2 / 4.0 + size[1] ** 2 / 3.0, size[0] ** 2 / 2.0
    return np.array([across, across, along])
