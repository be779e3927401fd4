"""The record of one goal while it is being reached."""

from __future__ import annotations

import numpy as np

from envs import JointDelta, distance

from ..types import Episode, Float32
from .observer import Look
from .result import GoalResult
from .track import Float64


class Trace:
    """Collects observations and actions.

    Args:
        goal: (3,) [m].
        columns: of the end effector in an observation.
        joint_delta: what an action means.
        success_m: radius of success [m].
        env_id, seed: of the episode.
    """

    def __init__(
        self, goal: Float64, columns: slice, joint_delta: JointDelta, success_m: float, env_id: str, seed: int
    ) -> None:
        self.goal: Float32 = goal.astype(np.float32)
        self._columns, self._joint_delta, self._success_m = columns, joint_delta, success_m
        self._env_id, self._seed = env_id, seed
        self._obs: list[Float32] = []
        self._requested: list[Float32] = []
        self._applied: list[Float32] = []

    def begin(self, look: Look) -> None:
        """Take the first observation."""
        self._obs.append(look.obs)

    def add(self, requested: Float32, look: Look) -> Float32:
        """Take one control step: what was committed for it (nu,), and how the arm stands after it.

        Returns:
            the applied action (nu,). Where the bridge did not follow the reference, it is the one that asks for the
            velocity which the command then had.
        """
        self._obs.append(look.obs)
        self._requested.append(requested)
        applied = requested
        if not look.on_track:
            applied = np.clip(look.ref.dq / self._joint_delta.dq_max, -1.0, 1.0).astype(np.float32)
        self._applied.append(applied)
        return applied

    def result(self) -> GoalResult:
        """Judge the goal by the last observation."""
        obs = np.array(self._obs)
        achieved = obs[:, self._columns]
        away = distance(achieved, self.goal)
        steps = len(self._applied)
        truncated = np.zeros(steps, dtype=np.bool_)
        truncated[-1:] = True
        episode = Episode(
            obs=obs,
            achieved=achieved.copy(),
            goal=self.goal,
            action=np.array(self._applied),
            reward=-away[1:].astype(np.float32),
            terminated=np.zeros(steps, dtype=np.bool_),
            truncated=truncated,
            ctrl_dt=self._joint_delta.ctrl_dt,
            env_id=self._env_id,
            seed=self._seed,
        )
        final = float(away[-1])
        return GoalResult(final < self._success_m, final, episode, np.array(self._requested))
