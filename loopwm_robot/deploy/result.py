"""What came out of a deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware import Audit, Event, JointLimits

from ..types import Episode, Float32


@dataclass(frozen=True, eq=False)
class GoalResult:
    """One goal.

    Attributes:
        success: whether the measured end effector was close enough at the end.
        final_distance: from the measured end effector to the goal at the end [m].
        episode: measured observations, and the actions as the arm carried them out.
        requested: the actions as they were planned (T, nu); they differ where the bridge braked.
    """

    success: bool
    final_distance: float
    episode: Episode
    requested: Float32


@dataclass(frozen=True, eq=False)
class DeployResult:
    """What happened in a run on the arm.

    Attributes:
        goals: the finished goals, in order.
        ctrl_dt: control interval [s].
        plan_time: duration of each planning [s], (P,).
        instants: control instants of the run.
        ready: control instants for which a fresh plan was ready in time.
        reseeds: how often the reference had to start anew from a braked arm.
        metrics: counters and timing of the bridge.
        audit: independent check of all applied commands against the limits.
        limits: the limits of that check.
        records: one row for each tick of the control process (see `hardware.records.record_dtype`).
        events: log of the bridge.
        mismatch: of the model's monitor (S, 3): control instant, score, share of the speed it allowed.
    """

    goals: list[GoalResult]
    ctrl_dt: float
    plan_time: NDArray[np.float64]
    instants: int
    ready: int
    reseeds: int
    metrics: dict[str, Any]
    audit: Audit
    limits: JointLimits
    records: NDArray[np.void] = field(repr=False)
    events: list[Event] = field(repr=False)
    mismatch: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)), repr=False)

    @property
    def success(self) -> NDArray[np.bool_]:
        """Success of each goal (E,)."""
        return np.array([goal.success for goal in self.goals], dtype=np.bool_)

    @property
    def final_distance(self) -> NDArray[np.float64]:
        """Distance at the end of each goal (E,) [m]."""
        return np.array([goal.final_distance for goal in self.goals], dtype=np.float64)

    @property
    def episodes(self) -> list[Episode]:
        """Recorded episodes, one for each goal."""
        return [goal.episode for goal in self.goals]

    @property
    def deadline_misses(self) -> int:
        """Control instants for which no fresh plan was ready: the plan before went on, or the arm braked."""
        return self.instants - self.ready

    def summary(self, prefix: str = "") -> dict[str, float | int]:
        """Flat keys of summary.json, each with the prefix; all finite."""
        values: dict[str, float | int] = {"episodes": len(self.goals), "control_rate_hz": 1.0 / self.ctrl_dt}
        if self.goals:
            values |= {
                "success_rate": float(self.success.mean()),
                "final_distance_m_median": float(np.median(self.final_distance)),
                "final_distance_m_max": float(self.final_distance.max()),
            }
        if len(self.plan_time):
            p50, p95, p99 = np.quantile(self.plan_time, (0.5, 0.95, 0.99))
            values |= {
                "plan_time_s_p50": float(p50),
                "plan_time_s_p95": float(p95),
                "plan_time_s_p99": float(p99),
            }
        if self.instants:
            values["deadline_met_fraction"] = self.ready / self.instants
        values |= {
            "deadline_misses": self.deadline_misses,
            "reseeds": self.reseeds,
            "limit_violations": self.audit.limit_violations,
            "interventions": self.audit.interventions,
            "worst_speed": self.audit.worst_speed,
            "worst_acceleration": self.audit.worst_acceleration,
            "ticks": self.audit.ticks,
            "tick_skipped": self.audit.skipped_ticks,
        }
        if len(self.mismatch):
            score = np.minimum(self.mismatch[:, 1], 1e9)  # summaries hold finite numbers
            values |= {
                "mismatch_p50": float(np.median(score)),
                "mismatch_max": float(score.max()),
                "slowed_fraction": float((self.mismatch[:, 2] < 1.0).mean()),
            }
        for key, source in _METRICS.items():
            if source in self.metrics:
                values[key] = self.metrics[source]
        return {prefix + key: value for key, value in values.items()}


_METRICS = {
    "tick_rate_hz": "rate_hz",
    "tick_misses": "deadline_misses",
    "tick_lateness_s_p50": "lateness_s_p50",
    "tick_lateness_s_p99": "lateness_s_p99",
    "tick_lateness_s_max": "lateness_s_max",
    "tick_cost_s_p99": "cost_s_p99",
    "plans_accepted": "plans_accepted",
    "plans_rejected": "plans_rejected",
    "plans_expired": "plans_expired",
    "faults": "faults",
    "lost_records": "lost_records",
}
