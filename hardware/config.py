"""Settings of the bridge with default, unit and range; the description of a driver as plain data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .clock import Clock
from .drivers import resolve
from .errors import DriverUnavailable
from .interface import ArmDriver
from .plain import refuse_unknown

_RANGES: dict[str, tuple[float, float, str]] = {
    "rate_hz": (1.0, 2000.0, "Hz"),
    "max_jump_rad": (1e-6, 10.0, "rad"),
    "align_rad": (0.0, 10.0, "rad"),
    "align_scale": (0.01, 1.0, "of the speed limits"),
    "following_error_rad": (1e-6, 10.0, "rad"),
    "following_error_s": (0.0, 10.0, "s"),
    "max_effort": (0.0, 1.0, "of tau_max"),
    "max_effort_s": (0.0, 10.0, "s"),
    "warm_c": (0.0, 100.0, "K"),
    "hot_s": (0.0, 60.0, "s"),
    "escalate_share": (0.0, 1.0, "of the ticks"),
    "escalate_s": (0.01, 60.0, "s"),
    "speed_scale_s": (0.0, 60.0, "s"),
    "cautious_scale": (0.01, 1.0, "of the speed limits"),
    "speed_ramp_s": (1e-3, 60.0, "s"),
    "make_up_s": (0.0, 0.1, "s"),
    "early_s": (0.0, 0.01, "s"),
    "stale_after_s": (0.0, 10.0, "s"),
    "disconnect_after_s": (1e-3, 60.0, "s"),
    "max_obs_age_s": (1e-3, 60.0, "s"),
    "max_validity_s": (1e-3, 600.0, "s"),
    "max_lead_s": (0.0, 600.0, "s"),
    "rest_speed": (1e-6, 10.0, "rad/s"),
    "client_timeout_s": (0.0, 3600.0, "s"),
    "orphan_hold_s": (0.0, 600.0, "s"),
    "record_s": (1.0, 3600.0, "s"),
    "max_horizon": (1, 4096, "knots"),
}
_CHOICES = {
    "realtime": ("auto", "on", "off"),
    "on_exit": ("disable", "hold"),
    "commands": ("send", "dry_run", "shadow"),
}


@dataclass(frozen=True)
class BridgeConfig:
    """Settings of the bridge.

    Attributes:
        rate_hz: control rate [Hz].
        max_jump_rad: a plan that starts further than this from the present command is refused [rad] ..
        align_rad: .. but not one for an arm that holds still, up to so far: the arm goes there slowly (ALIGNING), and
            follows the plans in full once it is within max_jump_rad of them [rad]; 0 refuses those, too ..
        align_scale: .. share of the speed limits meanwhile.
        following_error_rad: largest distance between command and measurement [rad] ..
        following_error_s: .. that may last this long [s] before the fault is latched.
        max_effort: largest measured torque of a joint, as a share of its tau_max; 0 looks at none ..
        max_effort_s: .. that may be exceeded this long [s] before the arm brakes and the fault is latched.
        warm_c: a joint that is within so much of its temperature_max is told of, once [K] ..
        hot_s: .. and one that is beyond it for so long brakes the arm and latches a fault [s].
        escalate_share: share of the ticks in which the filter may change the request; at more the arm brakes,
            and plans are refused until ``start``; 0 means it may always ..
        escalate_s: .. over so long [s].
        speed_scale_s: a speed scale (``ArmBridge.slow``) counts for so long, and without one the arm is slow [s];
            0: one holds until the next, and without one the arm may use its whole speed limits ..
        cautious_scale: .. share of the speed limits that holds while none counts ..
        speed_ramp_s: .. the share in force changes from 0 to 1, or back, within so long [s].
        make_up_s: a late tick also computes the ticks missed before it, up to so long [s], and sends the
            last: the command keeps to its plan and to its limits in time, at the price of one larger step.
        early_s: with SCHED_FIFO the control process wakes so long before each tick, a quarter of the period at most,
            computes a tick of the safety filter for practice and stays awake: the tick then begins on time and with
            warm caches [s]; 0 lets it sleep until the tick.
        stale_after_s: age from which a measurement is stale: brake, hold, no new plans [s]; 0 means the
            larger of three periods and 20 ms.
        disconnect_after_s: age from which the link counts as lost: latched fault [s].
        max_obs_age_s: oldest observation a plan may rest on [s].
        max_validity_s: furthest expiry a plan may ask for, from its arrival [s].
        max_lead_s: furthest start of a plan in the future [s].
        rest_speed: largest measured speed at which the arm may be enabled or reset [rad/s].
        client_timeout_s: end, as without an owner, when no client has called for so long [s]; 0 means never.
        orphan_hold_s: how long the control process holds after its owner is gone, before it ends [s].
        on_exit: "disable" switches the servos off at the end, "hold" leaves them on.
        realtime: SCHED_FIFO for the control process: "auto" tries, "on" makes a refusal a ``RuntimeWarning`` of
            ``connect`` and the event "realtime_refused", "off" does not try.
        record_s: length of the shared record ring [s]; the client drains it, so it bounds only the client's
            silence.
        max_horizon: largest number of knots of a plan.
        commands: "send"; "dry_run" reads the arm, sends nothing and goes on as if it had followed; "shadow" reads the
            arm, sends nothing and looks at what the arm does by itself, so there is no following error.
        black_box: existing folder into which the control process writes its last records and events when its
            owner is gone and the arm rests; empty: none.
    """

    rate_hz: float = 250.0
    max_jump_rad: float = 0.1
    align_rad: float = 0.0
    align_scale: float = 0.1
    following_error_rad: float = 0.2
    following_error_s: float = 0.02
    max_effort: float = 0.0
    max_effort_s: float = 0.1
    warm_c: float = 10.0
    hot_s: float = 1.0
    escalate_share: float = 0.0
    escalate_s: float = 1.0
    speed_scale_s: float = 0.0
    cautious_scale: float = 0.25
    speed_ramp_s: float = 0.5
    make_up_s: float = 0.02
    early_s: float = 5e-4
    stale_after_s: float = 0.0
    disconnect_after_s: float = 0.1
    max_obs_age_s: float = 0.5
    max_validity_s: float = 10.0
    max_lead_s: float = 1.0
    rest_speed: float = 0.05
    client_timeout_s: float = 0.0
    orphan_hold_s: float = 1.0
    on_exit: str = "disable"
    realtime: str = "auto"
    record_s: float = 120.0
    max_horizon: int = 256
    commands: str = "send"
    black_box: str = ""

    def __post_init__(self) -> None:
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if not (np.isfinite(value) and low <= value <= high):
                raise ValueError(f"bridge {name} {value:g} {unit}, allowed [{low:g}, {high:g}] {unit}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"bridge {name} '{getattr(self, name)}', allowed {', '.join(known)}")
        if self.stale_s >= self.disconnect_after_s:
            raise ValueError(
                f"bridge stale_after {self.stale_s:g} s must be below disconnect_after_s "
                f"{self.disconnect_after_s:g} s; raise disconnect_after_s"
            )

    @property
    def dt(self) -> float:
        """Control period [s]."""
        return 1.0 / self.rate_hz

    @property
    def ahead_s(self) -> float:
        """How long before a tick the control process wakes, with SCHED_FIFO [s]."""
        return min(self.early_s, 0.25 * self.dt)

    @property
    def stale_s(self) -> float:
        """Age from which a measurement is stale [s]."""
        return self.stale_after_s if self.stale_after_s > 0.0 else max(3.0 * self.dt, 0.02)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> BridgeConfig:
        """Build from plain data; an unknown key lists the known ones."""
        refuse_unknown(cls, data, "bridge settings")
        return cls(**data)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class DriverSpec:
    """A driver as plain data, so that a freshly started process can make it.

    Attributes:
        name: a registered name ("sim") or a dotted path "package.module:Factory".
        kwargs: keyword arguments of the factory: numbers, strings, lists, dicts.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resolve(self.name)
        try:
            json.dumps(self.kwargs)
        except (TypeError, ValueError) as error:
            raise DriverUnavailable(
                f"driver '{self.name}': arguments must be plain numbers, strings, lists and dicts ({error})"
            ) from error

    def create(self, clock: Clock) -> ArmDriver:
        """Import the factory and make the driver; nothing is opened yet."""
        module, _, attribute = resolve(self.name).partition(":")
        try:
            factory = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise DriverUnavailable(
                f"driver '{self.name}': cannot import {module}:{attribute} ({error})"
            ) from error
        try:
            driver: ArmDriver = factory(clock=clock, **self.kwargs)
        except TypeError as error:
            raise DriverUnavailable(
                f"driver '{self.name}': {error}; check the arguments of the driver"
            ) from error
        return driver
