"""Driving a simulated arm by hand: keys and sticks become actions, and what is kept becomes a dataset."""

from .jog import Jog, Key, Stick
from .session import Device, Kept, teleoperate

__all__ = ["Device", "Jog", "Kept", "Key", "Stick", "teleoperate"]
