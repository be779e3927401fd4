"""Tasks for the arms."""

from .button_press import ButtonPressEnv
from .door_open import DoorOpenEnv
from .drawer_open import DrawerOpenEnv
from .peg_insert import PegInsertEnv
from .pick_and_place import PickAndPlaceEnv
from .push import PushEnv
from .reach import ReachEnv
from .reach_avoid import ReachAvoidEnv
from .slide import SlideEnv
from .stack import StackEnv
from .track_path import TrackPathEnv

__all__ = [
    "ButtonPressEnv",
    "DoorOpenEnv",
    "DrawerOpenEnv",
    "PegInsertEnv",
    "PickAndPlaceEnv",
    "PushEnv",
    "ReachAvoidEnv",
    "ReachEnv",
    "SlideEnv",
    "StackEnv",
    "TrackPathEnv",
]
