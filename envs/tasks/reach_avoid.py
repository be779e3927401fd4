"""Reach a point on the other side of a wall without touching it."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray
from ..randomize import Dynamics
from ..touch import touch_of_geom
from .reach import ReachEnv

WALL = "wall"
HALF_THICKNESS = 0.02
"""Of the wall, for a large arm as all lengths here [m]."""
CLEARANCE = 0.09
"""Least distance of starts and goals from the middle of the wall [m]."""
HEIGHT = 0.55
"""Height of the wall's upper edge, as a share of the height of the box of goals."""
WALL_RGBA = (0.80, 0.33, 0.28, 1.0)


class ReachAvoidEnv(ReachEnv):
    """Bring the tool centre point from one side of a wall to a goal on the other, over its upper edge.

    The wall stands across the middle of the arm's box of goals, which ends below its upper edge here. Everything else
    is as in `ReachEnv`; `info` also holds `collision`: whether the robot touched the wall during the step, looked at
    after each of the five set-points. The wall stops the arm, the reward knows nothing of it. The registered
    environment is truncated after 100 steps (5 s).
    """

    batched = True

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "joint_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Load the arm and build the wall; arguments as of `ReachEnv`."""
        super().__init__(arm, control_mode, reward, render_mode, **options)
        self._wall = int(self.model.geom(WALL).id)
        self._touched = False

    @property
    def wall(self) -> tuple[FloatArray, FloatArray]:
        """Centre and half edges of the wall, each (3,) [m]."""
        space = self.workspace
        low, high = space.reach_low, space.reach_high
        top = low[2] + HEIGHT * (high[2] - low[2])
        half = np.array([(high[0] - low[0]) / 2.0, HALF_THICKNESS * space.scale, top / 2.0])
        return np.array([*(low[:2] + high[:2]) / 2.0, top / 2.0]), half

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the wall."""
        super().edit_scene(spec)
        center, half = self.wall
        both = 1 | 2  # collides with near and far geoms of the arm
        spec.worldbody.add_geom(
            name=WALL,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=center,
            size=half,
            contype=both,
            conaffinity=both,
            rgba=WALL_RGBA,
        )

    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode; see `GoalEnv.begin`."""
        self._side = float(self.np_random.choice((-1.0, 1.0)))
        goal = self._random_point(-self._side)
        self._touched = False
        self.place(options.get("q"), dynamics)
        return goal if "goal" not in options else self._checked_goal(options["goal"])

    def random_start(self) -> FloatArray:
        """Draw a pose (n,) [rad] beside the wall in which the arm touches nothing."""
        return self._free_pose(self._side)[1]

    def advance(self, action: ArrayLike) -> None:
        """Run the physics for one control step; see `ArmEnv.advance`."""
        self._touched = False
        super().advance(action)

    def after_hold(self) -> None:
        """Look for contact with the wall."""
        if self.data.ncon:
            self._touched = self._touched or bool((self.data.contact.geom == self._wall).any())

    def touch_sensors(self, spec: mujoco.MjSpec) -> None:
        """Contacts of the wall."""
        touch_of_geom(spec, WALL)

    def batch_info(self, touches: FloatArray) -> dict[str, NDArray[Any]]:
        """See `task_info`."""
        return {"collision": np.asarray((touches > 0).any(axis=(1, 2)))}

    def task_info(self) -> dict[str, Any]:
        """Contact with the wall during the last step."""
        return {"collision": self._touched}

    def _random_point(self, side: float) -> FloatArray:
        return self._free_pose(side)[0]

    def _free_pose(self, side: float) -> tuple[FloatArray, FloatArray]:
        """A point beside the wall and a pose (n,) [rad] in which the tool is there and the arm touches nothing."""
        center, half = self.wall
        low, high = self.goal_low.copy(), self.goal_high.copy()
        high[2] = 2.0 * half[2]
        edge = center[1] + side * CLEARANCE * self.workspace.scale
        low[1], high[1] = (edge, high[1]) if side > 0 else (low[1], edge)
        for _ in range(100):
            point = self.np_random.uniform(low, high)
            q = self.kinematics.solve_position(point)
            if q is not None and self._is_free(q):
                return point, q
        raise RuntimeError(f"no free pose beside the wall in 100 draws for arm {self.arm.name!r}; give another home")

    def _is_free(self, q: FloatArray) -> bool:
        self._qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        return int(self.data.ncon) == 0
