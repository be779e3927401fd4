"""The untied stack: LoopWM with a block for each loop."""

from __future__ import annotations

import pytest
import torch
from tiny_models import DT, GROUPS, N_GOAL, N_OBS, NU, inputs, make_history, make_model, randomised, sequences

from loopwm_robot.models.block import FORMS
from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.loopwm import Core
from loopwm_robot.models.untied import UntiedStack


def make_stack(loops: float = 3.0, tokens: str = "single", **core) -> UntiedStack:
    torch.manual_seed(0)
    core = Core(latent_dim=16, mean_loops=loops, **core)
    return UntiedStack(N_OBS, NU, N_GOAL, DT, core, groups=GROUPS, tokens=tokens).eval()


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("tokens, context", [("single", 0), ("parts", 3)])
@pytest.mark.parametrize("form", FORMS)
def test_equal_blocks_are_a_looped_one(form, tokens, context):
    """With the same weights in every block it computes what LoopWM computes at that depth."""
    form = "paper" if form == "implicit" else form  # different blocks have no common fixed point
    looped = randomised(make_model(form=form, tokens=tokens, context=context))
    stack = make_stack(form=form, tokens=tokens, context=context)
    stack.load_state_dict(looped.state_dict(), strict=False)
    for block in (stack.block, *stack.further):
        block.load_state_dict(looped.block.state_dict())
    obs, goal, actions = inputs()
    past = make_history(5, context) if context else None
    a, b = (m.rollout(m.encode(obs, goal, past), actions) for m in (looped, stack))
    assert torch.allclose(a.h, b.h, atol=1e-5) and torch.equal(a.loops, b.loops)


@pytest.mark.parametrize("mean, count", [(1.0, 1), (3.0, 3), (4.4, 4)])
def test_it_has_a_block_for_each_loop(mean, count):
    stack = make_stack(mean)
    looped = make_model(mean_loops=mean, form="paper")
    assert parameters(stack) == parameters(looped) + (count - 1) * parameters(looped.block)
    obs, _, actions = inputs()
    _, info = stack.step(stack.encode(obs), actions[:, 0])
    assert info.num_loops.tolist() == [count] * 5
    pointers = {block.up.weight.data_ptr() for block in (stack.block, *stack.further)}
    assert len(pointers) == count


def test_every_block_matters_and_learns():
    """Gradients flow through all of them, not the last few only."""
    stack = randomised(make_stack(4.0))
    h = stack.unroll(sequences(), Unroll(), torch.Generator().manual_seed(0)).h
    stack.decode_normalised(h).square().mean().backward()
    for block in (stack.block, *stack.further):
        assert all(p.grad is not None and (p.grad != 0).any() for p in block.parameters())


def test_drawn_depths_do_not_change_it():
    stack = randomised(make_stack())
    obs, _, actions = inputs()
    state = stack.encode(obs)
    a, info = stack.step(state, actions[:, 0], depths=torch.tensor([1, 9, 2, 4, 3]))
    b, _ = stack.step(state, actions[:, 0])
    assert torch.equal(a.h, b.h) and info.num_loops.tolist() == [3] * 5


def test_its_weights_are_kept_once():
    """No two entries of the state share memory, so that a checkpoint can hold them."""
    state = make_stack().state_dict()
    assert len({t.data_ptr() for t in state.values() if t.numel()}) == sum(t.numel() > 0 for t in state.values())


def test_chunks_run_through_the_stack():
    stack = randomised(make_stack(form="step_consistent"))
    obs, _, actions = inputs()
    assert stack.rollout(stack.encode(obs), actions, chunk=2).h.shape == (5, 2, 1, 16)
