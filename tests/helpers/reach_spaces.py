"""Spaces of the default environment."""

from __future__ import annotations

from functools import cache

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Spaces
from loopwm_robot.config import EnvConfig


@cache
def reach_spaces() -> Spaces:
    """Of `PandaReach`."""
    env = make_env(EnvConfig())
    spaces = spaces_of(env, EnvConfig())
    env.close()
    return spaces
