"""From a checkpoint to a moving arm: its settings, checks before motion, the real-time loop, the record."""

from .arm_config import ArmConfig
from .control import run_reaches
from .control_config import ControlConfig
from .errors import DeployError
from .preflight import make_bridge, preflight
from .record import load_recording, save_recording
from .result import DeployResult, GoalResult

__all__ = [
    "ArmConfig",
    "ControlConfig",
    "DeployError",
    "DeployResult",
    "GoalResult",
    "load_recording",
    "make_bridge",
    "preflight",
    "run_reaches",
    "save_recording",
]
