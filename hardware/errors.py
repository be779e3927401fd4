"""Errors of the bridge: one family, so that a caller catches ``BridgeError`` and nothing of a vendor."""

from __future__ import annotations


class BridgeError(Exception):
    """Anything that goes wrong between a plan and an arm."""


class TransportError(BridgeError):
    """The link to the device failed."""


class TransportTimeout(TransportError):
    """The device did not answer before the deadline; the next attempt may succeed."""


class Disconnected(TransportError):
    """The link is gone and will not come back by itself."""


class StaleState(BridgeError):
    """No measurement young enough is available."""


class LimitsMismatch(BridgeError, ValueError):
    """Limits, joint names or ranges of the configuration disagree with the device."""


class ModeError(BridgeError):
    """The command is not allowed in the present mode."""


class CommandRejected(BridgeError, ValueError):
    """A command is malformed or not acceptable; it was not executed, not even in part."""


class NonFinite(CommandRejected):
    """A command or a measurement contains NaN or infinity."""


class ShapeMismatch(CommandRejected):
    """An array has the wrong shape."""


class JointMismatch(CommandRejected):
    """Joint names are missing, unknown or in another order."""


class StalePlan(CommandRejected):
    """A plan has expired, is out of order, or rests on an observation that is too old."""


class SafetyStop(BridgeError):
    """The bridge has latched a fault; it needs ``reset(acknowledge=True)``."""


class EStopActive(SafetyStop):
    """The bridge has latched an emergency stop; release it at the device, then ``reset(acknowledge=True)``."""


class HardwareFault(BridgeError):
    """The device itself reports a fault."""


class ControlProcessError(BridgeError):
    """The control process did not start, died, or does not answer."""


class DriverUnavailable(BridgeError):
    """A driver is unknown, cannot be imported, or lacks a package."""


def error_class(name: str) -> type[BridgeError]:
    """Find an error class by name (errors cross a process border as text); unknown: ``BridgeError``."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, BridgeError) else BridgeError
