"""Franka arms through franky or pylibfranka: the control interface."""

from __future__ import annotations

from .driver import FrankaDriver

__all__ = ["FrankaDriver"]
