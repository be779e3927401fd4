"""Sampling-based model-predictive control over anything that can score action sequences."""

from .algorithms import ALGORITHMS, make_planner
from .cem import CEM
from .config import SamplingConfig
from .icem import ICEM
from .interfaces import Objective, Planner, RolloutModel, Scorer, Trajectory
from .knots import interpolation_matrix
from .mppi import MPPI
from .objectives import KeepPosture, LearnedReward, ReachPoint, Sum
from .plan import Plan
from .rollout import TrajectoryScorer
from .sampling import PlanningError, SamplingPlanner, Search
from .shooting import PredictiveSampling, RandomShooting

__all__ = [
    "ALGORITHMS",
    "CEM",
    "ICEM",
    "MPPI",
    "KeepPosture",
    "LearnedReward",
    "Objective",
    "Plan",
    "Planner",
    "PlanningError",
    "PredictiveSampling",
    "RandomShooting",
    "ReachPoint",
    "RolloutModel",
    "SamplingConfig",
    "SamplingPlanner",
    "Scorer",
    "Search",
    "Sum",
    "Trajectory",
    "TrajectoryScorer",
    "interpolation_matrix",
    "make_planner",
]
