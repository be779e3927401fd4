"""Arm models: MJCF files and what the rest of the package needs to know about them."""

from .arm import Arm, known_arms, load_arm

__all__ = ["Arm", "known_arms", "load_arm"]
