"""Scripted exploration: motion that meets the objects, which random actions hardly ever do."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .observation import object_groups, observation_groups, observation_size

FloatArray = NDArray[np.float64]

TABLE_LOW, TABLE_HIGH = (0.40, -0.22), (0.65, 0.22)
"""Area of the goals of the Panda, x and y [m]."""
MARGIN = (0.03, 0.04)
"""By which pushes may leave that area, for a large arm as all lengths here [m]."""
HEIGHTS = (0.050, 0.066)
"""Of the tool centre point while pushing [m]."""
CLEARANCE = 0.12
"""Height of the tool centre point above which the peg passes over the object [m]."""
STUCK = 0.2
"""Distance from a joint to its reference at which it presses against something [rad]; motion alone takes 0.06."""
ORBIT = 0.105
"""Distance kept from the object's centre on the way around it [m]."""
ARRIVED = 0.015
"""Closer than this to the goal, a push ends [m]."""
NEAR = 0.085
"""Closer than this to the object's centre, the hand must not come down [m]."""


class PushExplorer:
    """Pushes the object to and fro: goes around to a random side, then through it at a random speed.

    Some pushes steer to the goal, some plans only wander, all actions have noise that is correlated in time. When a
    joint presses against something it gives way upwards. It decides from the observation alone, for `PushEnv` with
    `cartesian_delta`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        n: int = 7,
        cartesian_scale: float = 0.02,
        *,
        low: ArrayLike = TABLE_LOW,
        high: ArrayLike = TABLE_HIGH,
        size: float = 1.0,
        noise: float = 0.25,
        goal_share: float = 0.2,
        wander_share: float = 0.08,
    ) -> None:
        """Start with nothing planned.

        Args:
            rng: source of randomness.
            n: joints of the arm, which decide where the columns of the observation lie.
            cartesian_scale: that of the environment [m].
            low: lower corner of the area of the goals (2,) [m].
            high: upper corner (2,) [m].
            size: of the arm, `Workspace.scale`; all lengths go with it.
            noise: standard deviation added to the actions.
            goal_share: share of pushes towards the goal; the others go anywhere in the workspace.
            wander_share: share of plans that move to a random point instead of pushing.

        Raises:
            ValueError: a share is no probability, or the noise is negative.
        """
        for name, share in (("goal_share", goal_share), ("wander_share", wander_share)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} is {share}, allowed [0, 1]")
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"noise is {noise}, allowed [0, 1]")
        if not size > 0.0:
            raise ValueError(f"size is {size}, must be positive")
        self.rng, self.noise = rng, noise
        # All lengths inside are in units of the arm's size.
        self.size, self.scale = size, cartesian_scale / size
        self._low = np.round(np.asarray(low, dtype=np.float64) / size - MARGIN, 6)
        self._high = np.round(np.asarray(high, dtype=np.float64) / size + MARGIN, 6)
        self.goal_share, self.wander_share = goal_share, wander_share
        self._q_error = observation_groups(n)["q_error"]
        self._ee = observation_groups(n)["ee_pos"]
        self._object = object_groups(observation_size(n))["object_pos"]
        self.reset(np.zeros(3))

    def reset(self, goal: ArrayLike) -> None:
        """Begin an episode. Args: goal: of the object (3,) [m]; an empty one counts as none."""
        goal = np.asarray(goal, dtype=np.float64)
        self._goal = goal[:2] / self.size if goal.size else None
        self._noise = self.rng.normal(size=3)
        self._steps_left = 0  # the first action makes a plan
        self._pushing = self._steering = False
        self._target: FloatArray | None = None
        self._origin = self._heading = np.zeros(2)

    def act(self, obs: ArrayLike) -> NDArray[np.float32]:
        """Action for an observation.

        Args:
            obs: observation vector (n_obs,) of `PushEnv`.

        Returns:
            Action (3,) in [-1, 1].
        """
        obs = np.asarray(obs, dtype=np.float64)
        ee, thing = obs[self._ee] / self.size, obs[self._object] / self.size
        if self._steps_left <= 0 or (self._pushing and math.dist(thing[:2], self._origin) > self._length):
            self._plan(ee, thing[:2])
        if float(np.abs(obs[self._q_error]).max()) > STUCK:
            self._lift(ee)
        self._steps_left -= 1
        if self._target is not None:
            wanted = np.clip((self._target - ee) / self.scale * 0.5, -1.0, 1.0)
        else:
            wanted = self._push(ee, thing[:2])
        self._noise = 0.8 * self._noise + 0.6 * self.rng.normal(size=3)
        # Less noise in height: it would mostly scratch the table.
        wanted += self.noise * self._noise * (1.0, 1.0, 0.3)
        return np.clip(wanted, -1.0, 1.0).astype(np.float32)

    # -- plans -----------------------------------------------------------------

    def _plan(self, ee: FloatArray, thing: FloatArray) -> None:
        """Choose what to do next."""
        rng = self.rng
        self._origin = thing.copy()
        self._pushing = self._steering = False
        self._target = None
        if rng.random() < self.wander_share or not self._inside(thing, 0.08):
            self._target = np.array([*rng.uniform(self._low, self._high), rng.uniform(HEIGHTS[1], 0.22)])
            self._steps_left = int(rng.integers(5, 16))
            return
        self._speed = rng.uniform(0.25, 1.0)
        self._height = rng.uniform(*HEIGHTS)
        self._offset = rng.normal(scale=0.012)  # off the centre, the object turns
        self._length = rng.uniform(0.04, 0.2)
        self._steps_left = 60
        self._steering = rng.random() < self.goal_share and self._steer(thing)
        if self._steering:
            self._length, self._offset = math.inf, 0.0
            return
        # Preferably away from the hand, which then needs not go around; never out of the workspace.
        away = math.atan2(*(thing - ee[:2])[::-1])
        for _ in range(20):
            angle = away + rng.normal(scale=1.0)
            self._heading = np.array([math.cos(angle), math.sin(angle)])
            if self._inside(thing + self._length * self._heading, 0.0):
                return
        inward = (self._low + self._high) / 2.0 - thing
        self._heading = inward / max(float(np.linalg.norm(inward)), 1e-6)

    def _steer(self, thing: FloatArray) -> bool:
        """Head for the goal; False where there is none or the object has arrived."""
        if self._goal is None or math.dist(self._goal, thing) < ARRIVED:
            return False
        self._heading = (self._goal - thing) / math.dist(self._goal, thing)
        return True

    def _lift(self, ee: FloatArray) -> None:
        """Give way upwards."""
        self._pushing = False
        self._target = np.array([ee[0], ee[1], CLEARANCE + 0.03])
        self._steps_left = 8

    def _push(self, ee: FloatArray, thing: FloatArray) -> FloatArray:
        """Velocity in units of the full one: around the object until behind it, then straight through."""
        if self._steering and not self._steer(thing):
            self._steps_left = 0
        side = np.array([-self._heading[1], self._heading[0]])
        relative = ee[:2] - thing
        distance = float(np.linalg.norm(relative))
        behind = -float(relative @ self._heading)
        error = float(relative @ side) - self._offset
        if self._pushing and self._steering and abs(error) > 0.03:
            self._pushing = False  # the object has slipped aside
        if not self._pushing:
            self._pushing = behind > 0.04 and abs(error) < 0.02 and ee[2] < HEIGHTS[1] + 0.01
        if self._pushing:
            planar = self._speed * self._heading - np.clip(0.3 * error / self.scale, -0.5, 0.5) * side
        elif behind > 0.04 and abs(error) < 0.05:
            spot = thing - 0.09 * self._heading + self._offset * side
            planar = (spot - ee[:2]) / self.scale * 0.5
        else:
            outward = relative / max(distance, 1e-6)
            around = np.array([-outward[1], outward[0]])
            around *= 1.0 if float(around @ -self._heading) > 0.0 else -1.0
            planar = around + np.clip((ORBIT - distance) / self.scale, -1.0, 1.0) * outward
        planar = planar / max(1.0, float(np.abs(planar).max()))
        height = CLEARANCE if not self._pushing and distance < NEAR and ee[2] > HEIGHTS[1] + 0.02 else self._height
        return np.array([*planar, np.clip((height - ee[2]) / self.scale * 0.5, -1.0, 1.0)])

    def _inside(self, xy: FloatArray, margin: float) -> bool:
        return bool((xy > self._low - margin).all() and (xy < self._high + margin).all())
