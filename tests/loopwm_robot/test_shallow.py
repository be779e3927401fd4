"""A model with fewer loops, and agents that search with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import N_GOAL, N_OBS, NU, VARIANTS, make_model

from loopwm_robot.build import make_agent
from loopwm_robot.checkpoint import Spaces
from loopwm_robot.config import PlannerConfig
from loopwm_robot.models.loop_control import Converged, FixedDepth
from loopwm_robot.models.loopwm import Core
from loopwm_robot.models.untied import UntiedStack
from loopwm_robot.types import LatentState

PLANNER = PlannerConfig(
    horizon=3, num_samples=16, num_elites=4, keep_elites=2, iterations=2, promoted=8, depth="staged"
)
SPACES = Spaces("point", "", N_OBS, NU, N_GOAL, 0.05, position=(0, 3))


def start(model) -> LatentState:
    generator = torch.Generator().manual_seed(1)
    return model.encode(torch.randn(1, N_OBS, generator=generator), torch.zeros(1, N_GOAL))


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.context], ids=str)
@torch.inference_mode()
def test_the_shallow_model_is_the_same_one_run_less_deep(variant):
    settings = {key: getattr(variant, key) for key in ("form", "gain", "norm", "tokens", "latent_dim")}
    model = make_model(mean_loops=3, max_loops=4, **settings)
    actions = torch.rand(5, 3, NU, generator=torch.Generator().manual_seed(2)) * 2 - 1
    state = start(model)
    shallow = model.at_depth(1)
    assert shallow is not None
    found = shallow.rollout(state, actions).observations()
    deep = model.rollout(state, actions).observations()
    model.exit_rule = FixedDepth(1)
    assert torch.equal(found, model.rollout(state, actions).observations())
    assert not torch.equal(found, deep)
    assert all(a is b for a, b in zip(model.parameters(), shallow.parameters(), strict=True))


def test_there_is_none_where_it_would_be_no_less_work():
    model = make_model(mean_loops=3, max_loops=4)
    assert model.at_depth(2) is not None and model.at_depth(3) is None
    model.exit_rule = Converged(0.1, 1, 4)
    assert model.at_depth(3) is not None and model.at_depth(4) is None
    untied = UntiedStack(N_OBS, NU, N_GOAL, 0.05, Core(latent_dim=16, mean_loops=3))
    assert untied.at_depth(1) is None


def test_an_agent_searches_with_it_and_ranks_with_the_whole_model():
    model = make_model(mean_loops=3, max_loops=4)
    agent = make_agent(model, SPACES, PLANNER, torch.Generator().manual_seed(0))
    agent.reset(torch.zeros(3).numpy())
    plan = agent.plan(start(model))
    assert (plan.scored, plan.scored_shallow) == (8, 32)
    whole = make_agent(model, SPACES, replace(PLANNER, depth="full"), torch.Generator().manual_seed(0))
    whole.reset(torch.zeros(3).numpy())
    plan = whole.plan(start(model))
    assert whole.shallow is None and (plan.scored, plan.scored_shallow) == (32, 0)
