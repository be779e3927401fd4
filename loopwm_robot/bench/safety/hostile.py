"""Requests and plans that no honest controller would send."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hardware import ArmBridge, ArmPlan, BridgeError, JointLimits

Float64 = NDArray[np.float64]

KINDS = ("not a number", "jumps", "bang-bang", "noise", "reversed", "aimed at limits", "aimed at obstacles", "mixed")
"""Streams of requests; "mixed" changes from one of the others to the next within a fraction of a second."""

PLANS = (
    "not a number",
    "jumps",
    "bang-bang",
    "reversed",
    "stale",
    "reordered",
    "flooding",
    "wrong names",
    "aimed at obstacles",
)
"""Hostile plans; the bridge refuses some, the filter has to live with the others."""


class HostileRequests:
    """One request a tick for many arms; arm i gets the kind i modulo the number of kinds.

    Args:
        limits: of the arm.
        targets: poses inside obstacles (k, n) [rad].
        arms: how many.
        rng: source of chance.
    """

    def __init__(self, limits: JointLimits, targets: Float64, arms: int, rng: np.random.Generator) -> None:
        self._limits, self._targets, self._rng = limits, targets, rng
        self.kind = np.arange(arms) % len(KINDS)
        self._held = np.tile((limits.q_min + limits.q_max) / 2, (arms, 1))
        self._phase = rng.uniform(0.0, 2 * np.pi, (arms, limits.n))
        self._rate = rng.uniform(0.01, 0.08, (arms, 1))

    def __call__(self, q: Float64, k: int) -> Float64:
        """Request (arms, n) [rad] of tick k, knowing the present commands (arms, n) [rad]."""
        rng, limits, shape = self._rng, self._limits, q.shape
        middle, half = (limits.q_max + limits.q_min) / 2, (limits.q_max - limits.q_min) / 2
        rows = np.arange(len(q))
        plain = len(KINDS) - 1
        kind = np.where(self.kind == plain, (rows + k // rng.integers(20, 60)) % plain, self.kind)
        renew = rng.random(len(q)) < np.select([kind == 1, kind == 5, kind == 6], [0.1, 0.004, 0.004], 0.02)
        corner = rng.choice([-1.0, 1.0], shape) * half + middle
        inside = self._targets[rng.integers(0, len(self._targets), len(q))]
        anywhere = middle + rng.uniform(-1.5, 1.5, shape) * half
        which = kind[:, None]
        fresh = np.where(which == 6, inside, np.where(which == 5, corner, anywhere))
        self._held = np.where(renew[:, None], fresh, self._held)
        wave = np.sin(self._rate * k + self._phase)
        back = np.sin(self._phase - self._rate * (k % 90) * (1 - 2 * (k // 90 % 2)))
        broken = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 1e300], shape), self._held)
        choices = [
            np.where(rng.random((len(q), 1)) < 0.5, broken, self._held),
            self._held,
            middle + 3.0 * np.sign(wave) * half,
            q + rng.normal(0.0, 0.3, shape),
            middle + half * back,
            self._held,
            self._held,
        ]
        return np.asarray(np.stack(choices)[kind, rows])


def hostile_plan(bridge: ArmBridge, kind: str, targets: Float64, rng: np.random.Generator) -> None:
    """Send one hostile plan, or several; what the bridge refuses at once is its good right.

    Args:
        bridge: running.
        kind: one of `PLANS`.
        targets: poses inside obstacles (k, n) [rad].
        rng: source of chance.
    """
    limits = bridge.limits
    applied = bridge.snapshot().applied
    start = (limits.q_min + limits.q_max) / 2 if applied is None else applied.applied
    low, high = limits.q_min, limits.q_max

    def towards(goal: Float64, seconds: float, knots: int = 11) -> Float64:
        return np.asarray(start + np.linspace(0.0, 1.0, knots)[:, None] * (goal - start) * (0.5 / seconds))

    anywhere, inside = rng.uniform(low, high), targets[rng.integers(0, len(targets))]
    knots: dict[str, Callable[[], Float64]] = {
        "not a number": lambda: np.where(rng.random((11, limits.n)) < 0.1, np.nan, towards(anywhere, 1.0)),
        "jumps": lambda: np.concatenate([start[None], rng.uniform(low, high, (10, limits.n))]),
        "bang-bang": lambda: start + 0.3 * rng.choice([-1.0, 1.0], limits.n) * (np.arange(11) % 2)[:, None],
        "reversed": lambda: np.concatenate([towards(anywhere, 0.5)[:6], towards(anywhere, 0.5)[4::-1]]),
        "aimed at obstacles": lambda: towards(inside, 0.5),
    }
    now, names = bridge.now(), limits.names
    number = int(now * 1e9)
    for i in range(20 if kind == "flooding" else 1):
        try:
            q = knots.get(kind, knots["aimed at obstacles"])()
            t0 = now - 30.0 if kind == "stale" else now
            until = now + (-0.1 if kind == "stale" and rng.random() < 0.5 else 2.0)
            number = number - 10**9 if kind == "reordered" and rng.random() < 0.5 else number + i
            order = names[::-1] if kind == "wrong names" else names
            bridge.submit(ArmPlan(number, t0, 0.05, q, until, order))
        except BridgeError:  # refused on arrival, as it should be
            continue
