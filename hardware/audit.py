"""An independent look at what was sent: finite differences of the applied commands against the limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .limits import JointLimits

_TOLERANCE = 1e-6
"""Relative excess that counts as a violation. Differencing float64 positions of 3 rad at 250 Hz costs 1e-10
rad/s^2 or so, at 2 kHz 1e-8; 1e-6 of a limit is far above that and far below anything a drive could
notice."""


@dataclass(frozen=True)
class Audit:
    """Result of an audit; the worst values are relative to the limit, so at most 1 where all is well.

    Attributes:
        ticks: commands looked at.
        limit_violations: ticks on which any joint broke any limit.
        worst_speed: largest speed / limit.
        worst_acceleration: largest acceleration / limit.
        worst_jerk: largest jerk / limit; 0 without a limit.
        worst_position: largest excursion beyond the limits [rad], at most 0 where all is well.
        interventions: ticks on which the filter changed a request.
        skipped_ticks: control periods in which nothing was sent, because a tick came too late.
    """

    ticks: int
    limit_violations: int
    worst_speed: float
    worst_acceleration: float
    worst_position: float
    interventions: int
    skipped_ticks: int
    worst_jerk: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def audit(records: NDArray[np.void], limits: JointLimits, dt: float) -> Audit:
    """Check applied commands (see ``records.record_dtype``).

    Speeds and accelerations are taken per control period: where periods were left out the command moved by
    one period's worth in a longer time, which is slower than it looks here. A fresh seed (the arm was enabled
    anew) begins a new sequence; an arm that was enabled outside its limits may stay there but not go further.

    Args:
        records: records in order (ticks,).
        limits: limits to compare with.
        dt: control period [s].
    """
    if records.size == 0:
        return Audit(0, 0, 0.0, 0.0, -np.inf, 0, 0)
    q = records["applied"]
    broken = np.flatnonzero(np.diff(records["epoch"]) != 0) + 1
    gaps = np.flatnonzero(np.diff(records["tick"]) != 1) + 1
    edges = np.unique(np.concatenate([[0], broken, gaps, [len(q)]]))
    bad, jerk = np.zeros(len(q), dtype=bool), 0.0
    beyond = np.empty_like(q)
    speed = acceleration = 0.0
    for begin, end in pairwise(edges):
        v = np.diff(q[begin:end], axis=0) / dt
        v = np.concatenate([records["applied_dq"][begin : begin + 1], v])
        signed = np.diff(v, axis=0) / dt
        v, a = np.abs(v) / limits.dq_max, np.abs(signed) / limits.ddq_max
        speed, acceleration = max(speed, float(v.max())), max(acceleration, float(a.max(initial=0.0)))
        bad[begin:end] |= (v > 1.0 + _TOLERANCE).any(1)
        bad[begin + 1 : end] |= (a > 1.0 + _TOLERANCE).any(1)
        if limits.dddq_max is not None:
            j = np.abs(np.diff(signed, axis=0)) / dt / limits.dddq_max
            jerk = max(jerk, float(j.max(initial=0.0)))
            bad[begin + 2 : end] |= (j > 1.0 + _TOLERANCE).any(1)
        hi, lo = np.maximum(limits.q_max, q[begin]), np.minimum(limits.q_min, q[begin])
        beyond[begin:end] = np.maximum(q[begin:end] - hi, lo - q[begin:end])
    bad |= (beyond > 1e-9).any(1)
    changed = (np.abs(records["requested"] - q) > _TOLERANCE).any(1)
    skipped = int((~records["sent"]).sum()) + int(
        np.maximum(np.round(np.diff(records["t"]) / dt) - np.diff(records["tick"]), 0).sum()
    )
    return Audit(
        ticks=len(q),
        limit_violations=int(bad.sum()),
        worst_speed=speed,
        worst_acceleration=acceleration,
        worst_position=float(beyond.max()),
        interventions=int(changed.sum()),
        skipped_ticks=skipped,
        worst_jerk=jerk,
    )
