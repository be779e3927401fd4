"""What pictures of the same scene may differ in: cameras, lights, colours."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """How one episode looks; the default is the look of the MJCF.

    Attributes:
        camera_shift: of every camera along x, y, z [m].
        camera_turn: rotation of every camera about its own axes, a vector [rad].
        zoom: factor on the field of view.
        light_turn: rotation of the directed lights about x, y, z [rad].
        brightness: factor on the lights.
        tints: factors on red, green and blue of everything, by body and object: robot, table, the rest.
    """

    camera_shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    camera_turn: tuple[float, ...] = (0.0, 0.0, 0.0)
    zoom: float = 1.0
    light_turn: tuple[float, ...] = (0.0, 0.0, 0.0)
    brightness: float = 1.0
    tints: tuple[tuple[float, ...], ...] = ((1.0, 1.0, 1.0),) * 3


@dataclass(frozen=True)
class LookRanges:
    """How far looks go from that of the MJCF, drawn uniformly to both sides.

    Attributes:
        camera_shift: of cameras along each axis [m].
        camera_turn: of cameras about each axis [rad].
        zoom: of the field of view, a share in [0, 0.5].
        light_turn: of the lights about each axis [rad].
        brightness: of the lights, a share in [0, 0.9].
        tint: of each colour of robot, table and objects, a share in [0, 0.9].
    """

    camera_shift: float = 0.03
    camera_turn: float = 0.03
    zoom: float = 0.05
    light_turn: float = 0.4
    brightness: float = 0.3
    tint: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ValueError: a number is out of range.
        """
        limits = {
            "camera_shift": 0.5,
            "camera_turn": 0.5,
            "zoom": 0.5,
            "light_turn": 1.0,
            "brightness": 0.9,
            "tint": 0.9,
        }
        for name, high in limits.items():
            if not 0.0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} of looks is {getattr(self, name)}, allowed [0, {high:g}]")

    def sample(self, rng: np.random.Generator) -> Look:
        """Draw the look of an episode. Args: rng: source of randomness."""

        def three(half: float, middle: float = 0.0) -> tuple[float, ...]:
            return tuple(float(value) for value in rng.uniform(middle - half, middle + half, 3))

        return Look(
            three(self.camera_shift),
            three(self.camera_turn),
            float(rng.uniform(1 - self.zoom, 1 + self.zoom)),
            three(self.light_turn),
            float(rng.uniform(1 - self.brightness, 1 + self.brightness)),
            tuple(three(self.tint, 1.0) for _ in range(3)),
        )


class ModelLook:
    """Writes looks into a model for pictures, always starting from the values it was compiled with."""

    def __init__(self, model: mujoco.MjModel, kinds: NDArray[np.uint8]) -> None:
        """Keep the values.

        Args:
            model: to draw; `apply` changes it in place.
            kinds: class of every geom, `SceneRenderer.kinds`.
        """
        self._model = model
        self._rows = np.array([2, 0, 1, 2])[np.minimum(kinds, 3)]  # robot, table, the rest
        names = (
            "cam_pos",
            "cam_quat",
            "cam_fovy",
            "light_dir",
            "light_diffuse",
            "light_ambient",
            "geom_rgba",
            "mat_rgba",
        )
        self._values = {name: getattr(model, name).copy() for name in names}
        self._materials = model.geom_matid.copy()

    def apply(self, look: Look) -> None:
        """Give the model this look; the default one restores the compiled values."""
        model, was = self._model, self._values
        model.cam_pos[:] = was["cam_pos"] + look.camera_shift
        model.cam_quat[:] = [_turned(quat, np.array(look.camera_turn)) for quat in was["cam_quat"]]
        model.cam_fovy[:] = was["cam_fovy"] * look.zoom
        turn = _rotation(np.array(look.light_turn))
        model.light_dir[:] = was["light_dir"] @ turn.T
        model.light_diffuse[:] = was["light_diffuse"] * look.brightness
        model.light_ambient[:] = was["light_ambient"] * look.brightness
        tints = np.array(look.tints)
        model.geom_rgba[:] = was["geom_rgba"]
        model.geom_rgba[:, :3] = np.clip(was["geom_rgba"][:, :3] * tints[self._rows], 0.0, 1.0)
        model.mat_rgba[:] = was["mat_rgba"]
        for geom, material in enumerate(self._materials):
            if material >= 0:
                tinted = was["mat_rgba"][material, :3] * tints[self._rows[geom]]
                model.mat_rgba[material, :3] = np.clip(tinted, 0.0, 1.0)


def _turned(quat: FloatArray, turn: FloatArray) -> FloatArray:
    """A quaternion after a rotation about its own axes."""
    if not turn.any():
        return quat
    change, result = np.zeros(4), np.zeros(4)
    angle = float(np.linalg.norm(turn))
    mujoco.mju_axisAngle2Quat(change, turn / angle, angle)
    mujoco.mju_mulQuat(result, quat, change)
    return result


def _rotation(turn: FloatArray) -> FloatArray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, _turned(np.array([1.0, 0.0, 0.0, 0.0]), turn))
    return matrix.reshape(3, 3)
