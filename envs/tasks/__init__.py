"""Tasks for the arms."""

from .pick_and_place import PickAndPlaceEnv
from .push import PushEnv
from .reach import ReachEnv

__all__ = ["PickAndPlaceEnv", "PushEnv", "ReachEnv"]
