"""What is said about an arm beside its MJCF or URDF: a YAML file of about ten lines."""

from __future__ import annotations

import importlib.util
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Numbers = tuple[float, ...]

GRIPPERS = Path(__file__).resolve().parents[1] / "grippers"


@dataclass(frozen=True)
class GripperDescription:
    """A gripper, part of the arm's model or a model of its own.

    Attributes:
        joints: joints that move the fingers, each with its position when closed and when open [m or rad].
        force: force or torque limit of each of these joints [N or N m].
        hold: share of the opening at which the fingers stand in tasks without grasping.
        model: MJCF with a body to attach and a site `ee`; None where the joints are the arm's.
        fixed: MJCF that stands in for it in tasks without grasping; None freezes the joints.
        source: where the numbers are published.
    """

    joints: dict[str, tuple[float, float]]
    force: float
    hold: float = 0.5
    model: Path | None = None
    fixed: Path | None = None
    source: str = ""


@dataclass(frozen=True)
class Description:
    """An arm.

    Attributes:
        name: the stem of the YAML file.
        model: MJCF or URDF file, relative to the YAML file; with the key `package` relative to the folder of that
            installed Python package.
        joints: names of the joints, in the model's order from base to tip.
        home: ready pose [rad].
        ee: name of the site at the tool centre point, its z axis pointing out of the hand; or a body's name with
            `ee_pos`. Given by the gripper's model where there is one.
        ee_pos: tool centre point in the frame of the body `ee` [m].
        ee_zaxis: direction of the tool in the frame of the body `ee`.
        gripper: None where there is none.
        flange: site at which the gripper's model is attached.
        base_pos: where the model's origin stands on the table [m].
        base_yaw: and how it is turned about z, so that the arm works along x [rad].
        dq_max: velocity limits, one number or one for each joint [rad/s].
        ddq_max: acceleration limits [rad/s^2].
        tau_max: torque limits [N m]; by default those in the model.
        posture: pose with the tool pointing down over the table [rad]; found by inverse kinematics by default.
        reach_low: lower corner of the box that the tool centre point can reach [m]; found around home by default.
        reach_high: upper corner [m].
        table_low: lower corner, x and y, of where the tool can point down at the table [m]; found by default.
        table_high: upper corner [m].
        scale: size of objects and distances in tasks, 1 for an arm as large as the Panda; by default from the reach.
        source: where the limits are published.
    """

    name: str
    model: Path
    joints: tuple[str, ...]
    home: Numbers
    ee: str = "ee"
    ee_pos: Numbers | None = None
    ee_zaxis: Numbers = (0.0, 0.0, 1.0)
    gripper: GripperDescription | None = None
    flange: str = "flange"
    base_pos: Numbers = (0.0, 0.0, 0.0)
    base_yaw: float = 0.0
    dq_max: Numbers = (2.0,)
    ddq_max: Numbers = (10.0,)
    tau_max: Numbers | None = None
    posture: Numbers | None = None
    reach_low: Numbers | None = None
    reach_high: Numbers | None = None
    table_low: Numbers | None = None
    table_high: Numbers | None = None
    scale: float | None = None
    source: str = field(default="")


_LENGTHS = {"ee_pos": 3, "ee_zaxis": 3, "base_pos": 3, "reach_low": 3, "reach_high": 3, "table_low": 2, "table_high": 2}


def read_description(path: Path) -> Description:
    """Read and check a YAML file.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is missing or no YAML mapping; a key is missing, unknown or has a wrong value.
    """
    data = _mapping(path)
    raw = dict(data)
    folder = _package_folder(path, raw.pop("package", None))
    known = {f.name: f for f in fields(Description) if f.name != "name"}
    _refuse_unknown(path, raw, (*known, "package"))
    for name in ("model", "joints", "home"):
        if name not in raw:
            what = {"model": "the MJCF or URDF file", "joints": "joint names from base to tip", "home": "a pose [rad]"}
            raise ValueError(f"arm file {path} lacks {name!r}: {what[name]}")
    joints = raw.pop("joints")
    if not (isinstance(joints, list) and joints and all(isinstance(j, str) for j in joints)):
        raise ValueError(f"arm file {path}: joints is {joints!r}, must be a list of names from base to tip")
    model = _file(path, "model", raw.pop("model"), folder)
    gripper = raw.pop("gripper", None)
    values: dict[str, Any] = {"gripper": None if gripper is None else _gripper(path, gripper, folder)}
    for name, value in raw.items():
        default = known[name].default
        if name in ("ee", "flange", "source"):
            values[name] = str(value)
        elif isinstance(default, float) or name == "scale":
            values[name] = _numbers(path, name, value, (1,))[0]
        else:
            allowed = (_LENGTHS[name],) if name in _LENGTHS else (len(joints),)
            values[name] = _numbers(path, name, value, (1, *allowed) if name.endswith("_max") else allowed)
    for name in ("dq_max", "ddq_max", "tau_max", "scale"):
        if name in values and not np.all(np.asarray(values[name]) > 0):
            raise ValueError(f"arm file {path}: {name} is {raw[name]}, must be positive")
    for corner in ("reach", "table"):
        if (f"{corner}_low" in values) != (f"{corner}_high" in values):
            raise ValueError(f"arm file {path}: {corner}_low and {corner}_high go together, one is missing")
    return Description(path.stem, model, tuple(joints), **values)


