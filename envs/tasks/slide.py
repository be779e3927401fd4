"""Send a puck to a goal that the arm cannot reach."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..action import CartesianDelta
from ..arm_env import ArmEnv, FloatArray
from ..observation import object_groups, observation_groups
from .push import PushEnv
from .push_scene import OBJECT_BODY, add_cylinder, add_peg

RADIUS, HALF_HEIGHT = 0.04, 0.025
"""Of the puck, for a large arm as all lengths here [m]."""
MASS = 0.3
"""[kg]; it goes with the volume."""
CONTACT = 0.019
"""Time constant of the puck's contacts [s]: a harder one bounces off the hand."""
FRICTION = 0.02
"""Sliding friction of the puck, almost as on an air table; it goes with the size of the arm, so that the speed does."""
GRAVITY = 9.81
"""[m/s^2]"""
PUCK_LOW, PUCK_HIGH = (0.1, 0.35), (0.5, 0.65)
"""Box of the puck's start, in shares of the arm's area of the table."""
BEYOND = (0.10, 0.20)
"""How much further from the base than the tool reaches the goals lie [m]."""
ANGLE = 0.25
"""Greatest angle of the goals to the middle of the area, seen from the base [rad]."""
BEHIND = 0.7
"""Greatest angle of the hand's start to the direction of the base, seen from the puck [rad]."""

# Of the script; lengths and speeds for a large arm, times for any.
LAG = 0.06
"""From an action to its effect on the hand [s]."""
LEADS = (0.03, 0.1)
"""How far ahead it looks when it decides to let go, and when it limits its speed [s]."""
SPOT, TOUCH = 0.075, 0.066
"""Distance to the puck's centre at which it gets ready, and at which it counts as touching [m]; contact is at 6 cm."""
APPROACH, RAMP = 0.12, 0.03
"""Speed until it touches, and gain of speed a step from then on: faster, the puck would bounce off [m/s]."""
CREEP = 0.006
"""Further gain of speed a step while the puck is still too slow [m/s]: some arms are slower than they are told."""
SLACK = 0.01
"""By how much the puck may be too slow when it is let go [m/s]."""
STEER, STEER_MAX, GAIN = 0.4, 0.015, 0.5
"""Offset for each m/s that the puck drifts aside [s], its limit [m], and the share of the way there in a step."""


