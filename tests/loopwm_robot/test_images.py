"""Pictures: laws of encoder and decoder, what is refused, replay, checkpoints, and that something is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from picture_env import PictureEnv, draw
from test_bounds import assert_bounded  # type: ignore[attr-defined]
from torch import Tensor

from loopwm_robot.models.images import ImageConfig
