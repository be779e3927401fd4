"""Hidden dynamics in context: what the belief token may depend on, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from tiny_models import N_OBS, NU, inputs, make_history, make_model, randomised

from loopwm_robot.models.block import FORMS
from loopwm_robot.models.tokens import TOKEN_SCHEMES
from loopwm_robot.types import History, LatentState

ALL = [pytest.param(form, tokens, id=f"{form}-{tokens}") for form, tokens in product(FORMS, TOKEN_SCHEMES)]


@pytest.mark.parametrize("form, tokens", ALL)
def test_the_past_matters_as_far_as_it_happened(form, tokens):
    model = randomised(make_model(form=form, tokens=tokens, context=4))
    obs, _, _ = inputs()
    past = make_history(5, 4)
    past.mask[:, :2] = 0
    known = model.encode(obs, history=past).h
    assert not torch.allclose(known, model.encode(obs, history=replace(past, action=past.action + 1)).h, atol=1e-3)
    # what stands in padded rows does not matter, nor its order
    filled = replace(past, obs=past.obs.clone(), action=past.action.clone())
    filled.obs[:, :2], filled.action[:, :2] = 7.0, -3.0
    assert torch.allclose(known, model.encode(obs, history=filled).h, atol=1e-6)
    swapped = replace(past, obs=past.obs[:, [1, 0, 2, 3]], action=past.action[:, [1, 0, 2, 3]])
    assert torch.allclose(known, model.encode(obs, history=swapped).h, atol=1e-6)
    # a shorter history is one with padding in front
    assert torch.allclose(known, model.encode(obs, history=past.last(2)).h, atol=1e-6)
    # what is older than W does not matter
    older = make_history(5, 3, seed=9)
    longer = History(*(torch.cat([a, b], 1) for a, b in zip(vars(older).values(), vars(past).values(), strict=True)))
    assert torch.allclose(known, model.encode(obs, history=longer).h, atol=1e-6)


@pytest.mark.parametrize("form, tokens", ALL)
def test_no_history_is_a_history_in_which_nothing_happened(form, tokens):
    model = randomised(make_model(form=form, tokens=tokens, context=4))
    obs, _, _ = inputs()
    nothing = make_history(5, 4)
    nothing.mask.zero_()
    empty = History(torch.zeros(5, 0, N_OBS), torch.zeros(5, 0, NU), torch.zeros(5, 0))
    known = model.encode(obs).h
    assert torch.isfinite(known).all()
    assert torch.allclose(known, model.encode(obs, history=nothing).h, atol=1e-6)
    assert torch.allclose(known, model.encode(obs, history=empty).h, atol=1e-6)


def test_the_order_of_what_happened_matters():
    """The age of a transition is part of its token, so that delays can be inferred."""
    model = randomised(make_model(context=4))
    obs, _, _ = inputs()
    past = make_history(5, 4)
    other = replace(past, action=past.action.flip(1))
    assert not torch.allclose(model.encode(obs, history=past).h, model.encode(obs, history=other).h, atol=1e-3)


def test_transition_tokens_hold_the_change_that_each_action_made():
    """(o, a, o' - o) with o' of the last one being the present observation, and the same of the two before."""
    model = make_model(context=3)
    model.delta_normalizer.mean.fill_(0.5)
    obs, past = inputs()[0], make_history()
    got = model.transition_tokens(past, obs)
    following = torch.stack([past.obs[:, 1], past.obs[:, 2], obs], 1)
    joined = torch.cat([past.obs, past.action, following - past.obs - 0.5], -1)
    earlier = torch.zeros_like(joined[:, :1])
    before = torch.cat([earlier, joined[:, :-1]], 1), torch.cat([earlier, earlier, joined[:, :-2]], 1)
    spans = torch.stack([before[1], before[0], joined], -1).flatten(2)
    seen = model.transition_down(torch.nn.functional.silu(model.transition_up(spans)))
    assert torch.allclose(got, model.transition_norm(seen + model.age), atol=1e-6)


def test_the_belief_influences_the_prediction_and_is_not_decoded():
    model = randomised(make_model(tokens="parts", context=3))
    obs, _, actions = inputs()
    state = model.encode(obs)
    changed = state.h.clone()
    changed[:, -1] = -changed[:, -1]
    assert torch.equal(model.decode(state.h), model.decode(changed))
    a, b = (model.step(LatentState(h), actions[:, 0])[0].h for h in (state.h, changed))
    assert not torch.allclose(model.decode(a), model.decode(b), atol=1e-3)
