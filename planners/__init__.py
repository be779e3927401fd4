"""Sampling-based model-predictive control over anything that can score action sequences."""

from .cem import CEM, CEMConfig, PlanningError
from .interfaces import Objective, Planner, RolloutModel, Scorer, Trajectory
from .objectives import LearnedReward, ReachPoint
from .plan import Plan
from .rollout import TrajectoryScorer

__all__ = [
    "CEM",
    "CEMConfig",
    "LearnedReward",
    "Objective",
    "Plan",
    "Planner",
    "PlanningError",
    "ReachPoint",
    "RolloutModel",
    "Scorer",
    "Trajectory",
    "TrajectoryScorer",
]
