"""Sampling-based model-predictive control over anything that can score action sequences."""

from .algorithms import ALGORITHMS, make_planner
from .cem import CEM
from .cmaes import CMAES, SepCMAES
from .config import SamplingConfig
from .gradient import GradientAscent
from .icem import ICEM
from .interfaces import LoopedModel, Objective, Planner, Prior, RolloutModel, Scorer, StagedScorer, Trajectory
from .knots import interpolation_matrix
from .limits import ActionLimits
from .mppi import MPPI
from .objectives import KeepPosture, LearnedReward, ReachPoint, Sum
from .plan import Plan
from .rollout import TrajectoryScorer
from .sampling import SamplingPlanner
from .search import PlanningError, Search
from .shooting import PredictiveSampling, RandomShooting

__all__ = [
    "ALGORITHMS",
    "CEM",
    "CMAES",
    "ICEM",
    "MPPI",
    "ActionLimits",
    "GradientAscent",
    "KeepPosture",
    "LearnedReward",
    "LoopedModel",
    "Objective",
    "Plan",
    "Planner",
    "PlanningError",
    "PredictiveSampling",
    "Prior",
    "RandomShooting",
    "ReachPoint",
    "RolloutModel",
    "SamplingConfig",
    "SamplingPlanner",
    "Scorer",
    "Search",
    "SepCMAES",
    "StagedScorer",
    "Sum",
    "Trajectory",
    "TrajectoryScorer",
    "interpolation_matrix",
    "make_planner",
]
