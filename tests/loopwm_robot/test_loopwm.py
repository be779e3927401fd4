"""The equations of LoopWM, for all forms, gains, norms and tokens, with context and without."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_models import (
    DT,
    GROUPS,
    N_GOAL,
    N_OBS,
    NU,
    VARIANTS,
    history_for,
    inputs,
    make_history,
    make_model,
    make_variant,
    randomised,
    sequences,
)

from loopwm_robot.models.block import DAMPING, DECAY, DELTA
from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.loop_control import FixedDepth, sample_depths
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.tokens import TOKEN_SCHEMES
from loopwm_robot.types import History, LatentState


@pytest.mark.parametrize("depth", [1, 3, 12])
@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_a_new_model_predicts_no_change(v, depth):
    """R = 0, B = 0, C = 0: no action moves anything, at any depth; all that is left is the slow initial decay."""
    core = {"form": v.form, "gain": v.gain, "norm": v.norm, "context": v.context, "latent_dim": v.latent_dim}
    model = make_model(tokens=v.tokens, **core)
    obs, goal, actions = inputs()
    state = model.encode(obs, goal, history_for(model))
    model.exit_rule = FixedDepth(depth)
    after, other = (model.step(state, actions[:, k])[0].h for k in (0, 1))
    assert torch.equal(after, other)
    retention, damped = math.exp(-DELTA * DECAY), 1 - DAMPING**depth
    share = {"paper": retention**depth, "step_consistent": retention, "implicit": 1 - damped * (1 - retention)}[v.form]
    memory = model.coda.memory.bool().expand_as(after)
    assert torch.allclose(after[~memory], share * state.h[~memory], rtol=1e-5, atol=1e-7)
    assert torch.allclose(after[memory], state.h[memory], atol=1e-4)
    if model.obs_head.direct:
        assert torch.allclose(model.decode(after), share * obs, atol=1e-5)


@pytest.mark.parametrize("tokens", TOKEN_SCHEMES)
def test_decoding_undoes_encoding(tokens):
    """Bit for bit in normalised units, whatever the weights are, with and without a belief."""
    for context in (0, 2):
        model = randomised(make_model(tokens=tokens, context=context))
        obs, _, _ = inputs()
        assert torch.equal(model.decode_normalised(model.encode(obs).h), obs)
        model.obs_normalizer.mean.uniform_(-1, 1)
        model.obs_normalizer.std.uniform_(0.1, 9)
        assert torch.equal(model.decode_normalised(model.encode(obs).h), model.obs_normalizer(obs))
        assert torch.allclose(model.decode(model.encode(obs).h), obs, atol=1e-5)


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_a_transition_is_prelude_loops_and_coda(v):
    model = make_variant(v)
    obs, goal, actions = inputs()
    state = model.encode(obs, goal, history_for(model))
    assert state.h.shape == (5, model.tokens, v.latent_dim) and model.tokens == model.layout.num + (v.context > 0)
    e = model.prelude(state.h, model.action_embedder(actions[:, 0]), None)
    drive, h = model.block.condition(state.h, e).for_depth(3), state.h
    for _ in range(3):
        h = model.block(h, drive)
    after, info = model.step(state, actions[:, 0])
    seen = model.layout.num
    assert torch.allclose(after.h[:, :seen], model.coda(h)[:, :seen], atol=1e-6) and info.num_loops.tolist() == [3] * 5
    assert torch.equal(after.h[:, seen:], state.h[:, seen:])  # what is believed of the arm stays


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_memory_has_unit_rms_at_every_age(v):
    """The channels that hold no observed number, token by token; a state stays bounded."""
    model = make_variant(v)
    obs, goal, actions = inputs(horizon=30)
    state = model.encode(obs, goal, history_for(model))
    h = torch.cat([state.h[:, None], model.rollout(state, actions).h], 1)
    for s in range(model.tokens):
        held = len(model.layout.columns[s]) if s < model.layout.num else 0
        memory = h[:, :, s, held if held <= v.latent_dim else 0 :]
        assert torch.allclose(memory.square().mean(-1), torch.ones(memory.shape[:-1]), atol=2e-3)
    assert h.abs().max() < 100


@pytest.mark.parametrize("tokens", TOKEN_SCHEMES)
def test_observed_numbers_stand_in_the_state(tokens):
    """The first channels of each token are its group's numbers, in normalised units, and are decoded as they are."""
    model = randomised(make_model(tokens=tokens, context=2))
    model.obs_normalizer.mean.fill_(0.5)
    model.obs_normalizer.std.fill_(2.0)
    obs, _, _ = inputs()
    h = model.encode(obs).h
    for s, columns in enumerate(model.layout.columns):
        assert torch.allclose(h[:, s, : len(columns)], (obs[:, list(columns)] - 0.5) / 2, atol=1e-6)
    assert torch.allclose(model.decode(h), obs, atol=1e-5)


