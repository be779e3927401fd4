"""Monitoring mode: the projection of an imagined latent and its calibrated mismatch."""

from __future__ import annotations

import pytest
import torch
from tiny_models import inputs, make_model, randomised

from loopwm_robot.models.monitor import MAX_STEPS, Monitor


def test_mismatch_is_the_mean_square_between_projection_and_embedding():
    monitor = Monitor(3, 8)
    h, e = torch.randn(2, 5, 3, 8), torch.randn(2, 5, 3, 8)
    assert torch.allclose(monitor(h, e), (h - e).square().mean(dim=(2, 3)))  # g_w starts as the identity
    with torch.no_grad():
        monitor.project.weight.mul_(2)
        monitor.project.bias.fill_(1)
    assert torch.allclose(monitor(h, e), (2 * h + 1 - e).square().mean(dim=(2, 3)), atol=1e-5)


def test_levels_are_quantiles_that_never_fall():
    """More imagined steps never make the alarm stricter; steps beyond those measured use the last level."""
    monitor = Monitor(1, 8)
    mismatch = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 2.0, 5.0])
    monitor.calibrate(mismatch)
    quantiles = torch.quantile(mismatch, 0.99, dim=0)
    assert torch.allclose(monitor.level[:4], quantiles[[0, 1, 1, 3]])
    assert (monitor.level[4:] == monitor.level[3]).all() and len(monitor.level) == MAX_STEPS
    monitor.calibrate(mismatch[:, :1], share=0.5)
    assert torch.allclose(monitor.level, mismatch[:, 0].median().expand(MAX_STEPS), atol=2e-3)


def test_one_in_a_hundred_scores_above_one():
    monitor = Monitor(1, 8)
    mismatch = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    monitor.calibrate(mismatch)
    for k in range(3):
        assert 0.005 <= (monitor.score(mismatch[:, k], k + 1) > 1).double().mean() <= 0.011


def test_the_level_of_a_step_is_used_for_that_step():
    monitor = Monitor(1, 8)
    monitor.calibrate(torch.tensor([[1.0, 2.0, 4.0]]).expand(10, 3))
    scores = [float(monitor.score(torch.tensor(4.0), steps)) for steps in (1, 2, 3, 50, 1000)]
    assert scores == [4.0, 2.0, 1.0, 1.0, 1.0]


def test_levels_belong_to_the_weights():
    a, b = Monitor(1, 8), Monitor(1, 8)
    a.calibrate(torch.rand(20, 2))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.level, b.level)


@pytest.mark.parametrize("tokens, context", [("single", 0), ("parts", 0), ("parts", 3)])
def test_the_model_compares_its_latent_with_what_is_seen(tokens, context):
    """Without the belief token, which nothing observed corresponds to."""
    model = randomised(make_model(tokens=tokens, context=context))
    obs, goal, actions = inputs()
    trajectory = model.rollout(model.encode(obs, goal), actions)
    model.monitoring.calibrate(torch.tensor([[2.0, 4.0]]))
    seen = model.embed(obs)
    projected = model.monitoring.project(trajectory.h[:, 1, : model.layout.num])
    expected = (projected - seen).square().mean(dim=(1, 2)) / 4
    state = type(model.encode(obs))(trajectory.h[:, 1])
    assert torch.allclose(model.monitor(state, obs, steps=2), expected, atol=1e-5)
    perfect = type(state)(torch.cat([seen, state.h[:, model.layout.num :]], 1))
    with torch.no_grad():
        model.monitoring.project.weight.copy_(torch.eye(16))
        model.monitoring.project.bias.zero_()
    assert torch.allclose(model.monitor(perfect, obs), torch.zeros(5), atol=1e-6)


def test_misuse_is_explained():
    model = make_model()
    obs, _, _ = inputs()
    state = model.encode(obs)
    with pytest.raises(ValueError, match="the monitor has no levels; calibrate it on held-out data"):
        model.monitor(state, obs)
    model.monitoring.calibrate(torch.rand(10, 2))
    with pytest.raises(ValueError, match="steps is 0, allowed >= 1"):
        model.monitor(state, obs, steps=0)
    with pytest.raises(ValueError, match="allowed at least one trajectory of 1 to 64 steps"):
        model.monitoring.calibrate(torch.rand(10, MAX_STEPS + 1))
    with pytest.raises(ValueError, match=r"mismatch has shape \(0, 4\)"):
        model.monitoring.calibrate(torch.rand(0, 4))