def _gripper(path: Path, value: Any, folder: Path) -> GripperDescription:
    """A gripper by name, or a mapping in the arm's file."""
    if isinstance(value, str):
        file = GRIPPERS / f"{value}.yaml"
        if not file.is_file():
            known = ", ".join(sorted(f.stem for f in GRIPPERS.glob("*.yaml")))
            raise ValueError(f"arm file {path}: gripper {value!r} is unknown, known: {known}; or give a mapping")
        return _gripper(file, _mapping(file), file.parent)
    known_keys = tuple(f.name for f in fields(GripperDescription))
    if not isinstance(value, dict):
        raise ValueError(f"arm file {path}: gripper is {value!r}, must be a name or a mapping: {', '.join(known_keys)}")
    _refuse_unknown(path, value, known_keys)
    for f in fields(GripperDescription):
        if f.default is MISSING and f.name not in value:
            raise ValueError(f"arm file {path}: gripper lacks {f.name!r}")
    if not isinstance(value["joints"], dict) or not value["joints"]:
        raise ValueError(f"arm file {path}: gripper.joints is {value['joints']!r}, must be name: [closed, open]")
    ranges = {name: _numbers(path, f"gripper.joints.{name}", ends, (2,)) for name, ends in value["joints"].items()}
    force = _numbers(path, "gripper.force", value["force"], (1,))[0]
    hold = _numbers(path, "gripper.hold", value.get("hold", 0.5), (1,))[0]
    if not (force > 0 and 0 <= hold <= 1):
        raise ValueError(f"arm file {path}: gripper.force is {force} and hold {hold}, allowed above 0 and [0, 1]")
    files = {k: _file(path, f"gripper.{k}", value[k], folder) for k in ("model", "fixed") if value.get(k) is not None}
    ends = {name: (low, high) for name, (low, high) in ranges.items()}
    return GripperDescription(ends, force, hold, files.get("model"), files.get("fixed"), str(value.get("source", "")))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"arm file {path} cannot be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"arm file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ValueError(f"arm file {path} holds {type(data).__name__}, must be a mapping of model, joints, home, ...")
    return data


def _refuse_unknown(path: Path, data: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in data:
        if name not in known:
            raise ValueError(f"arm file {path}: {name!r} is unknown, known keys: {', '.join(known)}")


def _package_folder(path: Path, package: Any) -> Path:
    """Folder that the files named in a description are relative to; the package is not imported."""
    if package is None:
        return path.parent
    try:
        spec = importlib.util.find_spec(str(package).partition(".")[0])
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"arm file {path}: package {package!r} is not installed; install it for its model")
    return Path(next(iter(spec.submodule_search_locations)))


def _file(path: Path, name: str, value: Any, folder: Path) -> Path:
    file = folder / str(value)
    if not file.is_file():
        raise ValueError(f"arm file {path}: {name} {file} is not a file")
    return file


def _numbers(path: Path, name: str, value: Any, lengths: tuple[int, ...]) -> Numbers:
    """One number or a list of them, of one of the lengths."""
    try:
        array = np.atleast_1d(np.array(value, dtype=np.float64))
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if array.ndim != 1 or len(array) not in lengths or not np.isfinite(array).all():
        need = " or ".join(map(str, lengths))
        raise ValueError(f"arm file {path}: {name} is {value!r}, must be {need} finite numbers")
    return tuple(array.tolist())
