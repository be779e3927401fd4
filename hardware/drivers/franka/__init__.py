"""Franka arms through franky: the control interface, joint velocities at 1 kHz."""

from __future__ import annotations

from .driver import FrankaDriver

__all__ = ["FrankaDriver"]
