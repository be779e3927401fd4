"""Tasks for the arms."""

from .pick_and_place import PickAndPlaceEnv
from .push import PushEnv
from .reach import ReachEnv
from .reach_avoid import ReachAvoidEnv
from .slide import SlideEnv
from .stack import StackEnv
from .track_path import TrackPathEnv

__all__ = ["PickAndPlaceEnv", "PushEnv", "ReachAvoidEnv", "ReachEnv", "SlideEnv", "StackEnv", "TrackPathEnv"]