def test_the_steps_of_observed_channels_come_from_the_data():
    """log Delta starts at the typical change of a number in one control step, in its own units."""
    model = make_model(tokens="parts")
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(2000, N_OBS, generator=g)
    pace = torch.linspace(0.01, 0.5, N_OBS)
    model.fit_normalizers(obs, obs + pace * torch.randn(2000, N_OBS, generator=g), torch.randn(10, N_GOAL))
    for log_delta in model.steps():
        for s, columns in enumerate(model.layout.columns):
            assert torch.allclose(log_delta[s, : len(columns)].exp(), pace[list(columns)], rtol=0.1)
            assert torch.allclose(log_delta[s, len(columns) :].exp(), torch.tensor(DELTA))


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_rollout_is_repeated_step_and_decodes_late(v):
    model = make_variant(v)
    obs, goal, actions = inputs()
    state = model.encode(obs, goal, history_for(model))
    trajectory = model.rollout(state, actions)
    for k in range(actions.shape[1]):
        state, _ = model.step(state, actions[:, k])
        assert torch.allclose(trajectory.h[:, k], state.h, atol=1e-6)
        assert torch.allclose(trajectory.observations()[:, k], model.decode(state.h), atol=1e-5)
    columns = slice(2, 5)
    assert torch.allclose(trajectory.observations(columns), trajectory.observations()[..., columns], atol=1e-5)
    assert trajectory.rewards().shape == (5, 4)
    last = trajectory.terminal()
    assert torch.equal(last.h[:, 0], trajectory.h[:, -1]) and torch.equal(last.loops[:, 0], trajectory.loops[:, -1])


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_one_state_serves_many_candidates(v):
    model = make_variant(v)
    obs, goal, actions = inputs()
    past = make_history(1, v.context) if v.context else None
    shared = model.rollout(model.encode(obs[:1], goal[:1], past), actions)
    many = None if past is None else past.expand(5)
    copies = model.rollout(model.encode(obs[:1].expand(5, -1), goal[:1].expand(5, -1), many), actions)
    assert torch.allclose(shared.observations(), copies.observations(), atol=1e-5)
    assert torch.allclose(shared.rewards(), copies.rewards(), atol=1e-5)


@pytest.mark.parametrize("tokens", TOKEN_SCHEMES)
def test_a_shown_observation_changes_the_observed_tokens_drive(tokens):
    """e_k = 0 in imagination; the belief token is never shown anything."""
    model = randomised(make_model(tokens=tokens, context=2))
    obs, _, actions = inputs()
    state = model.encode(obs)
    embedding = model.embed(obs + 1)
    shown, _ = model.step(state, actions[:, 0], embedding)
    hidden, _ = model.step(state, actions[:, 0])
    zero, _ = model.step(state, actions[:, 0], torch.zeros_like(embedding))
    assert torch.allclose(zero.h, hidden.h, atol=1e-6) and not torch.allclose(shown.h, hidden.h, atol=1e-2)


