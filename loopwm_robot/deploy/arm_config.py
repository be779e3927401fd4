"""Settings of one exact arm: how it is driven and what it may do. Values stand in configs/arm/*.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from hardware import BridgeConfig, Chain, JointLimits, SceneConfig

from ..config import config_dir
from ..errors import RequestError
from ..schema import build

Numbers = tuple[float, ...]

MIN_RATE_HZ = 100.0
"""Plans are interpolated at least this often [Hz]: at 20 Hz the steps of a set-point would shake the arm."""

_RANGES: dict[str, tuple[float, float, str]] = {
    "q_min": (-100.0, 100.0, "rad"),
    "q_max": (-100.0, 100.0, "rad"),
    "dq_max": (1e-3, 100.0, "rad/s"),
    "ddq_max": (1e-3, 1000.0, "rad/s^2"),
    "tau_max": (1e-3, 10_000.0, "N m"),
    "home": (-100.0, 100.0, "rad"),
    "dddq_max": (1e-2, 1e6, "rad/s^3"),
    "temperature_max": (1.0, 150.0, "deg C"),
}
_OPTIONAL = ("dddq_max", "temperature_max")


@dataclass(frozen=True)
class ArmConfig:
    """One arm.

    Attributes:
        name: arm of `envs.arms` that describes its kinematics, or the path of the YAML file of another.
        joint_names: joints in the order of all lists here.
        q_min: lower position limits [rad].
        q_max: upper position limits [rad].
        dq_max: velocity limits [rad/s].
        ddq_max: acceleration limits [rad/s^2].
        tau_max: torque limits [N m].
        home: ready pose [rad], inside the position limits.
        source: where the limits are published.
        firmware: versions of the device's firmware for which they hold, as its driver tells them or with * and ?; a
            device with another one is refused. Empty for any.
        dddq_max: jerk limits [rad/s^3]; empty for none.
        temperature_max: of the joints [deg C], beyond which the arm brakes; empty for none.
        driver: registered driver or "package.module:Factory"; all but "sim" may move a real arm.
        driver_kwargs: further arguments of the driver.
        bridge: settings of the control process; bridge.rate_hz at least 100 Hz.
        scene: what the arm must keep clear of beyond its joint limits; the default looks at nothing.
        chain: links of the arm for the scene, as {joints, bodies, pairs}; empty takes those of the MJCF.
    """

    name: str
    joint_names: tuple[str, ...]
    q_min: Numbers
    q_max: Numbers
    dq_max: Numbers
    ddq_max: Numbers
    tau_max: Numbers
    home: Numbers
    source: str
    firmware: tuple[str, ...] = ()
    dddq_max: Numbers = ()
    temperature_max: Numbers = ()
    driver: str = "sim"
    driver_kwargs: dict[str, Any] = field(default_factory=dict)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    chain: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.joint_names)
        if not n or len(set(self.joint_names)) != n:
            raise ValueError(f"arm.joint_names is {list(self.joint_names)}, allowed at least one name, each only once")
        for key, (low, high, unit) in _RANGES.items():
            values = getattr(self, key)
            if not values and key in _OPTIONAL:
                continue
            if len(values) != n:
                raise ValueError(f"arm.{key} has {len(values)} entries, allowed {n}: one for each joint")
            for joint, value in zip(self.joint_names, values, strict=True):
                if not (math.isfinite(value) and low <= value <= high):
                    raise ValueError(f"arm.{key} of '{joint}' is {value} {unit}, allowed [{low:g}, {high:g}] {unit}")
        for joint, low, home, high in zip(self.joint_names, self.q_min, self.home, self.q_max, strict=True):
            if not low < high:
                raise ValueError(f"arm.q_min of '{joint}' is {low} rad, allowed below q_max = {high} rad")
            if not low <= home <= high:
                raise ValueError(f"arm.home of '{joint}' is {home} rad, allowed [{low}, {high}] rad")
        if not self.driver:
            raise ValueError("arm.driver is '', allowed a known driver such as sim, or package.module:Factory")
        if not self.bridge.rate_hz >= MIN_RATE_HZ:
            raise ValueError(f"arm.bridge.rate_hz is {self.bridge.rate_hz:g} Hz, allowed [{MIN_RATE_HZ:g}, 2000] Hz")

        if self.chain:
            Chain.from_mapping(self.chain)

    @property
    def n(self) -> int:
        """Number of joints."""
        return len(self.joint_names)

    @property
    def limits(self) -> JointLimits:
        """Limits that the bridge enforces."""
        return JointLimits(
            names=self.joint_names,
            q_min=self.q_min,  # type: ignore[arg-type]  # turned into arrays
            q_max=self.q_max,  # type: ignore[arg-type]
            dq_max=self.dq_max,  # type: ignore[arg-type]
            ddq_max=self.ddq_max,  # type: ignore[arg-type]
            tau_max=self.tau_max,  # type: ignore[arg-type]
            source=self.source,
            firmware=self.firmware,
            dddq_max=self.dddq_max or None,  # type: ignore[arg-type]
            temperature_max=self.temperature_max or None,  # type: ignore[arg-type]
        )


def arm_file(name: str, **driver_kwargs: Any) -> ArmConfig:
    """The arm of configs/arm/NAME.yaml, with some arguments of its driver changed.

    Raises:
        RequestError: there is no such file.
    """
    folder = config_dir() / "arm"
    if not (folder / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise RequestError(f"arm is '{name}', allowed {known}")
    values = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    values["driver_kwargs"] = {**values.get("driver_kwargs", {}), **driver_kwargs}
    return build(ArmConfig, values, "arm")
