"""What crosses the bridge: measured states, plans, applied commands, and the protocol a new arm implements.

SI units throughout (rad, rad/s, N m, s); joint order is always given by name; arrays are read-only float64.
Times are seconds on the host's monotonic clock unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import CommandRejected, NonFinite, ShapeMismatch

Array = NDArray[np.float64]


class Mode(IntEnum):
    """States of the bridge; FAULT and ESTOP are latched and leave only through an acknowledged reset."""

    CLOSED = 0
    CONNECTED = 1
    ENABLED = 2
    RUNNING = 3
    HOLDING = 4
    STOPPING = 5
    FAULT = 6
    GUIDED = 7
    ALIGNING = 8
    ESTOP = 9

    @property
    def active(self) -> bool:
        """Whether plans are accepted."""
        return self in (Mode.RUNNING, Mode.HOLDING, Mode.ALIGNING)

    @property
    def follows(self) -> bool:
        """Whether a plan is in force."""
        return self in (Mode.RUNNING, Mode.ALIGNING)

    @property
    def latched(self) -> bool:
        """Whether only an acknowledged reset leads on."""
        return self in (Mode.FAULT, Mode.ESTOP)


class Reason(IntFlag):
    """Why an applied command differs from the requested one."""

    NONE = 0
    NONFINITE = 1
    STRUCTURE = 2
    POSITION = 4
    VELOCITY = 8
    ACCELERATION = 16
    CATCH_UP = 32
    BRAKE = 64
    COLLISION = 128
    WORKSPACE = 256
    POINT_SPEED = 512
    SLOWED = 1024
    JERK = 2048


def frozen(value: ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """Copy into a read-only float64 array after checking shape and finiteness.

    Args:
        value: anything numpy can turn into an array.
        name: how error messages call it.
        shape: required shape, or None for any.

    Raises:
        ShapeMismatch: the shape differs.
        NonFinite: an entry is NaN or infinite.
    """
    array = np.array(value, dtype=np.float64, order="C")
    if shape is not None and array.shape != shape:
        raise ShapeMismatch(f"{name} has shape {array.shape}, expected {shape}: pass one number per joint")
    if not np.isfinite(array).all():
        raise NonFinite(
            f"{name} has non-finite entries {array.tolist()}; every entry must be a finite number"
        )
    array.setflags(write=False)
    return array


def finite(value: float, name: str) -> float:
    """Return a finite float or raise NonFinite."""
    number = float(value)
    if not np.isfinite(number):
        raise NonFinite(f"{name} is {number}, must be finite")
    return number


@dataclass(frozen=True, eq=False)
class ArmState:
    """One measurement.

    Attributes:
        seq: frame number of the driver, one more for each fresh frame.
        t_host: host time of reception [s].
        t_device: time stamp of the device on its own clock [s]; must advance, or the state is stale.
        q: joint positions (n,) [rad].
        dq: joint velocities (n,) [rad/s].
        tau: joint torques (n,) [N m], or None when the arm cannot tell.
        gripper: opening in 0 (closed) to 1 (open), or None.
        fault: the device's own fault text, or None.
        temperature: of the joints (n,) [deg C], or None when the arm cannot tell.
        estop: whether the arm's emergency stop, or its stop button, is pressed.
    """

    seq: int
    t_host: float
    t_device: float
    q: Array
    dq: Array
    tau: Array | None = None
    gripper: float | None = None
    fault: str | None = None
    temperature: Array | None = None
    estop: bool = False

    def __post_init__(self) -> None:
        q = frozen(self.q, "state q [rad]")
        if q.ndim != 1 or q.size == 0:
            raise ShapeMismatch(f"state q has shape {q.shape}, expected (n,) with one entry per joint")
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "dq", frozen(self.dq, "state dq [rad/s]", q.shape))
        if self.tau is not None:
            object.__setattr__(self, "tau", frozen(self.tau, "state tau [N m]", q.shape))
        if self.temperature is not None:
            heat = frozen(self.temperature, "state temperature [deg C]", q.shape)
            object.__setattr__(self, "temperature", heat)
        finite(self.t_host, "state t_host [s]")
        finite(self.t_device, "state t_device [s]")


@dataclass(frozen=True, eq=False)
class ArmPlan:
    """A horizon of joint targets with a start and an expiry.

    Between the knots at t0 + k*dt (k = 0 .. H-1) the target is the cubic Hermite curve through (q, dq), or
    the straight line where dq is None. After the last knot it stays there if the plan ends at rest, otherwise
    the plan ends with the last knot. H = 1 is a plain set-point.

    Attributes:
        plan_id: increases from plan to plan; a plan that is not newer than the last one is refused.
        t0: time of the first knot [s], may lie in the past (late plan) or in the future.
        dt: spacing of the knots [s].
        q: target positions (H, n) [rad].
        dq: target velocities (H, n) [rad/s] or None.
        valid_until: from this time on the plan is not followed any more: the arm brakes and holds [s].
        joint_names: order of the columns.
        obs_seq: ``ArmState.seq`` the plan rests on, -1 when it rests on none.
        gripper: openings at the knots (H,), 0 closed to 1 open, straight lines between; None leaves it as it is.
    """

    plan_id: int
    t0: float
    dt: float
    q: Array
    valid_until: float
    joint_names: tuple[str, ...]
    dq: Array | None = None
    obs_seq: int = -1
    gripper: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "joint_names", tuple(self.joint_names))
        n = len(self.joint_names)
        q = frozen(self.q, "plan q [rad]")
        if q.ndim != 2 or q.shape[0] == 0 or q.shape[1] != n:
            raise ShapeMismatch(
                f"plan q has shape {q.shape}, expected (H, {n}) with H >= 1: one column per joint name"
            )
        object.__setattr__(self, "q", q)
        if self.dq is not None:
            dq = frozen(self.dq, "plan dq [rad/s]", q.shape)
            if q.shape[0] == 1 and dq.any():
                raise ShapeMismatch(
                    "a plan of one knot is a set-point and cannot carry a velocity; pass two knots"
                )
            object.__setattr__(self, "dq", dq)
        if self.gripper is not None:
            opening = frozen(self.gripper, "plan gripper", q.shape[:1])
            if not ((opening >= 0.0) & (opening <= 1.0)).all():
                low, high = float(opening.min()), float(opening.max())
                raise CommandRejected(f"plan gripper is {low:g} to {high:g}, allowed [0, 1]: closed to open")
            object.__setattr__(self, "gripper", opening)
        finite(self.t0, "plan t0 [s]")
        finite(self.valid_until, "plan valid_until [s]")
        if not (np.isfinite(self.dt) and self.dt > 0.0):
            raise ShapeMismatch(f"plan dt {self.dt} s, must be finite and above 0 s")

    @property
    def horizon(self) -> int:
        """Number of knots H."""
        return int(self.q.shape[0])

    @property
    def t_end(self) -> float:
        """Time of the last knot [s]."""
        return self.t0 + (self.horizon - 1) * self.dt

    @property
    def ends_at_rest(self) -> bool:
        """Whether the target may stay at the last knot."""
        return self.dq is None or not self.dq[-1].any()

    @property
    def expires_at(self) -> float:
        """Time from which the plan is not followed any more [s]."""
        return self.valid_until if self.ends_at_rest else min(self.valid_until, self.t_end)


@dataclass(frozen=True, eq=False)
class Applied:
    """The command of one tick beside what was asked for.

    Attributes:
        tick: number of the control tick.
        t: nominal time of the tick [s].
        plan_id: plan in force, -1 for none.
        requested: position asked for (n,) [rad].
        applied: position written to the driver (n,) [rad].
        dq: velocity of the applied command over the last tick (n,) [rad/s].
        reasons: a ``Reason`` for each joint (n,).
    """

    tick: int
    t: float
    plan_id: int
    requested: Array
    applied: Array
    dq: Array
    reasons: NDArray[np.uint32]

    def interventions(self, joint_names: Sequence[str]) -> dict[str, Reason]:
        """Name the joints that were limited and why."""
        return {name: Reason(int(r)) for name, r in zip(joint_names, self.reasons, strict=True) if r}


@dataclass(frozen=True)
class ArmInfo:
    """What a driver tells about its arm; ranges [rad] and speeds [rad/s] are the device's own, None when unknown.

    ``gripper`` says whether it takes openings, ``freedrive`` whether it can be let move by hand.
    """

    model: str
    joint_names: tuple[str, ...]
    native_hz: float
    q_min: tuple[float, ...] | None = None
    q_max: tuple[float, ...] | None = None
    dq_max: tuple[float, ...] | None = None
    firmware: str = ""
    serial: str = ""
    gripper: bool = False
    freedrive: bool = False

    @property
    def dof(self) -> int:
        """Number of joints."""
        return len(self.joint_names)

    @classmethod
    def from_mapping(cls, data: dict[str, Any]) -> ArmInfo:
        """Rebuild from ``dataclasses.asdict`` after a trip through JSON."""
        fixed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**fixed)


class ArmDriver(Protocol):
    """The only thing a new arm must implement. Vendor exceptions never leave a driver: raise ``errors``
    instead.

    A driver is made by ``factory(clock=..., **kwargs)`` with plain kwargs, so that any process can make it. One that
    says ``ArmInfo.gripper`` also has ``gripper(opening: float) -> None``: send it to an opening, 0 closed to 1 open,
    without waiting. One that says ``ArmInfo.freedrive`` also has ``freedrive(on: bool) -> None``: let the enabled arm
    be moved by hand, gravity compensated, or hold it again where it is; nothing is written in between.
    """

    def open(self) -> ArmInfo:
        """Open the transport. Never moves the arm and never changes torque."""

    def enable(self) -> None:
        """Switch the servos on, holding the measured pose. Idempotent."""

    def read(self, deadline: float) -> ArmState:
        """Return the newest measurement; never block past the deadline [s]; dead link: TransportError."""

    def write(self, q: Array, deadline: float) -> Array:
        """Send position targets (n,) [rad]; return what was put on the wire after quantisation (n,) [rad]."""

    def stop(self) -> None:
        """Ask the device for its own best stop; used when a streamed stop cannot be delivered."""

    def disable(self) -> None:
        """Switch the servos off (brakes on, where there are brakes). Idempotent."""

    def clear_faults(self) -> None:
        """Clear latched device faults. Never moves the arm."""

    def close(self) -> None:
        """Close the transport; torque stays as it is. Idempotent."""
