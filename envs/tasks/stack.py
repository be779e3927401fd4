"""Grasp a cylinder and put it on a block."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray, Observation
from ..arms.robot import OBJECT_BIT
from ..observation import OBJECT_SIZES, object_groups, object_observation
from .pick_and_place import FRICTION, HALF_HEIGHT, RADIUS, PickAndPlaceEnv, PickScript
from .push_scene import OBJECT_BODY, ContactProbe

BLOCK = "block"
HALF_SIZE = (0.03, 0.03, 0.02)
"""Half edges of the block below, for a large arm as all lengths here [m]."""
MASS = 0.4
"""Of the block [kg]; it goes with the volume."""
CLEARANCE = HALF_SIZE[0] * math.sqrt(2.0) + RADIUS
"""Least distance in the plane at which cylinder and block cannot touch [m]."""
BLOCK_RGBA = (0.36, 0.42, 0.78, 1.0)

# Of the script.
HOVER = 0.03
"""Height over its place at which the cylinder is carried [m]."""
ALIGNED = 0.006
"""Distance in the plane from which it comes down, and from its place at which it is let go [m]."""
CARRY = 0.6
"""Greatest action while the cylinder is held: faster, it may slip."""
OPEN, OPENING = 0.4, 0.02
"""Action of the open fingers, which would sweep away the block if opened wider, and factor of its square growth with
every step of letting go: when opened at once they throw the cylinder."""


class StackEnv(PickAndPlaceEnv):
    """Put a cylinder of 4 x 5 cm on a block of 6 x 6 x 4 cm that stands on the table, and let go of it.

    The goal is the cylinder's place on the block where the block stands at the start. The observation is that of
    `PickAndPlaceEnv`, then the block in the groups of `envs.observation.OBJECT_UNITS`; for seven joints 51 numbers.
    Reward and `info` are those of `PushEnv` with a radius of 3 cm, half an edge and less than the block's height;
    `contact` counts both objects, and `is_success` also asks that the robot touched neither during the step. Reset
    options: `goal`, below which the block is put, `object` and `q`. The registered environment is truncated after 120
    steps (6 s).
    """

    radius: ClassVar[float] = 0.03
    goal_distance: ClassVar[float] = 0.16

    def __init__(self, *args: Any, **options: Any) -> None:
        """Load arm, gripper and objects; arguments as of `PickAndPlaceEnv`."""
        super().__init__(*args, **options)
        self.stack_height = (2.0 * HALF_SIZE[2] + HALF_HEIGHT) * self.workspace.scale
        self._probe = ContactProbe(self.model, (OBJECT_BODY, BLOCK))

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the objects."""
        super().edit_scene(spec)
        scale = self.workspace.scale
        body = spec.worldbody.add_body(name=BLOCK, pos=(0.5, 0.2 * scale, HALF_SIZE[2] * scale))
        body.add_freejoint(name=BLOCK)
        body.add_geom(
            name=BLOCK,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=np.array(HALF_SIZE) * scale,
            mass=MASS * scale**3,
            friction=FRICTION,
            priority=1,
            contype=OBJECT_BIT,
            conaffinity=OBJECT_BIT,
            rgba=BLOCK_RGBA,
        )

    def column_groups(self) -> dict[str, slice]:
        """Columns of robot and object, then those of the block."""
        block = object_groups(self.robot_columns + sum(OBJECT_SIZES.values()))
        return {**super().column_groups(), **{name.replace("object", BLOCK): some for name, some in block.items()}}

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together: the joints, `ee`, `gripper`, `object` and `block`."""
        tokens = super().observation_tokens()
        first = tokens["object"][-1] + 1
        return {**tokens, BLOCK: tuple(range(first, first + len(tokens["object"])))}

    def vector_space(self) -> gym.spaces.Box:
        """Bounds of the observation vector."""
        one = super().vector_space()
        again = slice(self.robot_columns, None)  # the block has those of the cylinder
        low, high = (np.concatenate([bound, bound[again]]) for bound in (one.low, one.high))
        return gym.spaces.Box(low, high, dtype=np.float32)

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """Cylinder and block, (..., 18); see `ArmEnv.surroundings`."""
        cylinder = object_observation(qpos[..., :7], qvel[..., :6])
        return np.concatenate([cylinder, object_observation(qpos[..., 7:], qvel[..., 6:])], axis=-1)

    def place_objects(self) -> None:
        """Put the objects at rest on the table, the block below the goal."""
        (x, y, yaw), scale = self._object_start, self.workspace.scale
        if math.dist((x, y), self._goal[:2]) < CLEARANCE * scale:
            raise ValueError(
                f"object at {np.round((x, y), 4).tolist()} m stands where the block is, below the goal at "
                f"{np.round(self._goal[:2], 4).tolist()} m; choose them at least {CLEARANCE * scale:.3g} m apart"
            )
        turn = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
        self._object_qpos[:7] = x, y, self.rest_height, *turn
        self._object_qpos[7:] = *self._goal[:2], HALF_SIZE[2] * scale, *turn

    def _random_goal(self, start: FloatArray) -> FloatArray:
        goal = super()._random_goal(start)
        goal[2] = self.stack_height
        return goal

    def _checked_goal(self, value: ArrayLike) -> FloatArray:
        goal = super()._checked_goal(value)
        if abs(goal[2] - self.stack_height) > 0.005:
            raise ValueError(
                f"goal is at a height of {goal[2]:.4g} m, allowed {self.stack_height:g} m: the centre of the cylinder "
                "on the block"
            )
        return goal

    def _judge(self, obs: Observation) -> tuple[float, dict[str, Any]]:
        reward, info = super()._judge(obs)
        return reward, {**info, "is_success": info["is_success"] and not info["contact"]}


class StackScript(PickScript):
    """A policy that solves the task from the observation alone: grasp, carry over the block, put down, let go."""

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the cylinder (3,) [m]."""
        super().reset(goal)
        self._place, self._placed = self._goal, 0

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action (4,) for an observation vector."""
        thing = np.asarray(obs, dtype=np.float64)[self._object]
        if self._placed or (self._held > 8 and math.dist(thing, self._place) < ALIGNED * self.size):
            self._placed += 1
            opening = min(-1.0 + OPENING * self._placed**2, OPEN)  # gently, and only then away
            return np.array([0.0, 0.0, 0.3 if opening == OPEN else 0.0, opening], dtype=np.float32)
        aside = math.dist(thing[:2], self._place[:2])
        self._goal = self._place.copy()
        if aside > ALIGNED * self.size:
            self._goal[2] += HOVER * self.size
            if thing[2] < self._place[2] + HOVER * self.size / 3.0:
                self._goal[:2] = thing[:2]  # straight up first
        action = super().act(obs)
        action[3] = min(action[3], OPEN)
        if self._held:
            action[:3] = np.clip(action[:3], -CARRY, CARRY)
        return action
