"""What the tasks share in which something is moved along the one way that a thing on the table leaves it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray
from ..observation import FIXTURE_SIZES, groups_of
from ..randomize import Dynamics
from ..rendering import Marker
from .fixture_scene import add_fixture
from .fixture_script import FixtureScript
from .push_scene import OBJECT_BODY, ContactProbe, add_peg
from .touched import TouchedEnv

LENGTH = 0.07
"""Of the peg from the tool centre point, for a large arm as all lengths here [m]; no finger reaches as far."""
RAISE = 0.015
"""Greatest height by which a fixture stands higher than it could [m]."""
SPREAD = 0.5
"""A fixture faces the base of the robot, give or take so much [rad]."""
START_HEIGHT = (0.04, 0.10)
"""Height of the end of the peg at the start above the highest point of the way [m]."""
BOUNDS = {"fixture_yaw": 1.0 + 1e-6, "hole_yaw": 1.0 + 1e-6, "travel_rate": 50.0}
"""Of the observation, where not 2."""
Shares = tuple[float, float]


class FixtureEnv(TouchedEnv):
    """Move something along the one way that a fixture leaves it, to a point drawn there.

    Observation: dict of `observation` (the arm as in `envs.observation`, then what `FIXTURE_UNITS` names),
    `achieved_goal` (3,) [m] and `desired_goal` (3,) [m]. Reward: `dense` is -distance [m], `sparse` is 0 within
    `threshold` and -1 beyond. The registered environments are truncated after 100 steps (5 s). `info` holds
    `is_success`, `distance` [m], `contact` and `contact_steps`, see `PushEnv`.

    Reset options: `travel` of the goal along the way [m or rad], `object` (x, y, z [m], yaw [rad]), where x and y are
    those of the way's beginning and z is by how much the fixture is raised, and `q` (n,) [rad].
    """

    reset_options: ClassVar[tuple[str, ...]] = ("travel", "object", "q")
    unit: ClassVar[str] = "m"
    """Of the travel; lengths are those for a large arm."""
    goals: ClassVar[tuple[float, float]]
    """Range of the travel of goals."""
    begins: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """Range of the travel at the start."""
    area: ClassVar[tuple[Shares, Shares]] = ((0.3, 0.08), (0.85, 0.92))
    """Where the way lies, in shares of the area of the table: near its base an arm has no room, far away it tilts."""
    peg: ClassVar[dict[str, float]] = {"length": LENGTH}
    """Of `add_peg`."""
    hook: ClassVar[float] = 0.0
    """By how much the tip of the peg is below the point on the way while it moves the part [m]."""

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "cartesian_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Load arm and fixture; arguments as of `PushEnv`."""
        super().__init__(arm, control_mode, reward, render_mode, **options)
        self._fixture_start = np.zeros(len(self._object_qpos))
        self._draw(np.random.default_rng(0))  # refuses an arm without room for it
        self._probe = ContactProbe(self.model)

    @abstractmethod
    def build(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, scale: float) -> None:
        """Add the shapes. Args: body: its origin on the table under the beginning of the way, x towards the robot."""

    @abstractmethod
    def path(self, travel: FloatArray) -> FloatArray:
        """Way of what the goal is about, in the frame of the fixture; it begins over the origin.

        Args:
            travel: (...) [m or rad].

        Returns:
            Points (..., 3) [m].
        """

    def way(self, pose: ArrayLike, travel: ArrayLike) -> FloatArray:
        """The same in the base frame. Args: pose: of the fixture (..., 4): x, y, z [m], yaw [rad]."""
        pose = np.asarray(pose, dtype=np.float64)
        x, y, z = np.moveaxis(self.path(np.asarray(travel, dtype=np.float64)), -1, 0)
        c, s = np.cos(pose[..., 3]), np.sin(pose[..., 3])
        return pose[..., :3] + np.stack([c * x - s * y, s * x + c * y, z + 0.0 * c], axis=-1)

    @property
    def grip(self) -> float:
        """Height of the tool centre point over the point on the way while it moves the part [m]."""
        return (self.peg["length"] - self.hook) * self.workspace.scale

    def travels(self, ends: tuple[float, float]) -> FloatArray:
        """Range of a travel for this arm. Args: ends: for a large arm. Returns: (2,) [m or rad]."""
        return np.array(ends) * (self.workspace.scale if self.unit == "m" else 1.0)

    def sweep(self, count: int) -> FloatArray:
        """Travels from the beginning of the way to the farthest goal (count,) [m or rad]."""
        end: float = self.travels((0.0, self.goals[1]))[1]
        return np.linspace(0.0, end, count)

    def script(self, rng: np.random.Generator | None = None, noise: float = 0.0) -> FixtureScript:
        """A policy that solves the task from the observation alone; see `FixtureScript`."""
        return FixtureScript(self, rng, noise)

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the fixture, and the peg in the hand."""
        super().edit_scene(spec)
        self.build(spec, add_fixture(spec), self.workspace.scale)
        add_peg(spec, self.workspace.scale, **self.peg)

    @property
    def posture(self) -> FloatArray:
        """A pose with the hand pointing down (n,) [rad]."""
        return self.workspace.posture.copy()

    @property
    def groups(self) -> dict[str, slice]:
        """Columns of the observation that follow those of the arm, see `FIXTURE_UNITS`."""
        return groups_of(FIXTURE_SIZES, self.robot_columns)

    def column_groups(self) -> dict[str, slice]:
        """Columns of the robot, then those of the fixture."""
        return {**super().column_groups(), **self.groups}

    @cached_property
    def goal_columns(self) -> slice:
        """Columns of what the goal is about: the first group behind the arm."""
        return next(iter(self.groups.values()))

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns that belong together: the joints, `ee` and `object`."""
        stop = max(group.stop for group in self.groups.values())
        return {**super().observation_tokens(), "object": tuple(range(self.robot_columns, stop))}

    def vector_space(self) -> gym.spaces.Box:
        """Bounds of the observation vector."""
        arm = super().vector_space()
        high = np.concatenate([np.full(g.stop - g.start, BOUNDS.get(name, 2.0)) for name, g in self.groups.items()])
        low, high = np.concatenate([arm.low, -high]), np.concatenate([arm.high, high])
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """Fixture and part, see `ArmEnv.surroundings`."""
        yaw, travel = qpos[..., 3:4], qpos[..., 4:]
        parts = (self.way(qpos[..., :4], travel[..., 0]), np.cos(yaw), np.sin(yaw), travel, qvel[..., 4:])
        return np.concatenate(parts, axis=-1, dtype=np.float32, casting="same_kind")

    def begin(self, options: dict[str, Any], dynamics: Dynamics | None) -> FloatArray:
        """Draw and place an episode; see `GoalEnv.begin`."""
        # All are drawn in any case, so that fixing one leaves the others as the seed decides.
        pose, travel, start = self._draw(self.np_random)
        if "travel" in options:
            travel = self._checked_travel(options["travel"])
        if "travel" in options or "object" in options:
            pose = self._checked_object(options.get("object", pose), travel)
        self._fixture_start[:] = [*pose, start][: len(self._fixture_start)]
        self._contact_steps = 0
        self.place(options.get("q"), dynamics)
        return self.way(pose, travel)

    def random_start(self) -> FloatArray:
        """Draw a pose (n,) [rad] with the peg over the table, above the fixture, in which the arm touches nothing."""
        size, highest = self.workspace.scale, self.path(self.sweep(9))[:, 2].max()
        above = float(highest) + (RAISE + self.peg["length"]) * size
        for _ in range(100):
            x, y = self.np_random.uniform(self.workspace.table_low, self.workspace.table_high)
            z = above + size * self.np_random.uniform(*START_HEIGHT)
            q = self.kinematics.solve_position((x, y, z), self.posture)
            if q is not None and self._is_free(q):
                return q
        raise RuntimeError("no free start in 100 draws above the table; give another home or table_low and table_high")

    def place_objects(self) -> None:
        """Put the fixture where it stands."""
        self._object_qpos[:] = self._fixture_start

    def markers(self) -> Sequence[Marker]:
        """The goal, as a small sphere."""
        return (Marker(self._goal, radius=0.012 * self.workspace.scale),)

    def _draw(self, rng: np.random.Generator) -> tuple[FloatArray, float, float]:
        """Pose of the fixture (4,), travel of the goal, travel at the start."""
        space, base = self.workspace, self.arm.about.base_pos
        low, high = space.on_table(*self.area)
        for _ in range(200 if (low < high).all() else 0):
            x, y = rng.uniform(low, high)
            yaw = math.atan2(base[1] - y, base[0] - x) + rng.uniform(-SPREAD, SPREAD)
            pose = np.array([x, y, RAISE * space.scale * rng.uniform(), (yaw + math.pi) % (2 * math.pi) - math.pi])
            travel, start = rng.uniform(*self.travels(self.goals)), rng.uniform(*self.travels(self.begins))
            points = self.way(pose, np.linspace(0.0, travel, 9))[:, :2]
            if (points >= low).all() and (points <= high).all():
                return pose, float(travel), float(start)
        raise ValueError(
            f"arm {self.arm.name!r} has no room on its table for this task: the way of what it moves does not fit into "
            f"{low.tolist()} to {high.tolist()} m; give its file a table_low and table_high that are farther apart"
        )

    def _is_free(self, q: FloatArray) -> bool:
        """Whether the arm in pose q (n,) [rad] touches nothing with the fixture in its place."""
        self._qpos[:] = q
        self.place_objects()
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        return self._probe.robot_free(self.data)

    def _checked_travel(self, value: Any) -> float:
        low, high = self.travels((0.0, self.goals[1]))
        travel = np.array(value, dtype=np.float64)
        if travel.shape != () or not low <= travel <= high + 1e-9:
            raise ValueError(f"travel is {value!r} {self.unit}, allowed one number in [{low:g}, {high:g}] {self.unit}")
        return float(travel)

    def _checked_object(self, value: ArrayLike, travel: float) -> FloatArray:
        pose, highest = np.array(value, dtype=np.float64), RAISE * self.workspace.scale
        if pose.shape != (4,) or not np.isfinite(pose).all():
            raise ValueError(f"{OBJECT_BODY} {value!r} is not a place: need finite x, y, z [m] and yaw [rad]")
        if not 0.0 <= pose[2] <= highest:
            raise ValueError(f"{OBJECT_BODY} is raised by {pose[2]:.4g} m, allowed [0, {highest:g}] m")
        for point in self.way(pose, np.linspace(0.0, travel, 5)):
            q = self.kinematics.solve_position(point + np.array([0.0, 0.0, self.grip]), self.posture)
            if q is None or not self.kinematics.collision_free(q):
                raise ValueError(
                    f"{OBJECT_BODY} at {np.round(pose, 4).tolist()}: its way to {travel:.4g} {self.unit} is out of "
                    f"reach of arm {self.arm.name!r} at {np.round(point, 4).tolist()} m; choose it within "
                    f"{self.workspace.table_low.tolist()} to {self.workspace.table_high.tolist()} m"
                )
        return pose
