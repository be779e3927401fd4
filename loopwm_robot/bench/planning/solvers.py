"""The planners that are compared: ours and, where they are installed, those of other packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from planners import SamplingConfig, make_planner

from .problems import Problem

STD = 0.5
"""Initial deviation of an action, for all."""
PEERS = {"pytorch_mppi": "pytorch-mppi", "pytorch_icem": "pytorch-icem"}
"""Other packages: name of the import, and of the distribution."""

Plan = Callable[[], Tensor]
"""Plans from the same start each time and gives the actions (H, nu)."""


@dataclass(frozen=True)
class Solver:
    """A planner that can be given any problem.

    Attributes:
        name: as tables show it.
        make: problem, candidates, iterations, setting, seed -> Plan.
        setting: name of the one setting that is tuned.
        grid: its values.
    """

    name: str
    make: Callable[[Problem, int, int, float, int], Plan]
    setting: str
    grid: tuple[float, ...]


def ours(algorithm: str, setting: str, grid: tuple[float, ...]) -> Solver:
    """One of our algorithms; an eighth of the candidates are elites, as everywhere."""

    def make(problem: Problem, samples: int, iterations: int, value: float, seed: int) -> Plan:
        elites = max(2, samples // 8)
        values: dict[str, Any] = {setting: value}
        if algorithm == "icem":
            samples = first_iteration(samples, iterations, elites)
        config = SamplingConfig(
            horizon=problem.horizon,
            num_samples=samples,
            num_elites=elites,
            keep_elites=elites // 3,
            iterations=iterations,
            **{"init_std": STD, **values},
        )
        generator = torch.Generator().manual_seed(seed)
        planner = make_planner(algorithm, config, problem.nu, problem.dt, generator)
        return lambda: planner.plan(problem.score).actions

    return Solver(algorithm, make, setting, grid)


def first_iteration(samples: int, iterations: int, elites: int) -> int:
    """Candidates that iCEM has to begin with to have `samples` an iteration on average, as it takes fewer later."""
    decay, most = SamplingConfig().decay, samples * iterations
    begin = samples
    while sum(max(2 * elites, round((begin + 1) * decay**i)) for i in range(iterations)) <= most:
        begin += 1
    return begin


def mppi_peer() -> Solver:
    """pytorch_mppi: one call is one iteration; noise is white, and the temperature in units of the cost."""
    from pytorch_mppi import MPPI

    def make(problem: Problem, samples: int, iterations: int, temperature: float, seed: int) -> Plan:
        one = torch.ones(problem.nu)
        start = torch.zeros(problem.horizon, problem.nu)
        controller = MPPI(
            problem.dynamics,
            problem.cost,
            len(problem.x0),
            STD**2 * torch.eye(problem.nu),
            num_samples=samples,
            horizon=problem.horizon,
            lambda_=temperature,
            u_min=-one,
            u_max=one,
            U_init=start,
        )

        def plan() -> Tensor:
            controller.U = start.clone()
            for _ in range(iterations):
                controller.command(problem.x0, shift_nominal_trajectory=False)
            return controller.U.clamp(-1, 1)

        return plan

    return Solver("pytorch_mppi", make, "lambda", (0.003, 0.01, 0.03, 0.1, 0.3, 1.0))


def icem_peer() -> Solver:
    """pytorch_icem: it knows no bounds, so that actions are clamped on their way into the model.

    Its coloured noise comes from a generator that nobody can seed.
    """
    from pytorch_icem import iCEM

    def make(problem: Problem, samples: int, iterations: int, beta: float, seed: int) -> Plan:
        shape = (*[1] * (problem.nu - 1), problem.nu)  # 0.1.0 asks for as many axes as there are actions
        elites = max(2, samples // 8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            controller = iCEM(
                lambda x, u: problem.dynamics(x, u.clamp(-1, 1)),
                lambda x, u: problem.cost(x, u.clamp(-1, 1)).sum(-1),
                len(problem.x0),
                problem.nu,
                sigma=torch.full(shape, STD),
                num_samples=samples,
                num_elites=elites,
                horizon=problem.horizon,
                noise_beta=beta,
                warmup_iters=iterations,
            )
        controller.sigma = torch.full((problem.nu,), STD)

        def plan() -> Tensor:
            controller.reset()
            controller.command(problem.x0, shift_nominal_trajectory=False)
            return controller.kept_elites[0].clamp(-1, 1)  # sorted: the best of the last iteration

        return plan

    return Solver("pytorch_icem", make, "noise_beta", (0.0, 0.5, 1.0, 2.0))


SMOOTH = (0.0, 0.3, 0.6, 0.9)
OURS = (
    ours("cem", "noise_smoothing", SMOOTH),
    ours("icem", "noise_beta", (0.0, 0.5, 1.0, 2.0)),
    ours("mppi", "noise_smoothing", SMOOTH),
    ours("cma_es", "noise_smoothing", SMOOTH),
    ours("sep_cma_es", "noise_smoothing", SMOOTH),
    ours("gradient", "learning_rate", (0.02, 0.05, 0.1, 0.2)),
    ours("predictive_sampling", "init_std", (0.05, 0.1, 0.2, 0.5)),
    ours("random_shooting", "init_std", (STD,)),
)


def available() -> tuple[list[Solver], dict[str, str]]:
    """All that can be compared here, and the versions of other packages; "not installed" where one is missing."""
    found, versions = list(OURS), {}
    for name, make in (("pytorch_mppi", mppi_peer), ("pytorch_icem", icem_peer)):
        try:
            found.append(make())
            versions[name] = metadata.version(PEERS[name])
        except ImportError:
            versions[name] = "not installed"
    return found, versions


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Other packages draw from torch's global generator: seeded inside, afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
