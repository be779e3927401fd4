"""The bound on the state: each inequality, whether it is attained, and long rollouts of adversarial models."""

from __future__ import annotations

import pytest
import torch
from marks import slow_but
from tiny_models import (
    DT,
    GROUPS,
    N_GOAL,
    N_OBS,
    NU,
    VARIANTS,
    history_for,
    inputs,
    make_model,
    make_variant,
    randomised,
)
from torch import Tensor, nn

from loopwm_robot.models.block import FORMS, NORMS, RecurrentBlock
from loopwm_robot.models.bounds import coda_reach, limit, reach, residual_reach
from loopwm_robot.models.loop_control import Converged, Doubling, FixedDepth
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.untied import UntiedStack
from loopwm_robot.types import LatentState

ROUNDING = 1.001


def wild(model: LoopWM, seed: int = 7) -> LoopWM:
    """Random parameters ten times as large as those of the other tests, and no range that the coda keeps to."""
    model.coda.low.fill_(-1e30)
    model.coda.high.fill_(1e30)
    return randomised(model, seed, scale=2.0)


def random_norm(d: int, seed: int = 0) -> nn.LayerNorm:
    g = torch.Generator().manual_seed(seed)
    norm = nn.LayerNorm(d)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(d, generator=g))
        norm.bias.copy_(torch.randn(d, generator=g))
    return norm