def test_goal_reaches_the_reward_only():
    model = randomised(make_model())
    obs, goal, actions = inputs()
    a = model.rollout(model.encode(obs, goal), actions)
    b = model.rollout(model.encode(obs, goal + 1), actions)
    assert torch.equal(a.observations(), b.observations()) and not torch.allclose(a.rewards(), b.rewards())
    with pytest.raises(ValueError, match="the state has no goal, allowed 3 numbers"):
        model.rollout(model.encode(obs), actions).rewards()


def test_continue_logit_shape():
    model = make_model()
    obs, _, _ = inputs()
    assert model.continue_logit(LatentState(model.embed(obs)).h).shape == (5,)


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_float32_agrees_with_float64(v):
    model = make_variant(v)
    obs, goal, actions = inputs(horizon=8)
    past = history_for(model)
    low = model.rollout(model.encode(obs, goal, past), actions).observations()
    double = None if past is None else History(past.obs.double(), past.action.double(), past.mask.double())
    high = model.double().rollout(model.encode(obs.double(), goal.double(), double), actions.double()).observations()
    assert high.dtype == torch.float64
    assert torch.allclose(low.double(), high, atol=2e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_inputs_are_refused_with_their_index(bad):
    model = make_model(context=3)
    obs, goal, actions = inputs()
    state, past = model.encode(obs, goal), make_history()
    broken = obs.clone()
    broken[2, 5] = bad
    with pytest.raises(ValueError, match=r"obs has 1 non-finite number\(s\), first at index \(2, 5\), allowed finite"):
        model.encode(broken)
    model.monitoring.level.fill_(1.0)
    with pytest.raises(ValueError, match=r"obs has 1 non-finite number\(s\), first at index \(2, 5\)"):
        model.monitor(state, broken)
    wrong = actions.clone()
    wrong[1, 3, 0] = wrong[4, 0, 1] = bad
    with pytest.raises(ValueError, match=r"actions has 2 non-finite .* \(1, 3, 0\), \(4, 0, 1\)"):
        model.rollout(state, wrong)
    for name, index in (("obs", (1, 2, 4)), ("action", (0, 1, 1))):
        values = getattr(past, name).clone()
        values[index] = bad
        with pytest.raises(ValueError, match=rf"history\.{name} has 1 non-finite .* \({', '.join(map(str, index))}\)"):
            model.encode(obs, history=replace(past, **{name: values}))


def test_inputs_of_another_width_are_refused():
    model = make_model(context=3)
    obs, goal, actions = inputs()
    with pytest.raises(ValueError, match=r"obs has shape \(5, 8\), allowed \(\.\.\., 9\)"):
        model.encode(obs[:, :8])
    with pytest.raises(ValueError, match=r"actions has shape \(5, 4, 1\), allowed \(\.\.\., 2\)"):
        model.rollout(model.encode(obs, goal), actions[..., :1])
    past = make_history()
    with pytest.raises(ValueError, match=r"history\.action has shape \(5, 3, 1\), allowed \(\.\.\., 2\)"):
        model.encode(obs, history=replace(past, action=past.action[..., :1]))


def test_latents_must_divide_into_heads():
    with pytest.raises(ValueError, match=r"latent_dim is 10, allowed multiples of model\.heads = 4"):
        LoopWM(N_OBS, NU, N_GOAL, DT, Core(latent_dim=10, heads=4))


def test_the_global_generator_is_only_used_for_fresh_weights():
    model = make_model(form="paper", context=3, latent_noise=0.1)
    before = torch.get_rng_state()
    model.unroll(sequences(context=3), Unroll(0.5), torch.Generator().manual_seed(0))
    model.rollout(model.encode(inputs()[0]), inputs()[2])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_every_parameter_that_should_learn_gets_a_gradient(v):
    model = make_variant(v)
    unrolled = model.unroll(sequences(context=v.context), Unroll(0.5), torch.Generator().manual_seed(0))
    assert unrolled.h.shape == (6, 4, model.tokens, v.latent_dim)
    (model.decode_normalised(unrolled.h).square().mean() + unrolled.h.square().mean()).backward()
    idle = {"reward_head", "continue_head", "gate", "monitoring"}  # no term of this loss
    for name, p in model.named_parameters():
        reached = p.grad is not None and bool((p.grad != 0).any())
        assert reached is (name.split(".")[0] not in idle), name


def test_one_depth_for_each_sequence_and_all_its_steps():
    model = randomised(make_model())
    batch = sequences()
    unrolled = model.unroll(batch, Unroll(), torch.Generator().manual_seed(3))
    depths = sample_depths(6, 3.0, 12, torch.Generator().manual_seed(3)).sort(descending=True).values
    assert depths.unique().numel() > 1
    for b, depth in enumerate(depths.tolist()):
        model.exit_rule, row = FixedDepth(depth), slice(b, b + 1)
        h = model.rollout(model.encode(batch.obs[row, 0]), batch.action[row]).h
        assert torch.allclose(unrolled.h[b], h[0], atol=1e-5)


def test_observations_are_shown_with_their_probability():
    """1 shows all after the first, 0 none: then later observations cannot matter."""
    model = randomised(make_model(depth="fixed"))
    batch = sequences()
    other = replace(batch, obs=torch.cat([batch.obs[:, :1], batch.obs[:, 1:] + 1], 1))
    for probability, same in ((0.0, True), (1.0, False)):
        a, b = (model.unroll(x, Unroll(probability), torch.Generator().manual_seed(0)).h for x in (batch, other))
        assert torch.equal(a[:, 0], b[:, 0]) and torch.equal(a, b) is same
    shown, state = model.unroll(batch, Unroll(1.0), torch.Generator()).h, model.encode(batch.obs[:, 0])
    for k in range(4):
        state, _ = model.step(state, batch.action[:, k], model.embed(batch.obs[:, k]) if k else None)
        assert torch.allclose(shown[:, k], state.h, atol=1e-5)


def test_latent_noise_has_its_deviation_and_is_for_training_only():
    quiet, noisy = make_model(depth="fixed"), make_model(depth="fixed", latent_noise=0.2)
    batch = sequences(400, 1)
    a, b = (m.unroll(batch, Unroll(), torch.Generator().manual_seed(0)).h for m in (quiet, noisy))
    assert float((b - a).detach().std()) == pytest.approx(0.2, rel=0.05)
    obs, _, actions = inputs()
    assert torch.equal(*(m.rollout(m.encode(obs), actions).h for m in (quiet, noisy)))


def test_latent_noise_does_not_add_up_in_the_belief():
    model = make_model(context=3, latent_noise=0.2)
    batch = sequences(length=4, context=3)
    depths = sample_depths(6, 3.0, 12, torch.Generator().manual_seed(3)).sort(descending=True).values
    believed = model.encode(batch.obs[:, 0], history=batch.history, depths=depths).h[:, -1]
    h = model.unroll(batch, Unroll(), torch.Generator().manual_seed(3)).h
    assert all(torch.allclose(h[:, k, -1], believed, atol=1e-6) for k in range(4))


def test_training_in_chunks():
    model = randomised(make_model(form="step_consistent", depth="fixed"))
    batch = sequences(length=4)
    h = model.unroll(batch, Unroll(chunk=2), torch.Generator()).h
    expected = model.rollout(model.encode(batch.obs[:, 0]), batch.action, chunk=2).h
    assert h.shape[1] == 2 and torch.allclose(h, expected, atol=1e-5)


def test_groups_are_needed_for_more_than_one_token():
    with pytest.raises(ValueError, match=r"set model\.tokens=single"):
        LoopWM(N_OBS, NU, N_GOAL, DT, tokens="parts")
    assert LoopWM(N_OBS, NU, N_GOAL, DT, groups=GROUPS, tokens="parts").tokens == 4
