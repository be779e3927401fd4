"""What the bridge follows, known exactly: the reference at control instants and the actions behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs import JointDelta, JointReference, interpolate

Float64 = NDArray[np.float64]

SAME_TIME = 1e-7
"""Control instants that differ by less are one, in units of a control step."""

RESTING = 1e-9
"""Speed below which the reference stands still [rad/s]."""


@dataclass(frozen=True, eq=False)
class Track:
    """A plan in force from control instant `start` on, or an arm at rest.

    Attributes:
        start: number of the control instant of the first knot.
        q: knots (K, n) [rad]; beyond the last one the reference rests.
        dq: velocities at the knots (K, n) [rad/s]; zero at the last one.
        actions: of the intervals between the knots (K - 1, n); zero beyond.
        plan_id: of the bridge, -1 for an arm at rest.
        expires: number of the control instant from which the bridge no longer follows it.
    """

    start: int
    q: Float64
    dq: Float64
    actions: Float64
    plan_id: int = -1
    expires: float = np.inf

    @classmethod
    def resting(cls, start: int, q: ArrayLike) -> Track:
        """An arm that holds pose q (n,) [rad]."""
        knots = np.array(q, dtype=np.float64)[None]
        return cls(start, knots, np.zeros_like(knots), np.zeros((0, knots.shape[1])))

    @classmethod
    def planned(cls, start: int, ref: JointReference, actions: ArrayLike, joint_delta: JointDelta) -> Track:
        """Roll the actions out from a reference, then brake to rest.

        Args:
            start: number of the control instant of `ref`.
            ref: reference there (n,).
            actions: (H, n) in [-1, 1].
            joint_delta: what an action means.
        """
        steps = np.array(actions, dtype=np.float64)
        rolled = joint_delta.rollout(ref, steps)
        last = JointReference(rolled.q[-1], rolled.dq[-1])
        # From full speed the reference needs dq_max / A steps; one more covers rounding.
        tail = int(np.ceil((np.abs(last.dq) / (joint_delta.ddq_max * joint_delta.ctrl_dt)).max() - 1e-9)) + 1
        braking = joint_delta.rollout(last, np.zeros((tail, joint_delta.nu)))
        q = np.concatenate([ref.q[None], rolled.q, braking.q])
        dq = np.concatenate([ref.dq[None], rolled.dq, braking.dq])
        dq[-1][np.abs(dq[-1]) < RESTING] = 0.0  # what rounding leaves at a position limit
        return cls(start, q, dq, np.concatenate([steps, np.zeros((tail, joint_delta.nu))]))

    def submitted(self, plan_id: int, validity: int) -> Track:
        """The same, handed to the bridge under a number, valid for some control steps from its start."""
        return replace(self, plan_id=plan_id, expires=self.start + validity)

    @property
    def rests_from(self) -> int:
        """Number of the control instant from which the reference stands still."""
        moving = np.flatnonzero((np.abs(self.dq) >= RESTING).any(axis=1))
        return self.start + (int(moving[-1]) + 1 if moving.size else 0)

    def follows(self, instant: float) -> bool:
        """Whether the bridge is on the track then: it has not expired, or only after it came to rest."""
        return instant <= self.expires + SAME_TIME or self.expires >= self.rests_from

    def ref(self, k: int) -> JointReference:
        """Reference at control instant k."""
        i = min(max(k - self.start, 0), len(self.q) - 1)
        return JointReference(self.q[i], self.dq[i])

    def action(self, k: int) -> Float64:
        """Action of the interval that begins at control instant k."""
        i = k - self.start
        if 0 <= i < len(self.actions):
            action: Float64 = self.actions[i]
            return action
        return np.zeros(self.q.shape[1])

    def position(self, instant: float, ctrl_dt: float) -> Float64:
        """Reference position (n,) [rad] at any time from the start on, counted in control instants."""
        instant = max(instant, self.start)  # a time stamp may round to just below
        k = int(np.floor(instant))
        return interpolate(self.ref(k), self.ref(k + 1), instant - k, ctrl_dt)
