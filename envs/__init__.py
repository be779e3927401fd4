"""Arm environments on MuJoCo for Gymnasium.

`import envs` registers them; `gymnasium.make("envs:LoopWM/PandaReach-v0")` imports and makes in one step.
"""

import gymnasium as gym

from .action import CartesianDelta, JointDelta, JointReference, interpolate
from .arm_env import ArmEnv
from .arms import Arm, known_arms, load_arm
from .kinematics import ArmKinematics
from .observation import (
    OBSERVATION_UNITS,
    arm_observation,
    observation_groups,
    observation_size,
    observation_tokens,
)
from .rendering import Marker, Polyline, SceneRenderer
from .rewards import distance, reach_reward
from .simulator import BatchSimulator
from .stepping import EnvState
from .tasks import ReachEnv

__all__ = [
    "OBSERVATION_UNITS",
    "Arm",
    "ArmEnv",
    "ArmKinematics",
    "BatchSimulator",
    "CartesianDelta",
    "EnvState",
    "JointDelta",
    "JointReference",
    "Marker",
    "Polyline",
    "ReachEnv",
    "SceneRenderer",
    "arm_observation",
    "distance",
    "interpolate",
    "known_arms",
    "load_arm",
    "observation_groups",
    "observation_size",
    "observation_tokens",
    "reach_reward",
]

if "LoopWM/PandaReach-v0" not in gym.registry:
    gym.register(
        id="LoopWM/PandaReach-v0",
        entry_point="envs.tasks.reach:ReachEnv",
        max_episode_steps=60,
        kwargs={"arm": "panda"},
    )
