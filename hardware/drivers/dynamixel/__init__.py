"""Driver for arms of Dynamixel servos; needs ``pip install 'loopwm-robot[dynamixel]'``."""

from __future__ import annotations

from .calibration import Calibration, GripperServo, JointServo
from .driver import DynamixelDriver

__all__ = ["Calibration", "DynamixelDriver", "GripperServo", "JointServo"]
