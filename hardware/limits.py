"""Joint limits of one exact arm, from one file with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .errors import LimitsMismatch
from .interface import ArmInfo, Array, frozen

_OPTIONAL = {"tau_max": "N m", "dddq_max": "rad/s^3", "temperature_max": "deg C"}


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Limits (n,) per joint: position [rad], speed [rad/s], acceleration [rad/s^2].

    Torque [N m], jerk [rad/s^3] and temperature [deg C] may be None: not limited. ``firmware`` names the versions, as a
    driver tells them or with * and ?, that the numbers were compared with; none: any.
    """

    names: tuple[str, ...]
    q_min: Array
    q_max: Array
    dq_max: Array
    ddq_max: Array
    tau_max: Array | None = None
    source: str = ""
    dddq_max: Array | None = None
    temperature_max: Array | None = None
    firmware: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "firmware", tuple(self.firmware))
        if not self.names or len(set(self.names)) != len(self.names):
            raise LimitsMismatch(f"joint names {list(self.names)}: need at least one, each only once")
        shape = (len(self.names),)
        for field in ("q_min", "q_max", "dq_max", "ddq_max", *_OPTIONAL):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, frozen(value, f"limits {field}", shape))
        for i, name in enumerate(self.names):
            if not self.q_min[i] < self.q_max[i]:
                raise LimitsMismatch(
                    f"joint '{name}': q_min {self.q_min[i]:g} rad must be below q_max {self.q_max[i]:g} rad"
                )
        units = (("dq_max", "rad/s"), ("ddq_max", "rad/s^2"), *_OPTIONAL.items())
        for field, unit in units:
            value = getattr(self, field)
            if value is not None and not (value > 0.0).all():
                i = int(np.argmin(value))
                raise LimitsMismatch(f"joint '{self.names[i]}': {field} {value[i]:g} {unit}, must be above 0 {unit}")

    @property
    def n(self) -> int:
        """Number of joints."""
        return len(self.names)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> JointLimits:
        """Read the content of ``configs/arm/*.yaml``, already loaded as a mapping.

        Keys: ``joint_names`` (or ``names``), ``q_min``, ``q_max``, ``dq_max``, ``ddq_max``, optional
        ``tau_max``, ``dddq_max``, ``temperature_max``, ``source``, ``firmware`` and ``margin`` [rad]. A single
        number holds for all joints. The keys may stand under ``limits``; keys of other parts of the file are left
        alone.

        Raises:
            LimitsMismatch: a key is missing or a value is not acceptable.
        """
        inner = data.get("limits")
        merged: dict[str, Any] = {**data, **inner} if isinstance(inner, Mapping) else dict(data)
        names = merged.get("joint_names", merged.get("names"))
        if not isinstance(names, Sequence) or isinstance(names, str) or not names:
            raise LimitsMismatch("limits: 'joint_names' is missing or not a list; give the joint names in order")
        n = len(names)
        values: dict[str, Any] = {}
        for field in ("q_min", "q_max", "dq_max", "ddq_max", *_OPTIONAL):
            raw = merged.get(field)
            if raw is None or (field in _OPTIONAL and not np.size(raw)):
                if field in _OPTIONAL:
                    continue
                raise LimitsMismatch(f"limits: '{field}' is missing; give one number or a list of {n}")
            try:
                array = np.asarray(raw, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise LimitsMismatch(f"limits: '{field}' is {raw!r}; give one number or a list of {n}") from error
            if array.shape not in ((), (n,)):
                raise LimitsMismatch(f"limits: '{field}' has {array.size} entries, expected 1 or {n} (one per joint)")
            values[field] = np.broadcast_to(array, (n,))
        versions = merged.get("firmware") or ()
        if isinstance(versions, str) or not isinstance(versions, Sequence):
            raise LimitsMismatch(f"limits: 'firmware' is {versions!r}; give a list of versions")
        limits = cls(
            names=tuple(str(x) for x in names),
            source=str(merged.get("source", "")),
            firmware=tuple(str(x) for x in versions),
            **values,
        )
        margin = float(merged.get("margin", 0.0))
        return limits.with_margin(margin) if margin else limits

    def to_mapping(self) -> dict[str, Any]:
        """Return plain lists; ``from_mapping`` reads them back exactly."""
        return {
            "joint_names": list(self.names),
            **{f: getattr(self, f).tolist() for f in ("q_min", "q_max", "dq_max", "ddq_max")},
            **{f: None if (x := getattr(self, f)) is None else x.tolist() for f in _OPTIONAL},
            "source": self.source,
            "firmware": list(self.firmware),
        }

    def with_margin(self, margin: float) -> JointLimits:
        """Return limits whose position range is smaller by a margin [rad] at both ends."""
        if not (np.isfinite(margin) and margin >= 0.0):
            raise LimitsMismatch(f"position margin {margin} rad, must be finite and at least 0 rad")
        return replace(self, q_min=self.q_min + margin, q_max=self.q_max - margin)

    def check_device(self, info: ArmInfo, tolerance: float = 1e-3) -> None:
        """Compare with what the device reports.

        Raises:
            LimitsMismatch: joint names differ, these limits were never compared with that firmware, or our range or
                speed is wider than the device's by more than the tolerance [rad] or [rad/s].
        """
        if info.joint_names != self.names:
            raise LimitsMismatch(
                f"device '{info.model}' has joints {list(info.joint_names)}, limits are for "
                f"{list(self.names)}; names and order must agree"
            )
        if self.firmware and not any(fnmatchcase(info.firmware, version) for version in self.firmware):
            raise LimitsMismatch(
                f"device '{info.model}' has firmware '{info.firmware}', limits were compared with "
                f"{list(self.firmware)}; compare them with the maker's for this version, then add it to 'firmware'"
            )
        for field, ours, theirs, sign, unit in (
            ("q_min", self.q_min, info.q_min, -1.0, "rad"),
            ("q_max", self.q_max, info.q_max, 1.0, "rad"),
            ("dq_max", self.dq_max, info.dq_max, 1.0, "rad/s"),
        ):
            if theirs is None:
                continue
            excess = sign * (ours - np.asarray(theirs))
            i = int(np.argmax(excess))
            if excess[i] > tolerance:
                raise LimitsMismatch(
                    f"joint '{self.names[i]}': {field} {ours[i]:.4f} {unit} is outside the device's "
                    f"{theirs[i]:.4f} {unit}; use the limits of this exact model"
                )