@torch.no_grad()
def longest(model: LoopWM, steps: int, start: float = 1.0, chunk: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Largest |h_k| of each channel over a rollout with random actions, and that of its last state (S, d)."""
    g = torch.Generator().manual_seed(seed)
    obs, _, _ = inputs(4)
    state = model.encode(obs, history=history_for(model, 4))
    state = LatentState(torch.where(model.coda.memory > 0, state.h, start * state.h.sign()))
    seen = state.h.abs().amax(0)
    for _ in range(steps):
        action = torch.rand(4, chunk, NU, generator=g) * 2 - 1
        state, _ = model.step(state, action if chunk > 1 else action[:, 0])
        assert torch.isfinite(state.h).all()
        seen = torch.maximum(seen, state.h.abs().amax(0))
    return seen, state.h.abs().amax(0)


@torch.no_grad()
def test_reach_is_never_exceeded_and_attained():
    """|W LayerNorm(x) + b| over random x of all sizes, and at the x that the derivation names."""
    d, n = 8, 5
    norm, linear = random_norm(d), nn.Linear(d, n)
    bound = reach(norm, linear.weight, linear.bias)
    x = torch.randn(50_000, d) * torch.logspace(-4, 4, 50_000).unsqueeze(1)
    assert (linear(norm(x)).abs() <= bound * ROUNDING).all()
    rows = linear.weight * norm.weight
    worst = (rows - rows.mean(1, keepdim=True)) * 1e3
    sign = (linear(norm.bias)).sign().unsqueeze(1)  # the side to which the shift pushes
    attained = linear(norm(sign * worst)).diagonal().abs()
    assert torch.allclose(attained, bound, rtol=1e-3)
    assert torch.allclose(reach(norm, linear.weight), reach(norm, linear.weight, torch.zeros(n)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tokens, loud", [(1, 1.0), (3, 1.0), (3, 0.01), (1, 100.0)])
@torch.no_grad()
def test_the_residual_stays_in_its_reach(tokens, loud, norm):
    """States from a millionth to a million, adversarial weights, a quiet and a loud e; the reach is not far above."""
    torch.manual_seed(0)
    block, drive, d = RecurrentBlock(tokens, 8, 2, 2.0, norm=norm), random_norm(8), 8
    drive.weight.mul_(loud)
    drive.bias.mul_(loud)
    for scale in (0.2, 2.0):
        for p in block.parameters():
            p.add_(torch.randn(p.shape) * scale)
        e = drive(torch.randn(5000, tokens, d) * torch.logspace(-3, 3, 5000).view(-1, 1, 1))
        h = torch.randn(5000, tokens, d) * torch.logspace(6, -6, 5000).view(-1, 1, 1)
        size = block.residual(h, block.condition(h, e)).abs().amax((0, 1))
        bound = residual_reach(block, drive)
        assert (size <= bound * ROUNDING).all() and (size > 0.1 * bound).any()


@torch.no_grad()
def test_the_coda_stays_in_its_reach():
    model = wild(make_model(tokens="parts"))
    coda = model.coda
    h = torch.randn(5000, 4, 16) * torch.logspace(-6, 6, 5000).view(-1, 1, 1)
    change = coda.down(coda.norm(nn.functional.silu(coda.up(h)))) * coda.log_delta.clamp(-20, 3).exp()
    assert (change.abs() <= coda_reach(coda) * ROUNDING).all()


@pytest.mark.parametrize("loops", [1, 3])
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_the_limit_is_attained(form, loops):
    """R and C' constant, e at its worst: the state approaches the limit, from below as from far above."""
    torch.manual_seed(0)
    block, drive, d = RecurrentBlock(1, 8, 2, 2.0, form), random_norm(8), 8
    for p in (block.b.weight, block.log_a, block.log_delta):
        p.add_(torch.randn(p.shape))
    block.log_a.add_(5)
    side = (block.b.weight @ drive.bias).sign()  # the side to which the shift pushes B e, channel by channel
    block.down.bias.copy_(side * torch.rand(d))  # R
    added = side * torch.rand(d)  # C'
    bound = limit(block, drive, added.abs())[0]
    rows = block.b.weight * drive.weight
    worst = (rows - rows.mean(1, keepdim=True)) * 1e3 * side.unsqueeze(1)
    e = drive(worst).unsqueeze(1)  # (d, 1, d): sample i drives channel i
    for start in (0.0, 1e3):
        h = torch.full((d, 1, d), start)
        for _ in range(500):
            h = FixedDepth(loops).run(block, h, block.condition(h, e))[0] + added
        found = h[:, 0].diagonal().abs()
        assert (found <= bound * ROUNDING).all()
        assert loops > 1 or torch.allclose(found, bound, rtol=1e-3)


@pytest.mark.parametrize("v", slow_but(VARIANTS[::3], VARIANTS), ids=str)
def test_a_thousand_steps_of_a_wild_model_stay_inside(v):
    """Parameters ten times as large as in the other tests, random actions; the channels that are read as well."""
    model = wild(make_variant(v))
    model.exit_rule = FixedDepth(2)
    seen, _ = longest(model, 1000)
    bound = model.state_bound(1.0)
    assert torch.isfinite(bound).all() and (seen <= bound * ROUNDING).all()
    held = model.coda.memory > 0
    assert torch.allclose(bound[held], model.coda.memory.sum(-1, keepdim=True).sqrt().expand_as(bound)[held])


@pytest.mark.parametrize("v", VARIANTS[::3], ids=str)
def test_any_depth_stays_inside(v):
    """Samples that stop on their own, and depths drawn for each."""
    model = wild(make_variant(v))
    bound = model.state_bound(1.0)
    model.exit_rule = Doubling(0.1, 8) if v.form == "step_consistent" else Converged(0.1, 1, 8)
    assert (longest(model, 40)[0] <= bound * ROUNDING).all()
    obs, _, actions = inputs(6, 20)
    model.exit_rule = FixedDepth(1)
    state = model.encode(obs, history=history_for(model, 6))
    begin = state.h.abs().amax(0)
    with torch.no_grad():
        for k in range(20):
            state, _ = model.step(state, actions[:, k], depths=torch.tensor([1, 12, 2, 5, 1, 3]))
            assert (state.h.abs() <= model.state_bound(begin) * ROUNDING).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_state_from_far_outside_comes_back(form):
    """Where retention is not near 1: 300 steps after a start of ten thousand the limit holds as if it had been zero."""
    model = randomised(make_model(form=form))
    with torch.no_grad():
        model.block.log_a.fill_(0.0)
    seen, last = longest(model, 300, start=1e4)
    assert (seen <= model.state_bound(1e4) * ROUNDING).all() and float(model.state_bound(0.0).max()) < 1e3
    assert (last <= model.state_bound(0.0) * ROUNDING).all()


@pytest.mark.parametrize("chunk", [2, 4])
def test_chunks_stay_inside(chunk):
    model = wild(make_model(form="step_consistent", tokens="parts"))
    for loops in (1, 3):
        model.exit_rule = FixedDepth(loops)
        assert (longest(model, 200, chunk=chunk)[0] <= model.state_bound(1.0, chunk) * ROUNDING).all()


@pytest.mark.parametrize("form", ["paper", "step_consistent"])
def test_a_stack_of_blocks_stays_inside(form):
    torch.manual_seed(0)
    stack = wild(UntiedStack(N_OBS, NU, N_GOAL, DT, Core(latent_dim=16, form=form), groups=GROUPS, tokens="bodies"))
    assert (longest(stack, 300)[0] <= stack.state_bound(1.0) * ROUNDING).all()


def test_the_range_that_was_seen_is_a_bound_as_well():
    """What the coda leaves lies inside it, also where it does not contain zero."""
    model = wild(make_model())
    obs = torch.rand(500, N_OBS) * 4
    model.fit_normalizers(obs, obs + 0.1 * torch.randn(500, N_OBS), torch.zeros(3, N_GOAL))
    model.coda.low[0, 0], model.coda.high[0, 0] = 2.0, 3.0
    bound = model.state_bound(0.0)
    assert (longest(model, 100, start=0.0)[0] <= bound * ROUNDING).all()
    assert (bound <= torch.maximum(-model.coda.low, model.coda.high)).all() and bound[0, 0] >= 2
