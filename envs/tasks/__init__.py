"""Tasks for the arms."""

from .push import PushEnv
from .reach import ReachEnv

__all__ = ["PushEnv", "ReachEnv"]
