"""Universal Robots' arms through ur_rtde: e-Series and CB3, RTDE, dashboard and primary interface."""

from __future__ import annotations

from .driver import UrDriver

__all__ = ["UrDriver"]
