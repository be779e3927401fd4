"""Tasks for the arms."""

from .button_press import ButtonPressEnv
from .pick_and_place import PickAndPlaceEnv
from .push import PushEnv
from .reach import ReachEnv
from .reach_avoid import ReachAvoidEnv

__all__ = ["ButtonPressEnv", "PickAndPlaceEnv", "PushEnv", "ReachAvoidEnv", "ReachEnv"]
