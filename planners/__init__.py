"""Sampling-based model-predictive control over anything that can score action sequences."""

from .algorithms import ALGORITHMS, make_planner
from .cem import CEM
from .cmaes import CMAES, SepCMAES
from .composite import Composite
from .config import SamplingConfig
from .gradient import GradientAscent
from .icem import ICEM
from .interfaces import Objective, Planner, Prior, RolloutModel, Scorer, StagedScorer, Trajectory
from .knots import interpolation_matrix
from .limits import ActionLimits
from .mppi import MPPI
from .objectives import KeepPosture, LearnedReward, ReachPoint, Sum, TerminalValue
from .plan import Plan
from .risk import MEASURES, ModelSet, Risk, cvar
from .rollout import TrajectoryScorer, Watch
from .sampling import SamplingPlanner
from .search import PlanningError, Search
from .shooting import PredictiveSampling, RandomShooting
from .term import OnGroup, Term
from .terms import AvoidSphere, KeepSpeed, Reach, SmoothActions, StayInBox, Uncertainty, make_terms
from .view import EnsembleTrajectory, View

__all__ = [
    "ALGORITHMS",
    "CEM",
    "CMAES",
    "ICEM",
    "MEASURES",
    "MPPI",
    "ActionLimits",
    "AvoidSphere",
    "Composite",
    "EnsembleTrajectory",
    "GradientAscent",
    "KeepPosture",
    "KeepSpeed",
    "LearnedReward",
    "ModelSet",
    "Objective",
    "OnGroup",
    "Plan",
    "Planner",
    "PlanningError",
    "PredictiveSampling",
    "Prior",
    "RandomShooting",
    "Reach",
    "ReachPoint",
    "Risk",
    "RolloutModel",
    "SamplingConfig",
    "SamplingPlanner",
    "Scorer",
    "Search",
    "SepCMAES",
    "SmoothActions",
    "StagedScorer",
    "StayInBox",
    "Sum",
    "Term",
    "TerminalValue",
    "Trajectory",
    "TrajectoryScorer",
    "Uncertainty",
    "View",
    "Watch",
    "cvar",
    "interpolation_matrix",
    "make_planner",
    "make_terms",
]
