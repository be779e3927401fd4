"""Imagined numbers stay inside the range that was ever seen: the bound of a rollout of any length."""

from __future__ import annotations

import pytest
import torch

from loopwm_robot.models.block import FORMS, UNLIMITED
from loopwm_robot.models.loop_control import FixedDepth
from loopwm_robot.models.loopwm import Core, LoopWM

GROUPS = {"joint1": (0, 2), "ee": (1,), "object": (3, 4)}


def fitted(form: str = "implicit", tokens: str = "single", context: int = 0, scale: float = 0.0) -> LoopWM:
    torch.manual_seed(0)
    core = Core(latent_dim=16, form=form, context=context, mean_loops=2)
    model = LoopWM(5, 2, 0, 0.1, core, groups=GROUPS, tokens=tokens).eval()
    obs = data()
    model.fit_normalizers(obs[:-1], obs[1:], torch.zeros(0, 0))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * scale)
    return model


def data() -> torch.Tensor:
    walk = torch.randn(200, 5, generator=torch.Generator().manual_seed(1)).cumsum(0)
    return walk * torch.tensor([1, 2, 5, 0.1, 30.0])


@pytest.mark.parametrize("tokens", ["single", "bodies", "parts"])
@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_steps_of_a_wild_model_stay_inside_the_range(form, tokens):
    model = fitted(form, tokens, scale=3.0)
    obs = data()
    actions = torch.rand(8, 1000, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        trajectory = model.rollout(model.encode(obs[:8]), actions)
    seen = trajectory.observations()
    low, high = obs.amin(0), obs.amax(0)
    slack = 1e-4 * (high - low)
    assert torch.isfinite(trajectory.h).all()
    assert (seen >= low - slack).all() and (seen <= high + slack).all()
    assert ((seen <= low + slack) | (seen >= high - slack)).any()  # the range was needed
    observed = torch.maximum(model.coda.low.abs(), model.coda.high.abs())[model.coda.memory == 0]
    assert trajectory.h.abs().max() <= max(float(observed.max()), 16**0.5) + 1e-3  # the range, or unit RMS of 16


def test_without_data_nothing_is_cut_off():
    model = LoopWM(5, 2, 0, 0.1, Core(latent_dim=16))
    assert (model.coda.high == UNLIMITED).all() and (model.coda.low == -UNLIMITED).all()


def test_the_range_only_grows_and_only_for_observed_channels():
    model = fitted(context=4)
    before = model.coda.low.clone(), model.coda.high.clone()
    model.widen(data()[:50])  # nothing new
    assert torch.equal(model.coda.low, before[0]) and torch.equal(model.coda.high, before[1])
    farther = data()
    farther[0, 3] = 1e3
    model.widen(farther)
    grown = (model.coda.high > before[1]).nonzero().tolist()
    assert grown == [[0, 3]]
    memory = model.coda.memory == 1
    assert (model.coda.high[memory] == UNLIMITED).all() and (model.coda.low[memory] == -UNLIMITED).all()


def test_an_observation_outside_is_encoded_as_it_is():
    model = fitted()
    model.exit_rule = FixedDepth(1)
    outside = data()[:1] + 1e4
    assert torch.allclose(model.decode(model.encode(outside).h), outside, rtol=1e-4)
    after, _ = model.step(model.encode(outside), torch.zeros(1, 2))
    assert torch.allclose(model.decode(after.h), data().amax(0).expand(1, -1), rtol=1e-4, atol=1e-2)


def test_the_range_travels_with_the_weights():
    model = fitted()
    other = LoopWM(5, 2, 0, 0.1, Core(latent_dim=16, mean_loops=2), groups=GROUPS)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.coda.high, model.coda.high) and torch.isfinite(other.coda.high).all()
