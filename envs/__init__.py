"""Arm environments on MuJoCo for Gymnasium.

`import envs` registers them; `gymnasium.make("envs:LoopWM/PandaReach-v0")` imports and makes in one step.
"""

import gymnasium as gym

from . import adapters
from .action import CartesianDelta, JointDelta, JointReference, interpolate
from .arm_env import ArmEnv
from .arms import Arm, known_arms, load_arm
from .collector import Collector, Transitions, VectorPolicy
from .control_modes import CONTROL_MODES, CartesianPosition, JointPosition, JointTorque, JointVelocity
from .experts import expert
from .exploration import PushExplorer
from .kinematics import ArmKinematics
from .looks import Look, LookRanges
from .meshes import GeomMesh, geom_meshes
from .observation import (
    OBJECT_UNITS,
    OBSERVATION_UNITS,
    TARGET_UNITS,
    arm_observation,
    object_groups,
    object_observation,
    observation_groups,
    observation_size,
    observation_tokens,
    target_groups,
)
from .pixels import PixelObservation
from .privileged import PrivilegedObservation
from .randomize import DYNAMICS_UNITS, TRAINING, UNSEEN, Combination, Dynamics, DynamicsRanges
from .rendering import Marker, Polyline, SceneRenderer
from .rewards import distance, reach_reward
from .simulator import BatchSimulator
from .stepping import EnvState
from .tasks import (
    ButtonPressEnv,
    DoorOpenEnv,
    DrawerOpenEnv,
    PegInsertEnv,
    PickAndPlaceEnv,
    PushEnv,
    ReachAvoidEnv,
    ReachEnv,
    SlideEnv,
    StackEnv,
    TrackPathEnv,
)
from .vector_env import ArmVectorEnv
from .vectorized import entry_point
from .workspace import Workspace, find_workspace

__all__ = [
    "CONTROL_MODES",
    "DYNAMICS_UNITS",
    "OBJECT_UNITS",
    "OBSERVATION_UNITS",
    "TARGET_UNITS",
    "TRAINING",
    "UNSEEN",
    "Arm",
    "ArmEnv",
    "ArmKinematics",
    "ArmVectorEnv",
    "BatchSimulator",
    "ButtonPressEnv",
    "CartesianDelta",
    "CartesianPosition",
    "Collector",
    "Combination",
    "DoorOpenEnv",
    "DrawerOpenEnv",
    "Dynamics",
    "DynamicsRanges",
    "EnvState",
    "GeomMesh",
    "JointDelta",
    "JointPosition",
    "JointReference",
    "JointTorque",
    "JointVelocity",
    "Look",
    "LookRanges",
    "Marker",
    "PegInsertEnv",
    "PickAndPlaceEnv",
    "PixelObservation",
    "Polyline",
    "PrivilegedObservation",
    "PushEnv",
    "PushExplorer",
    "ReachAvoidEnv",
    "ReachEnv",
    "SceneRenderer",
    "SlideEnv",
    "StackEnv",
    "TrackPathEnv",
    "Transitions",
    "VectorPolicy",
    "Workspace",
    "adapters",
    "arm_observation",
    "distance",
    "expert",
    "find_workspace",
    "geom_meshes",
    "interpolate",
    "known_arms",
    "load_arm",
    "object_groups",
    "object_observation",
    "observation_groups",
    "observation_size",
    "observation_tokens",
    "reach_reward",
    "target_groups",
]

_LETTERS = {"fr3": "FR3", "so101": "SO101", "ur5e": "UR5e", "xarm7": "XArm7"}
"""How an arm is written in an id, where capitalising its first letter is not enough."""
_TASKS: tuple[tuple[str, str, int, dict[str, str]], ...] = (
    ("Reach", "envs.tasks.reach:ReachEnv", 60, {}),
    ("ReachHidden", "envs.tasks.reach:ReachEnv", 60, {"randomize": "training"}),
    ("ReachAvoid", "envs.tasks.reach_avoid:ReachAvoidEnv", 100, {}),
    ("TrackPath", "envs.tasks.track_path:TrackPathEnv", 120, {}),
    ("Push", "envs.tasks.push:PushEnv", 100, {}),
    ("Slide", "envs.tasks.slide:SlideEnv", 120, {}),
    ("PickAndPlace", "envs.tasks.pick_and_place:PickAndPlaceEnv", 100, {}),
    ("ButtonPress", "envs.tasks.button_press:ButtonPressEnv", 100, {}),
    ("DrawerOpen", "envs.tasks.drawer_open:DrawerOpenEnv", 100, {}),
    ("DoorOpen", "envs.tasks.door_open:DoorOpenEnv", 100, {}),
    ("PegInsert", "envs.tasks.peg_insert:PegInsertEnv", 100, {}),
    ("Stack", "envs.tasks.stack:StackEnv", 120, {}),
)

for _arm in known_arms():
    for _task, _entry, _steps, _options in _TASKS:
        _id = f"LoopWM/{_LETTERS.get(_arm, _arm.capitalize())}{_task}-v0"
        if _id not in gym.registry and (_task != "ReachHidden" or _arm == "panda"):
            gym.register(
                id=_id,
                entry_point=_entry,
                vector_entry_point=entry_point(_entry),
                max_episode_steps=_steps,
                kwargs={"arm": _arm, **_options},
            )

adapters.register()
