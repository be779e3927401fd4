"""Tasks for the arms."""

from .reach import ReachEnv

__all__ = ["ReachEnv"]
