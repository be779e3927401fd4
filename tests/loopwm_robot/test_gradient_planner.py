"""The gradient planner on the learned models, through the agent and from states of every origin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loopwm_robot.agent import MPCAgent
from loopwm_robot.config import KINDS, ModelConfig, PlannerConfig
from loopwm_robot.models.build import build_model
from planners import LearnedReward, ReachPoint, Sum, TrajectoryScorer, make_planner

N_OBS, NU, N_GOAL, DT = 9, 2, 3, 0.05
CONFIG = PlannerConfig(
    algorithm="gradient", horizon=3, num_samples=4, num_elites=4, keep_elites=0, iterations=8, prior_samples=0
)
LOOPS = {"exit": "converged", "max_loops": 3}


def agent(seed: int = 0, **model: object) -> MPCAgent:
    torch.manual_seed(seed)
    network = build_model(ModelConfig(latent_dim=16, heads=2, **model), N_OBS, NU, N_GOAL, DT).eval()  # type: ignore[arg-type]
    for parameter in network.parameters():  # away from the identity that some start at
        parameter.data += 0.1 * torch.randn(parameter.shape)
    planner = make_planner("gradient", CONFIG, NU, DT, torch.Generator().manual_seed(seed))
    return MPCAgent(network, planner, lambda goal: Sum(ReachPoint(slice(0, 3), goal), LearnedReward(0.9)))


@pytest.mark.parametrize("model", [*({"kind": kind} for kind in KINDS), LOOPS], ids=str)
def test_every_model_is_climbed_through_the_agent(model):
    found = agent(**model)
    with torch.inference_mode():  # as an evaluation runs it
        climb(found)
    assert all(parameter.grad is None for parameter in found.model.parameters())  # type: ignore[attr-defined]


def climb(found: MPCAgent) -> None:
    found.reset(np.array([0.3, -0.2, 0.1], dtype=np.float32))
    obs = np.linspace(-1, 1, N_OBS, dtype=np.float32)
    action = found.act(obs)
    assert action.shape == (NU,) and np.abs(action).max() <= 1
    plan, state = found.last_plan, found.state(obs)
    assert plan is not None and plan.iterations == 8 and plan.num_invalid == 0
    score = TrajectoryScorer(found.model, state, found.make_objective(torch.tensor([0.3, -0.2, 0.1])))
    assert score(plan.actions[None])[0] > score(torch.zeros(1, 3, NU))[0]
    found.act(obs)


def test_the_simulator_has_no_gradient():
    with pytest.raises(ValueError, match=r"'gradient' with planner\.model 'simulator', which has no gradient"):
        PlannerConfig(algorithm="gradient", model="simulator")


def test_the_slope_is_that_of_differences():
    """Central differences of the score along random directions, in double precision."""
    found = agent()
    found.model.double()  # type: ignore[attr-defined]
    state = found.model.encode(torch.zeros(1, N_OBS, dtype=torch.float64), torch.zeros(1, N_GOAL, dtype=torch.float64))
    score = TrajectoryScorer(found.model, state, LearnedReward())
    x = 0.3 * torch.randn(1, 3, NU, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    (slope,) = torch.autograd.grad(score(x).sum(), x)
    for seed in range(3):
        way = torch.randn(1, 3, NU, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            difference = (score(x + 1e-5 * way) - score(x - 1e-5 * way)) / 2e-5
        assert float((slope * way).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-8)
