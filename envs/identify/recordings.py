"""Recorded episodes as short pieces: where the arm was, what its servos were told, and how it moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..action import JointReference, interpolate
from ..arm_env import ArmEnv
from ..control_modes import JointTorque
from ..observation import observation_groups, observation_size
from ..stepping import NUM_HOLDS, hold_fractions

FloatArray = NDArray[np.float64]

SAME_REFERENCE = 1e-3
"""Difference between a recorded reference and the one that the actions give, up to which they agree [rad]."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """An episode of T control steps.

    Attributes:
        obs: observations (T+1, n_obs); the columns of the arm come first, see `envs.observation`.
        action: actions (T, nu) in [-1, 1], as applied.
    """

    obs: NDArray[np.float32]
    action: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segments:
    """S pieces of K control steps each.

    Attributes:
        q: measured joint positions (S, K+1, n) [rad], the first at the start.
        dq: measured joint velocities (S, K+1, n) [rad/s].
        targets: what was written to the servos, by the delay of the drives in control steps
            (delays, S, K, NUM_HOLDS, n) [rad], or [N m] in torque mode.
        lag: control steps between an action and its effect on the recorded reference; comes on top of that delay.
    """

    q: FloatArray
    dq: FloatArray
    targets: FloatArray
    lag: int

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.q)

    @property
    def measured(self) -> FloatArray:
        """Positions and velocities after each control step (S, K, 2 n) [rad, rad/s]."""
        return np.concatenate([self.q, self.dq], axis=-1)[:, 1:]

    def take(self, which: NDArray[np.intp]) -> Segments:
        """Some of the pieces. Args: which: their numbers."""
        return Segments(self.q[which], self.dq[which], self.targets[:, which], self.lag)


def cut(env: ArmEnv, episodes: Sequence[Recorded], steps: int, count: int, delays: int) -> Segments:
    """Cut recordings into pieces, spread evenly over all of them.

    Args:
        env: of the arm and the control mode of the recordings.
        episodes: recordings.
        steps: control steps of a piece K.
        count: pieces at most.
        delays: greatest delay of the drives that is considered [control steps].

    Returns:
        The pieces.

    Raises:
        ValueError: a recording does not fit, or all are too short.
    """
    n, nu = env.arm.n, env.nu
    for i, episode in enumerate(episodes):
        shape, length = episode.obs.shape, len(episode.action)
        if len(shape) != 2 or shape[1] < observation_size(n) or episode.action.shape != (shape[0] - 1, nu):
            raise ValueError(
                f"episode {i} has observations {shape} and actions {episode.action.shape}, need (T+1, "
                f"{observation_size(n)} or more) and (T, {nu}); name the environment that it was recorded in"
            )
        if not (np.isfinite(episode.obs).all() and np.isfinite(episode.action).all()):
            raise ValueError(f"episode {i} has numbers that are not finite; leave it out")
        if length < steps and len(episodes) == 1:
            raise ValueError(f"the episode has {length} steps, need {steps} or more; record longer ones or lower steps")
    starts = [(i, t) for i, e in enumerate(episodes) for t in range(0, len(e.action) - steps + 1, steps)]
    if not starts:
        raise ValueError(f"no episode has {steps} steps or more; record longer ones or lower steps")
    kept = np.unique(np.linspace(0, len(starts) - 1, min(count, len(starts))).round().astype(int))
    lag = 0 if isinstance(env.action_mode, JointTorque) else reference_lag(env, episodes, delays)
    whole = [_targets(env, episode, range(delays + 1)) for episode in episodes]
    groups = observation_groups(n)
    q, dq, targets = [], [], []
    for i, t in (starts[k] for k in kept):
        piece = episodes[i].obs[t : t + steps + 1].astype(np.float64)
        q.append(piece[:, groups["q"]])
        dq.append(piece[:, groups["dq"]])
        targets.append(whole[i][:, t : t + steps])
    return Segments(np.array(q), np.array(dq), np.stack(targets, axis=1), lag)


def reference_lag(env: ArmEnv, episodes: Sequence[Recorded], delays: int) -> int:
    """Control steps between an action and the step in which the recorded reference obeys it.

    In simulated recordings the reference is that of the servos and shows the whole delay; a real arm's is what it was
    told, which is prompt. 0 where no lag explains the reference.
    """
    mode, errors = env.action_mode, np.zeros(delays + 1)
    if isinstance(mode, JointTorque):
        return 0
    for episode in episodes:
        ref = _reference(env, episode)
        now, then = JointReference(ref.q[:-1], ref.dq[:-1]), ref.q[1:]
        for lag in range(delays + 1):
            told = np.concatenate([np.zeros((lag, mode.nu)), episode.action[:, : mode.nu]])[: len(episode.action)]
            errors[lag] += np.abs(mode.advance(now, told).q - then).max(axis=1).sum()
    errors /= sum(len(episode.action) for episode in episodes)
    best = int(errors.argmin())
    return best if errors[best] < SAME_REFERENCE else 0


def _reference(env: ArmEnv, episode: Recorded) -> JointReference:
    obs, groups = episode.obs.astype(np.float64), observation_groups(env.arm.n)
    return JointReference(obs[:, groups["q"]] + obs[:, groups["q_error"]], obs[:, groups["ref_dq"]])


def _targets(env: ArmEnv, episode: Recorded, delays: range) -> FloatArray:
    """What the servos were told in each step, by delay (delays, T, NUM_HOLDS, n)."""
    mode, steps = env.action_mode, len(episode.action)
    if isinstance(mode, JointTorque):
        torque = mode.torque(episode.action[:, : mode.nu])
        prompt = np.repeat(torque[:, None], NUM_HOLDS, axis=1)
        before = np.zeros_like(prompt[:1])
    else:
        ref = _reference(env, episode)
        start = JointReference(ref.q[:-1, None], ref.dq[:-1, None])
        end = JointReference(ref.q[1:, None], ref.dq[1:, None])
        prompt = interpolate(start, end, hold_fractions(), env.ctrl_dt)  # (T, NUM_HOLDS, n)
        before = np.broadcast_to(ref.q[:1, None], prompt[:1].shape)
    return np.array([np.concatenate([*[before] * delay, prompt])[:steps] for delay in delays])
