"""The loss terms: what each looks at, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import N_OBS, VARIANTS, Variant, make_model, make_variant, randomised, sequences
from torch import Tensor

from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.training.losses import LossWeights, curriculum_horizon, path_excess, world_model_loss
from loopwm_robot.types import SequenceBatch

ONES = torch.ones(N_OBS)


def loss_of(
    model: LoopWM, batch: SequenceBatch, how: Unroll | None = None, **weights
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and terms with a generator of its own."""
    generator = torch.Generator().manual_seed(0)
    return world_model_loss(model, batch, LossWeights(**weights), ONES, how or Unroll(), generator)


def gradients(model: LoopWM, loss: Tensor) -> dict[str, Tensor]:
    """Gradient of each parameter, zeros where there is none."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_terms_are_the_errors_of_the_unrolled_states(v):
    """Observation, reward and continuation by hand, for all steps."""
    model = make_variant(v)
    batch = sequences(context=v.context)
    loss, terms = loss_of(model, batch, reward=0.3, terminated=0.2)
    h = model.unroll(batch, Unroll(), torch.Generator().manual_seed(0)).h
    target = model.obs_normalizer(batch.obs[:, 1:])
    assert torch.allclose(terms["obs"], (model.decode_normalised(h) - target).square().mean(), atol=1e-5)
    assert torch.allclose(terms["reward"], (model.reward(h, batch.goal) - batch.reward).square().mean(), atol=1e-5)
    going_on = -torch.nn.functional.logsigmoid(model.continue_logit(h)).mean()  # no sequence ends
    assert torch.allclose(terms["terminated"], going_on, atol=1e-5)
    assert torch.allclose(terms["consistency"], model.mismatch(h, batch.obs[:, 1:]).mean(), atol=1e-5)
    total = terms["obs"] + 0.3 * terms["reward"] + 0.2 * terms["terminated"] + terms["consistency"]
    assert torch.allclose(loss.detach(), total, atol=1e-5)


def test_deferred_decoding_looks_at_the_last_observation_only():
    model = randomised(make_model())
    batch = sequences()
    between, last = batch.obs.clone(), batch.obs.clone()
    between[:, 1:-1] += 3
    last[:, -1] += 3
    base, middle, end = (
        loss_of(model, replace(batch, obs=obs), decode="terminal")[1]["obs"] for obs in (batch.obs, between, last)
    )
    assert torch.equal(base, middle) and not torch.allclose(base, end, rtol=1e-2)
    h = model.unroll(batch, Unroll(), torch.Generator().manual_seed(0)).h[:, -1]
    expected = (model.decode_normalised(h) - model.obs_normalizer(batch.obs[:, -1])).square().mean()
    assert torch.allclose(base, expected, atol=1e-5)


def test_deferred_decoding_decodes_once():
    model = randomised(make_model())
    decoded: list[tuple[int, ...]] = []
    model.obs_head.register_forward_pre_hook(lambda _, args: decoded.append(tuple(args[0].shape[:2])))
    for decode, shape in (("every", (6, 4)), ("terminal", (6, 1))):
        decoded.clear()
        loss_of(model, sequences(), decode=decode)
        assert decoded == [shape]


def test_deferred_decoding_skips_sequences_whose_end_is_padding():
    model, batch = randomised(make_model()), sequences()
    mask = batch.mask.clone()
    mask[:3, -1] = 0
    rest = SequenceBatch(*(getattr(batch, f)[3:] for f in ("obs", "action", "reward", "terminated", "goal", "mask")))
    model.core = replace(model.core, depth="fixed")
    a, b = (loss_of(model, x, decode="terminal")[1]["obs"] for x in (replace(batch, mask=mask), rest))
    assert torch.allclose(a, b, atol=1e-5)
    nothing = replace(batch, mask=torch.zeros_like(mask))
    assert loss_of(model, nothing, decode="terminal", contraction=1.0)[0] == 0


def test_masked_steps_do_not_count():
    model, batch = randomised(make_model()), sequences(length=4)
    mask = torch.ones_like(batch.mask)
    mask[:, 2:] = 0
    spoiled = replace(batch, mask=mask, obs=batch.obs.clone(), reward=batch.reward.clone())
    spoiled.obs[:, 3:] = 1e3
    spoiled.reward[:, 2:] = 1e3
    a, b = (loss_of(model, x, consistency=1.0)[0] for x in (replace(batch, mask=mask), spoiled))
    assert torch.equal(a, b)


@pytest.mark.parametrize("tokens, context", [("single", 0), ("parts", 3)])
def test_consistency_without_weight_trains_the_projection_alone(tokens, context):
    """g_w learns to read the latent and nothing else feels it; with a weight the dynamics do."""
    model, batch = randomised(make_model(tokens=tokens, context=context)), sequences(context=context)
    off, on = (gradients(model, loss_of(model, batch, consistency=w)[0]) for w in (0.0, 2.0))
    model.mismatch = lambda h, obs: torch.zeros(h.shape[:2])  # as if there were no such term
    without = gradients(model, loss_of(model, batch, consistency=0.0)[0])
    for name, grad in off.items():
        assert torch.equal(grad, without[name]) is not name.startswith("monitoring."), name
    assert not torch.allclose(on["block.up.weight"], off["block.up.weight"], atol=1e-6)


def test_the_target_of_consistency_gets_no_gradient():
    model, batch = randomised(make_model()), sequences()
    h = torch.randn(6, 4, 1, 16)
    grads = gradients(model, model.mismatch(h, batch.obs[:, 1:]).mean())
    assert all(bool((g == 0).all()) is not name.startswith("monitoring.") for name, g in grads.items())


def test_contraction_is_free_inside_its_budget():
    model, batch = randomised(make_model()), sequences()
    h = model.unroll(batch, Unroll(), torch.Generator().manual_seed(0)).h.detach()
    lengths = h.diff(dim=1).square().mean(dim=(-2, -1)).sqrt()  # (B, K-1) in units of the state's norm
    longest = float(lengths.mean(1).max())
    plain = loss_of(model, batch)[0]
    inside, terms = loss_of(model, batch, contraction=5.0, contraction_budget=longest * 1.001)
    assert terms["contraction"] == 0 and torch.equal(plain, inside)
    outside, terms = loss_of(model, batch, contraction=5.0, contraction_budget=longest / 3)
    expected = (lengths.mean(1) - longest / 3).clamp_min(0).mean()
    assert torch.allclose(terms["contraction"], expected, atol=1e-5) and expected > 0
    assert torch.allclose(outside - plain, 5 * expected, atol=1e-4)


def test_path_excess():
    """States of unit RMS: a jump to the opposite state is 2 norms long."""
    e = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 1, 4)
    h = torch.cat([e, -e, e], dim=1)
    assert path_excess(h, 0.5).item() == pytest.approx(1.5) and path_excess(h, 2.5).item() == 0
    assert path_excess(e, 0.0).tolist() == [0.0]  # a single state has no path
    still = e.expand(2, 5, 1, 4).clone().requires_grad_()
    path_excess(still, 0.0).sum().backward()
    assert torch.isfinite(still.grad).all()  # the root has no slope at zero


def test_the_weight_of_an_observed_number_scales_its_error():
    model, batch = randomised(make_model()), sequences()

    def obs_loss(weight):
        generator = torch.Generator().manual_seed(0)
        return world_model_loss(model, batch, LossWeights(), weight, Unroll(), generator)[1]["obs"]

    parts = [obs_loss(torch.eye(N_OBS)[i]) for i in range(N_OBS)]
    weights = torch.arange(1.0, N_OBS + 1)
    assert torch.allclose(obs_loss(weights), (weights * torch.stack(parts)).sum(), rtol=1e-4)


@pytest.mark.parametrize("decode", ["every", "terminal"])
def test_chunks_are_compared_with_what_follows_them(decode):
    """Transitions of two steps: targets are observations 2 and 4, rewards those of the second step of each."""
    model = randomised(make_model(form="step_consistent", depth="fixed"))
    batch = sequences(length=4)
    loss, terms = loss_of(model, batch, Unroll(chunk=2), decode=decode)
    h = model.rollout(model.encode(batch.obs[:, 0]), batch.action, chunk=2).h
    error = (model.decode_normalised(h) - model.obs_normalizer(batch.obs[:, [2, 4]])).square().mean(-1)
    expected = error.mean() if decode == "every" else error[:, -1].mean()
    assert torch.allclose(terms["obs"], expected, atol=1e-5)
    wanted = (model.reward(h, batch.goal) - batch.reward[:, [1, 3]]).square().mean()
    assert torch.allclose(terms["reward"], wanted, atol=1e-5) and bool(torch.isfinite(loss))


def test_every_parameter_of_the_model_is_trained_but_the_gate():
    model = make_variant(Variant("paper", "zoh", "sandwich", "parts", 3))
    grads = gradients(model, loss_of(model, sequences(context=3), Unroll(0.5), consistency=1.0, contraction=1.0)[0])
    idle = {name for name, g in grads.items() if (g == 0).all()}
    assert idle == {"gate.weight", "gate.bias"}


def test_curriculum_horizon():
    """K = min(K_max, 1 + floor(update / every))."""
    assert [curriculum_horizon(u, 10, 4) for u in (0, 9, 10, 29, 30, 1000)] == [1, 1, 2, 3, 4, 4]
    assert curriculum_horizon(0, 0, 4) == 4


@pytest.mark.parametrize(
    "change, match",
    [
        ({"reward": -1}, r"train\.update\.loss\.reward is -1, allowed \[0, 1e\+06\]"),
        ({"consistency": float("nan")}, r"loss\.consistency is nan, allowed"),
        ({"contraction_budget": 2e6}, r"loss\.contraction_budget is 2000000\.0, allowed"),
        ({"decode": "never"}, r"loss\.decode is 'never', allowed every, terminal"),
    ],
)
def test_weights_out_of_range_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        LossWeights(**change)
