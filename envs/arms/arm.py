"""Description of an arm, read from its files so that every number stands in one place."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .description import Description, read_description
from .robot import CONTACT, EE, GRIPPER_PREFIX, adopt_options, open_spec, robot_spec

FloatArray = NDArray[np.float64]

_FOLDER = Path(__file__).resolve().parent
SCENE = _FOLDER.parent / "scenes" / "table.xml"


SOFT = (0.02, 1.0)
"""MuJoCo's default of `solref`, taken for a geom that says nothing of its contacts."""


@dataclass(frozen=True, eq=False)
class Arm:
    """A serial arm with one position servo per joint, and perhaps a gripper.

    Attributes:
        name: short name, the stem of its YAML file.
        about: what that file says.
        joint_names: names in the order of every joint vector, length n.
        home: ready pose (n,) [rad].
        ee_site: name of the site at the tool centre point.
        q_min: lower position limits (n,) [rad].
        q_max: upper position limits (n,) [rad].
        dq_max: velocity limits (n,) [rad/s].
        ddq_max: acceleration limits (n,) [rad/s^2].
        tau_max: torque limits (n,) [N m].
        source: where the limits are published.
        fingers: joints of the gripper in the model's order, each with its position when closed and open [m or rad].
    """

    name: str
    about: Description
    joint_names: tuple[str, ...]
    home: FloatArray
    ee_site: str
    q_min: FloatArray
    q_max: FloatArray
    dq_max: FloatArray
    ddq_max: FloatArray
    tau_max: FloatArray
    source: str
    fingers: dict[str, tuple[float, float]]

    @property
    def n(self) -> int:
        """Number of joints."""
        return len(self.joint_names)

    def load_model(
        self,
        *,
        visuals: bool = False,
        edit: Callable[[mujoco.MjSpec], None] | None = None,
        gripper: bool = False,
    ) -> mujoco.MjModel:
        """Compile the arm on its table.

        Args:
            visuals: keep the geoms that are only drawn. Physics leaves them out: MuJoCo would move each of
                them at every substep.
            edit: adds to the scene before it is compiled.
            gripper: let the fingers move; their joints and servos follow those of the arm.

        Returns:
            A new model, owned by the caller.
        """
        return _compile(self.about, visuals=visuals, edit=edit, gripper=gripper)

    def compiled_file(self) -> Path:
        """The arm on its table as one compiled file (MJB), for programs that know nothing of this package.

        Not as MJCF: MuJoCo writes six digits there.

        Returns:
            Path in the temporary folder of this user, written on first use.
        """
        model = self.load_model()
        buffer = np.empty(mujoco.mj_sizeModel(model), dtype=np.uint8)
        mujoco.mj_saveModel(model, None, buffer)
        content = buffer.tobytes()
        folder = Path(tempfile.gettempdir()) / f"loopwm-arms-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{self.name}-{hashlib.sha256(content).hexdigest()[:16]}.mjb"
        if not path.is_file() or path.read_bytes() != content:
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(path)
        return path


def known_arms() -> tuple[str, ...]:
    """Names accepted by `load_arm`."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def other_arms() -> tuple[str, ...]:
    """Names of the arms whose models come with other packages; `load_arm` knows them where these are installed."""
    return tuple(sorted(path.stem for path in (_FOLDER / "others").glob("*.yaml")))


def load_arm(name: str | Path) -> Arm:
    """Describe an arm.

    Args:
        name: one of `known_arms()` or `other_arms()`, or the path of a YAML file as in
            `envs.arms.description.Description`.

    Returns:
        The description; its arrays are read-only and shared between calls.

    Raises:
        ValueError: the name is unknown, or the file lacks something.
    """
    text = str(name)
    if text in known_arms():
        return _load(_FOLDER / f"{text}.yaml")
    if text in other_arms():
        return _load(_FOLDER / "others" / f"{text}.yaml")
    if text.endswith((".yaml", ".yml")):
        return _load(Path(text).expanduser().resolve())
    known = ", ".join((*known_arms(), *other_arms()))
    raise ValueError(f"arm {text!r} is unknown, known arms: {known}; or give the path of a YAML file")


@cache
def _load(path: Path) -> Arm:
    about = read_description(path)
    model = _compile(about, visuals=False)
    n = len(about.joints)
    ids = [int(model.joint(name).id) for name in about.joints]
    limited = model.jnt_limited[ids].astype(bool)
    q_min = np.where(limited, model.jnt_range[ids, 0], -2 * np.pi)
    q_max = np.where(limited, model.jnt_range[ids, 1], 2 * np.pi)
    home = np.array(about.home)
    for name, low, q, high in zip(about.joints, q_min, home, q_max, strict=True):
        if not low <= q <= high:
            raise ValueError(f"arm file {path}: home of joint {name!r} is {q:g} rad, allowed [{low:.4g}, {high:.4g}]")
    return Arm(
        name=about.name,
        about=about,
        joint_names=about.joints,
        home=_frozen(home, n),
        ee_site=EE,
        q_min=_frozen(q_min, n),
        q_max=_frozen(q_max, n),
        dq_max=_frozen(about.dq_max, n),
        ddq_max=_frozen(about.ddq_max, n),
        tau_max=_frozen(model.actuator_forcerange[:n, 1], n),
        source=about.source,
        fingers=_fingers(about),
    )


def _fingers(about: Description) -> dict[str, tuple[float, float]]:
    if about.gripper is None:
        return {}
    prefix = "" if about.gripper.model is None else GRIPPER_PREFIX
    ends = {prefix + name: pair for name, pair in about.gripper.joints.items()}
    model = _compile(about, visuals=False, gripper=True)
    return {model.joint(i).name: ends[model.joint(i).name] for i in range(len(about.joints), model.njnt)}


def _scene(about: Description, *, gripper: bool) -> mujoco.MjSpec:
    """The robot on the table."""
    spec = open_spec(SCENE)
    robot = robot_spec(about, gripper=gripper)
    adopt_options(spec, robot)
    turn = np.array([np.cos(about.base_yaw / 2), 0.0, 0.0, np.sin(about.base_yaw / 2)])
    spec.attach(robot, prefix="", frame=spec.worldbody.add_frame(pos=about.base_pos, quat=turn))
    # The predictor reads this sensor first; what others read that a task adds is observed after the robot.
    site = int(mujoco.mjtObj.mjOBJ_SITE)
    spec.add_sensor(
        name="ee_pos", type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=mujoco.mjtObj(site), objname=EE
    )
    return spec


def _compile(
    about: Description,
    *,
    visuals: bool,
    edit: Callable[[mujoco.MjSpec], None] | None = None,
    gripper: bool = False,
) -> mujoco.MjModel:
    spec = _scene(about, gripper=gripper)
    if not visuals:
        for geom in list(spec.geoms):
            body = geom.parent
            weightless = body.explicitinertial or body.name == "world"
            if weightless and not int(geom.contype) and not int(geom.conaffinity):
                spec.delete(geom)
    if edit is not None:
        edit(spec)
    for geom in spec.geoms:
        if (int(geom.contype) or int(geom.conaffinity)) and np.array_equal(geom.solref, SOFT):
            geom.solref = (CONTACT, 1.0)
    return spec.compile()


def _frozen(values: ArrayLike, n: int) -> FloatArray:
    array = np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), (n,)))
    array.setflags(write=False)
    return array
