"""The equations of LoopWM."""

from __future__ import annotations

import math

import pytest
import torch

from loopwm_robot.models.loop_control import Converged, FixedDepth
from loopwm_robot.models.loopwm import LoopWM, RecurrentBlock, rms_normalise
from loopwm_robot.types import LatentState

N_OBS, NU, N_GOAL, DT = 9, 2, 3, 0.05


def make_model(tokens: int = 1, seed: int = 0, **kwargs) -> LoopWM:
    torch.manual_seed(seed)
    return LoopWM(N_OBS, NU, N_GOAL, DT, latent_dim=16, tokens=tokens, heads=4, **kwargs).eval()


def randomised(model: LoopWM, seed: int = 1) -> LoopWM:
    """Leave the identity initialisation: every parameter moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
    return model


def inputs(batch: int = 5, horizon: int = 4):
    g = torch.Generator().manual_seed(2)
    obs, goal = torch.randn(batch, N_OBS, generator=g), torch.randn(batch, N_GOAL, generator=g)
    return obs, goal, torch.rand(batch, horizon, NU, generator=g) * 2 - 1


@pytest.mark.parametrize("extreme", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("name", ["log_a", "log_delta"])
def test_retention_stays_strictly_between_0_and_1(name, extreme):
    block = RecurrentBlock(8, 2, 2.0)
    with torch.no_grad():
        getattr(block, name).fill_(extreme)
    retention, gain = block.discretise()
    assert (retention > 0).all() and (retention < 1).all()
    assert torch.isfinite(gain).all() and (gain > 0).all()


def test_zero_order_hold_is_the_exact_solution_of_the_linear_part():
    """dh/dt = A h + B e held over Delta: compare with a fine Euler integration in float64."""
    block = RecurrentBlock(8, 2, 2.0).double()
    with torch.no_grad():
        block.log_a.uniform_(-1, 1)
        block.log_delta.uniform_(-2, 0)
    retention, gain = block.discretise()
    a, delta, steps = -block.log_a.exp(), block.log_delta.exp(), 200_000
    h = torch.full((8,), 0.7, dtype=torch.float64)
    x = h.clone()
    for _ in range(steps):
        x = x + delta / steps * (a * x + 1.3)
    assert torch.allclose(retention * h + gain * 1.3, x, atol=1e-5)


def test_a_new_model_is_the_identity():
    """R = 0, W = 1, C = 0: a transition leaves the state as it is, up to the small injected part."""
    model = make_model()
    obs, goal, actions = inputs()
    state = model.encode(obs, goal)
    after, _ = model.step(state, actions[:, 0])
    cosine = torch.cosine_similarity(state.h, after.h, dim=-1)
    assert (cosine > 0.9).all()
    with torch.no_grad():
        model.block.b.weight.zero_()
        model.block.log_delta.fill_(-1e3)  # Abar = 1
    after, _ = model.step(state, actions[:, 0])
    assert torch.allclose(after.h, state.h, atol=1e-4)


def test_states_have_unit_rms_at_every_age():
    model = randomised(make_model(tokens=2))
    obs, goal, actions = inputs(horizon=30)
    h = model.rollout(model.encode(obs, goal), actions).h
    assert torch.allclose(h.square().mean(-1), torch.ones(h.shape[:-1]), atol=1e-3)


def test_recurrent_block_is_equation_5():
    block = randomised(make_model()).block
    h, e = torch.randn(3, 1, 16), torch.randn(3, 1, 16)
    conditioning = block.condition(e)
    x = h + e
    attended = block.attend(block.norm_attention(x), conditioning)
    r = attended + block.down(torch.nn.functional.silu(block.up(block.norm_mlp(x + attended))))
    retention, gain = block.discretise()
    assert torch.allclose(block(h, conditioning), retention * h + gain * block.b(e) + r, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 3])
def test_attention_is_softmax_attention_over_state_and_conditioning(tokens):
    """Including the closed form for one token, where the softmax over two keys is a sigmoid."""
    block = randomised(make_model(tokens)).block
    x, e = torch.randn(4, tokens, 16), torch.randn(4, tokens, 16)
    both = torch.cat([x, e], dim=1)
    _, k, v = block.query_key_value(both).chunk(3, dim=-1)
    q = block.query_key_value(x)[..., :16]
    heads = []
    for i in range(4):
        part = slice(4 * i, 4 * i + 4)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4), dim=-1)
        heads.append(weights @ v[..., part])
    assert torch.allclose(block.attend(x, block.condition(e)), block.out(torch.cat(heads, -1)), atol=1e-5)


def test_prelude_is_layer_norm_of_the_projected_concatenation():
    model = randomised(make_model(tokens=2))
    h, u, e = torch.randn(3, 2, 16), torch.randn(3, 16), torch.randn(3, 2, 16)
    p = torch.cat(
        [model.prelude.from_state.weight, model.prelude.from_observation.weight, model.prelude.from_action.weight], 1
    )
    joined = torch.cat([h, e, u.unsqueeze(1).expand(-1, 2, -1)], dim=-1)
    expected = model.prelude.norm(joined @ p.T + model.prelude.token_bias)
    assert torch.allclose(model.prelude(h, u, e), expected, atol=1e-5)
    assert torch.allclose(model.prelude(h, u, None), model.prelude(h, u, torch.zeros_like(e)), atol=1e-6)


def test_rollout_is_repeated_step_and_decodes_late():
    model = randomised(make_model())
    obs, goal, actions = inputs()
    state = model.encode(obs, goal)
    trajectory = model.rollout(state, actions)
    for k in range(actions.shape[1]):
        state, _ = model.step(state, actions[:, k])
        assert torch.allclose(trajectory.h[:, k], state.h, atol=1e-6)
        assert torch.allclose(trajectory.observations()[:, k], model.decode(state.h), atol=1e-5)
    columns = slice(2, 5)
    assert torch.allclose(trajectory.observations(columns), trajectory.observations()[..., columns], atol=1e-6)
    assert trajectory.rewards().shape == (5, 4)


def test_one_state_serves_many_candidates():
    model = randomised(make_model())
    obs, goal, actions = inputs()
    shared = model.rollout(model.encode(obs[:1], goal[:1]), actions)
    copies = model.rollout(model.encode(obs[:1].expand(5, -1), goal[:1].expand(5, -1)), actions)
    assert torch.allclose(shared.observations(), copies.observations(), atol=1e-5)
    assert torch.allclose(shared.rewards(), copies.rewards(), atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2])
def test_batch_order_does_not_matter(tokens):
    model = randomised(make_model(tokens))
    model.exit_rule = Converged(0.05, 1, 12)
    obs, goal, actions = inputs(16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    a = model.rollout(model.encode(obs, goal), actions)
    b = model.rollout(model.encode(obs[order], goal[order]), actions[order])
    assert torch.allclose(a.h[order], b.h, atol=1e-5)
    assert torch.equal(a.loops[order], b.loops)


def test_training_depths_equal_fixed_depth_one_by_one():
    model = randomised(make_model())
    obs, goal, actions = inputs()
    depths = torch.tensor([1, 4, 2, 6, 3])
    mixed, info = model.step(model.encode(obs, goal), actions[:, 0], depths=depths)
    assert torch.equal(info.num_loops, depths)
    for b, depth in enumerate(depths.tolist()):
        model.exit_rule = FixedDepth(depth)
        single, _ = model.step(model.encode(obs[b : b + 1]), actions[b : b + 1, 0])
        assert torch.allclose(mixed.h[b], single.h[0], atol=1e-5)


def test_float32_agrees_with_float64():
    model = randomised(make_model())
    obs, goal, actions = inputs(horizon=8)
    low = model.rollout(model.encode(obs, goal), actions).observations()
    high = model.double().rollout(model.encode(obs.double(), goal.double()), actions.double()).observations()
    assert torch.allclose(low.double(), high, atol=1e-3)


def test_goal_reaches_the_reward_only():
    model = randomised(make_model())
    obs, goal, actions = inputs()
    a = model.rollout(model.encode(obs, goal), actions)
    b = model.rollout(model.encode(obs, goal + 1), actions)
    assert torch.equal(a.observations(), b.observations()) and not torch.allclose(a.rewards(), b.rewards())
    with pytest.raises(ValueError, match="the state has no goal, allowed 3 numbers"):
        model.rollout(model.encode(obs), actions).rewards()


def test_latents_must_divide_into_heads():
    with pytest.raises(ValueError, match=r"latent_dim is 10, allowed multiples of model\.heads = 4"):
        LoopWM(N_OBS, NU, N_GOAL, DT, latent_dim=10, heads=4)


def test_rms_normalise():
    h = torch.randn(3, 2, 8) * 50
    assert torch.allclose(rms_normalise(h), h / h.square().mean(-1, keepdim=True).sqrt(), atol=1e-5)


def test_continue_logit_shape():
    model = make_model()
    obs, _, _ = inputs()
    assert model.continue_logit(LatentState(model.embed(obs)).h).shape == (5,)
