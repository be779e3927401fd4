"""Planning with transitions of several control steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import N_GOAL, N_OBS, NU, make_model

from loopwm_robot.build import check_strides, make_agent, retune
from loopwm_robot.checkpoint import Spaces
from loopwm_robot.config import PlannerConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.evaluation import moved
from loopwm_robot.models.latent_mlp import LatentMLP, LatentMLPConfig
from loopwm_robot.models.loop_control import FixedDepth
from loopwm_robot.models.loopwm import LoopWM

PLANNER = PlannerConfig(horizon=6, num_samples=16, num_elites=4, keep_elites=2, iterations=2, chunk=4)
SPACES = Spaces("point", "", N_OBS, NU, N_GOAL, 0.05, position=(0, 3))


def model(**changes: object) -> LoopWM:
    """One whose transitions move: not "nothing changes", as a new model has it."""
    found = make_model(form="step_consistent", mean_loops=3, max_loops=8, **changes)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return found.eval()


def inputs(steps: int = 6, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, N_OBS, generator=generator), torch.rand(count, steps, NU, generator=generator) * 2 - 1


@torch.inference_mode()
def test_transitions_end_where_chunks_do_and_what_lies_between_is_interpolated() -> None:
    whole = model()
    whole.exit_rule = FixedDepth(4)
    obs, actions = inputs()
    state = whole.encode(obs, torch.zeros(1, N_GOAL))
    found = whole.in_strides(4).rollout(state, actions)
    assert found.h.shape[:2] == (5, 6) and found.rewards().shape == (5, 6)
    first = whole.rollout(state, actions[:, :4], chunk=4).h[:, 0]
    assert torch.equal(found.h[:, 3], first)
    halfway = (state.h + first) / 2
    assert torch.allclose(found.h[:, 1], halfway, atol=1e-6)
    rest, _ = whole.step(replace(state.expand(5), h=first), actions[:, 4:])  # two steps are left
    assert torch.equal(found.h[:, 5], rest.h) and torch.allclose(found.h[:, 4], (first + rest.h) / 2, atol=1e-6)
    assert found.loops[0].tolist() == [4] * 6


@torch.inference_mode()
def test_the_model_itself_stays_and_shares_its_weights() -> None:
    whole = model()
    obs, actions = inputs()
    state = whole.encode(obs)
    before = whole.rollout(state, actions).h
    strided = whole.in_strides(3)
    assert all(a is b for a, b in zip(whole.parameters(), strided.parameters(), strict=True))
    assert torch.equal(whole.rollout(state, actions).h, before)
    assert torch.equal(whole.in_strides(1).rollout(state, actions).h, before)
    assert torch.equal(strided.rollout(state, actions[:, :1]).h, before[:, :1])  # a single step is a single step
    assert torch.equal(strided.rollout(state, actions, chunk=2).h, whole.rollout(state, actions, chunk=2).h)
    with pytest.raises(ValueError, match=r"model\.form is 'implicit', allowed step_consistent for strides of 2"):
        make_model().in_strides(2)
    with pytest.raises(ValueError, match="actions"):
        strided.rollout(state, actions * float("nan"))


def test_an_agent_imagines_in_strides() -> None:
    whole = model()
    calls: list[tuple[int, ...]] = []
    step = whole.step
    whole.step = lambda state, action, *more: (calls.append(tuple(action.shape)), step(state, action, *more))[1]  # type: ignore[method-assign]
    agent = make_agent(whole, SPACES, PLANNER, torch.Generator().manual_seed(0))
    agent.reset(torch.zeros(3).numpy())
    obs = inputs()[0][0].numpy()
    assert agent.act(obs).shape == (NU,)
    assert {shape[1:] for shape in calls} == {(4, NU), (2, NU)}
    calls.clear()
    retune(agent, whole, SPACES, replace(PLANNER, chunk=1))
    agent.act(obs)
    assert {shape[1:] for shape in calls} == {(NU,)}


def test_gradients_flow_through_strides() -> None:
    obs, actions = inputs()
    whole = model()
    actions.requires_grad_()
    whole.in_strides(4).rollout(whole.encode(obs), actions).h[:, -1].square().sum().backward()
    assert actions.grad is not None and (actions.grad.abs().sum(-1) > 0).all()  # of every control step
    config = replace(PLANNER, algorithm="gradient")
    agent = make_agent(model(), SPACES, config, torch.Generator().manual_seed(0))
    agent.reset(torch.ones(3).numpy())
    assert agent.act(inputs()[0][0].numpy()).any()


def test_models_that_cannot_are_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(RequestError, match=r"planner\.chunk is 4 with model\.form 'implicit', allowed 1; train"):
        make_agent(make_model(), SPACES, PLANNER, generator)
    mlp = LatentMLP(N_OBS, NU, N_GOAL, 0.05, LatentMLPConfig(latent_dim=8, hidden=8))
    with pytest.raises(RequestError, match=r"planner\.chunk is 4 with a LatentMLP, allowed 1"):
        make_agent(mlp, SPACES, PLANNER, generator)
    with pytest.raises(RequestError, match=r"planner\.chunk is 4 with model\.kind 'rssm', allowed 1"):
        check_strides(PLANNER, "rssm", "step_consistent")
    check_strides(PLANNER, "untied", "step_consistent")
    with pytest.raises(ValueError, match=r"planner\.chunk is 2 with planner\.model 'simulator', allowed 1"):
        PlannerConfig(model="simulator", chunk=2)
    with pytest.raises(ValueError, match=r"planner\.chunk is 4 with planner\.min_horizon 2, allowed 1"):
        replace(PLANNER, min_horizon=2)
    assert moved(PLANNER, "simulator").chunk == 1 and moved(PLANNER, "learned").chunk == 4
    with pytest.raises(ValueError, match=r"planner\.chunk is 0, allowed"):
        PlannerConfig(chunk=0)
