"""Arm environments on MuJoCo for Gymnasium.

`import envs` registers them; `gymnasium.make("envs:LoopWM/PandaReach-v0")` imports and makes in one step.
"""

import gymnasium as gym

from .action import CartesianDelta, JointDelta, JointReference, interpolate
from .arm_env import ArmEnv
from .arms import Arm, known_arms, load_arm
from .exploration import PushExplorer
from .kinematics import ArmKinematics
from .observation import (
    OBJECT_UNITS,
    OBSERVATION_UNITS,
    arm_observation,
    object_groups,
    object_observation,
    observation_groups,
    observation_size,
    observation_tokens,
)
from .pixels import PixelObservation
from .randomize import DYNAMICS_UNITS, TRAINING, UNSEEN, Combination, Dynamics, DynamicsRanges
from .rendering import Marker, Polyline, SceneRenderer
from .rewards import distance, reach_reward
from .simulator import BatchSimulator
from .stepping import EnvState
from .tasks import PushEnv, ReachEnv

__all__ = [
    "DYNAMICS_UNITS",
    "OBJECT_UNITS",
    "OBSERVATION_UNITS",
    "TRAINING",
    "UNSEEN",
    "Arm",
    "ArmEnv",
    "ArmKinematics",
    "BatchSimulator",
    "CartesianDelta",
    "Combination",
    "Dynamics",
    "DynamicsRanges",
    "EnvState",
    "JointDelta",
    "JointReference",
    "Marker",
    "PixelObservation",
    "Polyline",
    "PushEnv",
    "PushExplorer",
    "ReachEnv",
    "SceneRenderer",
    "arm_observation",
    "distance",
    "interpolate",
    "known_arms",
    "load_arm",
    "object_groups",
    "object_observation",
    "observation_groups",
    "observation_size",
    "observation_tokens",
    "reach_reward",
]

for _name, _entry, _steps, _options in (
    ("PandaReach", "envs.tasks.reach:ReachEnv", 60, {}),
    ("PandaReachHidden", "envs.tasks.reach:ReachEnv", 60, {"randomize": "training"}),
    ("PandaPush", "envs.tasks.push:PushEnv", 100, {}),
):
    if f"LoopWM/{_name}-v0" not in gym.registry:
        gym.register(
            id=f"LoopWM/{_name}-v0",
            entry_point=_entry,
            max_episode_steps=_steps,
            kwargs={"arm": "panda", **_options},
        )
