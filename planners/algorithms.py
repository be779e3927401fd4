"""The planners by name."""

from __future__ import annotations

import torch

from .cem import CEM
from .cmaes import CMAES, SepCMAES
from .config import SamplingConfig
from .gradient import GradientAscent
from .icem import ICEM
from .mppi import MPPI
from .sampling import SamplingPlanner
from .shooting import PredictiveSampling, RandomShooting

ALGORITHMS: dict[str, type[SamplingPlanner]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "cma_es": CMAES,
    "sep_cma_es": SepCMAES,
    "gradient": GradientAscent,
    "predictive_sampling": PredictiveSampling,
    "random_shooting": RandomShooting,
}


def make_planner(
    algorithm: str, config: SamplingConfig, nu: int, ctrl_dt: float, generator: torch.Generator
) -> SamplingPlanner:
    """A planner of some algorithm.

    Args:
        algorithm: a name of ALGORITHMS.
        config: settings.
        nu: number of action dimensions.
        ctrl_dt: duration of one action [s].
        generator: source of all randomness; its device is the planner's device.

    Raises:
        ValueError: there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"planner.algorithm is '{algorithm}', allowed {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm](config, nu, ctrl_dt, generator)
