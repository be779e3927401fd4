"""The bridge from plans to arms: drivers, a deterministic safety filter, a real-time control process.

Needs numpy and numba only; simulators and vendor packages are imported by the drivers that use them.
This is research software and not a certified safety function: keep the arm's own limits and emergency stop in
force.
"""

from .audit import Audit, audit
from .bridge import ArmBridge
from .chain import Chain
from .clock import FakeClock, MonotonicClock
from .config import BridgeConfig, DriverSpec
from .errors import BridgeError
from .guard import Guard
from .interface import Applied, ArmDriver, ArmInfo, ArmPlan, ArmState, Mode, Reason
from .limits import JointLimits
from .records import Event, Snapshot
from .safety import SafetyFilter
from .scene import SceneConfig
from .trajectory import braking_time, sample_plan

__all__ = [
    "Applied",
    "ArmBridge",
    "ArmDriver",
    "ArmInfo",
    "ArmPlan",
    "ArmState",
    "Audit",
    "BridgeConfig",
    "BridgeError",
    "Chain",
    "DriverSpec",
    "Event",
    "FakeClock",
    "Guard",
    "JointLimits",
    "Mode",
    "MonotonicClock",
    "Reason",
    "SafetyFilter",
    "SceneConfig",
    "Snapshot",
    "audit",
    "braking_time",
    "sample_plan",
]
