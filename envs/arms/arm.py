"""Description of an arm, read from its MJCF so that every number stands in one place."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, eq=False)
class Arm:
    """A serial arm with one position actuator per joint.

    Attributes:
        name: short name, the stem of the MJCF file.
        xml: path of the MJCF file.
        joint_names: names in the order of every joint vector, length n.
        home: ready pose (n,) [rad], the keyframe `home`.
        ee_site: name of the site at the tool centre point.
        q_min: lower position limits (n,) [rad].
        q_max: upper position limits (n,) [rad].
        dq_max: velocity limits (n,) [rad/s].
        ddq_max: acceleration limits (n,) [rad/s^2].
        tau_max: torque limits (n,) [N m].
        source: where the limits are published.
    """

    name: str
    xml: Path
    joint_names: tuple[str, ...]
    home: FloatArray
    ee_site: str
    q_min: FloatArray
    q_max: FloatArray
    dq_max: FloatArray
    ddq_max: FloatArray
    tau_max: FloatArray
    source: str

    @property
    def n(self) -> int:
        """Number of joints."""
        return len(self.joint_names)

    def load_model(
        self, *, visuals: bool = False, edit: Callable[[mujoco.MjSpec], None] | None = None
    ) -> mujoco.MjModel:
        """Compile the MJCF.

        Args:
            visuals: keep the geoms that are only drawn. Physics leaves them out: MuJoCo would move each of
                them at every substep.
            edit: adds to the scene before it is compiled. Such a model has no keyframes: their size would not
                fit any more.

        Returns:
            A new model, owned by the caller.
        """
        return _compile(self.xml, visuals=visuals, edit=edit)


def known_arms() -> tuple[str, ...]:
    """Names accepted by `load_arm`."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.xml")))


@cache
def load_arm(name: str) -> Arm:
    """Describe an arm of this package.

    Args:
        name: one of `known_arms()`.

    Returns:
        The description; its arrays are read-only and shared between calls.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in known_arms():
        raise ValueError(f"arm {name!r} is unknown, known arms: {', '.join(known_arms())}")
    xml = _FOLDER / f"{name}.xml"
    model = _compile(xml, visuals=False)
    return Arm(
        name=name,
        xml=xml,
        joint_names=tuple(model.joint(i).name for i in range(model.njnt)),
        home=_frozen(model.key("home").qpos),
        ee_site="ee",
        q_min=_frozen(model.jnt_range[:, 0]),
        q_max=_frozen(model.jnt_range[:, 1]),
        dq_max=_frozen(model.numeric("dq_max").data),
        ddq_max=_frozen(model.numeric("ddq_max").data),
        tau_max=_frozen(model.actuator_forcerange[:, 1]),
        source=_text(model, "source"),
    )


def _compile(
    xml: Path, *, visuals: bool, edit: Callable[[mujoco.MjSpec], None] | None = None
) -> mujoco.MjModel:
    root = ET.parse(xml).getroot()
    if not visuals:
        for parent in [*root.iter("body"), *root.iter("worldbody")]:
            for geom in parent.findall("geom[@class='visual']"):
                parent.remove(geom)
    if edit is None:
        return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    for keyframe in root.findall("keyframe"):
        root.remove(keyframe)
    spec = mujoco.MjSpec.from_string(ET.tostring(root, encoding="unicode"))
    edit(spec)
    return spec.compile()


def _text(model: mujoco.MjModel, name: str) -> str:
    """Custom text of the MJCF; the bindings offer no accessor by name."""
    index = mujoco.mj_name2id(model, int(mujoco.mjtObj.mjOBJ_TEXT), name)
    start = int(model.text_adr[index])
    return bytes(model.text_data)[start : start + int(model.text_size[index])].decode().rstrip("\0")


def _frozen(values: FloatArray) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
