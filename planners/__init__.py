"""Sampling-based model-predictive control over anything that can score action sequences."""

from .cem import CEM, CEMConfig, PlanningError
from .interfaces import Objective, Planner, RolloutModel, Scorer, Trajectory
from .objectives import KeepPosture, LearnedReward, ReachPoint, Sum
from .plan import Plan
from .rollout import TrajectoryScorer

__all__ = [
    "CEM",
    "CEMConfig",
    "KeepPosture",
    "LearnedReward",
    "Objective",
    "Plan",
    "Planner",
    "PlanningError",
    "ReachPoint",
    "RolloutModel",
    "Scorer",
    "Sum",
    "Trajectory",
    "TrajectoryScorer",
]