class SlideEnv(PushEnv):
    """Hit a puck so that it slides to a goal out of reach and stops there.

    The puck is a cylinder of 8 x 5 cm with very little friction: it runs v^2 / (2 mu g), 51 cm at 0.45 m/s. The hand
    starts on the base's side of it. Success is a distance below `threshold`, 8 cm for a large arm: the puck touches
    the goal, and a seventh of the way may be missing. Everything else is as in `PushEnv`: observation, reward, `info`,
    reset options. The registered environment is truncated after 120 steps (6 s), long enough for the puck to stop.
    """

    batched = True
    radius: ClassVar[float] = 0.08
    far: ClassVar[float] = 100.0  # hit at full speed, the puck runs for the whole episode

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "cartesian_delta",
        reward: str = "dense",
        render_mode: str | None = None,
        *,
        cartesian_scale: float = 0.03,
        **options: Any,
    ) -> None:
        """Load arm and puck; see `PushEnv`. Args: cartesian_scale: 0.6 m/s at full action, the push has 0.4 m/s."""
        super().__init__(arm, control_mode, reward, render_mode, cartesian_scale=cartesian_scale, **options)
        self.object_low, self.object_high = self.workspace.on_table(PUCK_LOW, PUCK_HIGH)
        self.rest_height = HALF_HEIGHT * self.workspace.scale
        self.friction = FRICTION * self.workspace.scale
        self._base = np.array(self.arm.about.base_pos[:2])
        self._middle = (self.goal_low + self.goal_high) / 2.0 - self._base
        self.reach = self._find_reach()

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add puck and peg; the view takes in the goals, and the table is drawn longer."""
        ArmEnv.edit_scene(self, spec)
        scale = self.workspace.scale
        friction = (FRICTION * scale, 0.0, 0.0)
        add_cylinder(spec, RADIUS * scale, HALF_HEIGHT * scale, MASS * scale**3, friction, contact=CONTACT)
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # the same friction in all directions
        add_peg(spec, scale)
        camera = spec.camera("main")
        camera.pos, camera.fovy = np.array(camera.pos) + scale * np.array([0.4, -0.1, 0.15]), 42.0
        for geom in (spec.geom("table"), spec.geom("edge")):
            if geom is not None:
                geom.pos[0], geom.size[0] = geom.pos[0] + 0.25, geom.size[0] + 0.25

    def start_angle(self) -> float:
        """Draw on which side of the puck the hand starts [rad]: towards the base."""
        back = self._base - self._object_start[:2]
        return math.atan2(back[1], back[0]) + float(self.np_random.uniform(-BEHIND, BEHIND))

    def _random_goal(self, start: FloatArray) -> FloatArray:
        distance = self.reach + self.workspace.scale * self.np_random.uniform(*BEYOND)
        angle = math.atan2(self._middle[1], self._middle[0]) + self.np_random.uniform(-ANGLE, ANGLE)
        x, y = self._base + distance * np.array([math.cos(angle), math.sin(angle)])
        return np.array([x, y, self.rest_height])

    def _check_reach(self, name: str, xy: FloatArray) -> None:
        if name == OBJECT_BODY:
            return super()._check_reach(name, xy)
        distance, low = math.dist(xy, self._base), self.reach
        high = low + BEYOND[1] * self.workspace.scale
        if not low <= distance <= high + 1e-6:
            raise ValueError(
                f"goal is {distance:.4g} m from the base, allowed [{low:.4g}, {high:.4g}] m: further than arm "
                f"{self.arm.name!r} reaches, and not so far that the puck cannot get there"
            )

    def _find_reach(self) -> float:
        """Greatest distance from the base at which the tool centre point gets low over the table [m]."""
        outwards, pose, found = self._middle / np.linalg.norm(self._middle), self.posture, 0.0
        for distance in np.arange(np.linalg.norm(self._middle), 3.0, 0.02 * self.workspace.scale):
            point = (*(self._base + distance * outwards), self.push_height[0])
            solved = self.kinematics.solve_position(point, pose)
            if solved is None:
                break
            pose, found = solved, float(distance)
        return found


class SlideScript:
    """A policy that solves the task from the observation alone, by the law of friction. For `cartesian_delta`.

    Behind the puck, then through it: at a distance d from the goal, a puck that is to stop there has the speed
    sqrt(2 mu g d), and the hand goes at that speed as long as it pushes. It steers by touching off the middle.
    """

    def __init__(self, env: SlideEnv) -> None:
        """Look up sizes and columns.

        Raises:
            ValueError: the environment has another control mode.
        """
        if not isinstance(env.action_mode, CartesianDelta):
            raise ValueError(f"control_mode is {env.control_mode!r}, allowed 'cartesian_delta' for this script")
        self.size, self._step, self._dt = env.workspace.scale, env.action_mode.action_scale, env.ctrl_dt
        self._braking = env.friction * GRAVITY
        self._height = (env.push_height[0] + env.push_height[1]) / 2.0
        self._ee, self._puck = observation_groups(env.arm.n)["ee_pos"], object_groups(env.robot_columns)
        self.reset(np.zeros(3))

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the puck (3,) [m]."""
        self._goal = np.asarray(goal, dtype=np.float64)[:2]
        self._speed = self._extra = 0.0
        self._hit = self._touched = False
        self._before: FloatArray | None = None

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action (3,) for an observation vector."""
        obs = np.asarray(obs, dtype=np.float64)
        ee, puck, drift = obs[self._ee], obs[self._puck["object_pos"]][:2], obs[self._puck["object_vel"]][:2]
        way = self._goal - puck
        left = float(np.linalg.norm(way))
        along = way / max(left, 1e-6)
        aside = np.array([-along[1], along[0]])
        ahead, lateral = float(drift @ along), float(drift @ aside)
        hand = np.zeros(2) if self._before is None else (ee[:2] - self._before) / self._dt
        self._before = ee[:2].copy()
        relative = ee[:2] - puck + LAG * (hand - drift)  # when this action takes effect
        behind, off = -float(relative @ along), float(relative @ aside)
        wanted = [math.sqrt(2.0 * self._braking * max(left - lead * ahead, 0.0)) for lead in LEADS]
        self._hit = self._hit or ahead >= wanted[0] - SLACK * self.size
        settled = max(abs(off), abs(behind - SPOT * self.size)) < 0.005 * self.size
        if self._hit:
            planar = np.zeros(2)
        elif settled or self._speed > 0.0:
            self._touched = self._touched or behind < TOUCH * self.size
            ramped = self._speed + RAMP * self.size if self._touched else APPROACH * self.size
            self._extra += CREEP * self.size * (ramped > wanted[1])  # some arms are slower than told
            self._speed = min(ramped, wanted[1] + self._extra)
            off -= float(np.clip(STEER * lateral, -STEER_MAX * self.size, STEER_MAX * self.size))
            planar = self._dt * (self._speed * along + lateral * aside) - GAIN * off * aside
        else:
            planar = 0.5 * (puck - SPOT * self.size * along - ee[:2])
        lift = 0.3 * (self._height - ee[2])
        return np.clip(np.array([*planar, lift]) / self._step, -1.0, 1.0).astype(np.float32)
