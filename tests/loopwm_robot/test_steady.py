"""What follows from the parameters alone: computed once in a rollout or a loss, never kept beyond it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_models import VARIANTS, history_for, inputs, make_model, make_variant, randomised, sequences

from loopwm_robot.models import loopwm
from loopwm_robot.models.block import RecurrentBlock
from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.steady import Steady, steady


class Doubled(Steady):
    """Counts how often its parameter is doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.made = 0

    def double(self) -> torch.Tensor:
        return self.once("double", self._double)

    def _double(self) -> torch.Tensor:
        self.made += 1
        return 2 * self.weight


def test_it_is_made_once_inside_and_always_outside():
    module = Doubled()
    with steady(module):
        assert module.double() is module.double() and module.made == 1
        with steady(module):
            assert module.double() is not None and module.made == 1
        module.double()
        assert module.made == 1  # the inner scope did not end the outer one
    module.double()
    module.double()
    assert module.made == 3


def test_nothing_is_kept_beyond_the_scope():
    """New parameters count in the next one, also after an error."""
    module = Doubled()
    with pytest.raises(RuntimeError, match="stop"), steady(module):
        module.double()
        raise RuntimeError("stop")
    with torch.no_grad():
        module.weight.fill_(5.0)
    assert module.double().tolist() == [10.0, 10.0]
    with steady(module):
        assert module.double().tolist() == [10.0, 10.0]


def test_what_was_made_without_a_graph_is_not_used_where_one_is_needed():
    """Early loops run without gradients, and a planner in inference mode."""
    module = Doubled()
    with steady(module):
        with torch.no_grad():
            assert not module.double().requires_grad
        with torch.inference_mode():
            assert module.double().is_inference()
        assert module.double().requires_grad and not module.double().is_inference()
        with torch.no_grad():
            assert not module.double().is_inference()
        module.double().sum().backward()
    assert module.weight.grad.tolist() == [2.0, 2.0]


def test_two_modules_remember_their_own():
    a, b = RecurrentBlock(1, 8, 2, 2.0), RecurrentBlock(1, 8, 2, 2.0)
    with torch.no_grad():
        b.log_delta.add_(1.0)
    with steady(a, b):
        assert not torch.equal(a.discretise()[2], b.discretise()[2])
        assert torch.equal(a.discretise(0.5)[2], a.discretise()[2] / 2)  # another length is another result


@pytest.mark.parametrize("form", ["paper", "implicit", "step_consistent"])
def test_a_rollout_discretises_once_for_each_length(form, monkeypatch):
    model = randomised(make_model(form=form))
    made: list[float] = []
    plain = RecurrentBlock._discretise

    def spy(self, step):
        made.append(step)
        return plain(self, step)

    monkeypatch.setattr(RecurrentBlock, "_discretise", spy)
    obs, _, actions = inputs(horizon=6)
    model.rollout(model.encode(obs), actions)
    assert made == ([1.0, 1 / 3] if form == "step_consistent" else [1.0])


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_gradients_are_those_of_a_model_that_remembers_nothing(v, monkeypatch):
    """With depths drawn for each sequence, so that some loops have no graph, and shown observations."""
    model, batch = make_variant(v), sequences(context=v.context)
    results = []
    for remembers in (True, False):
        if not remembers:
            monkeypatch.setattr(loopwm, "steady", lambda *_: nullcontext())
        model.zero_grad(set_to_none=True)
        h = model.unroll(batch, Unroll(0.5), torch.Generator().manual_seed(0)).h
        model.decode_normalised(h).square().mean().backward()
        results.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    kept, plain = results
    assert kept.keys() == plain.keys()
    for name, grad in kept.items():
        assert torch.allclose(grad, plain[name], rtol=1e-3, atol=1e-5 * (1 + float(grad.abs().max()))), name


def test_an_update_between_two_rollouts_counts():
    model = randomised(make_model(context=2))
    obs, _, actions = inputs()
    with torch.inference_mode():
        state = model.encode(obs, history=history_for(model))
        before = model.rollout(state, actions).h
    with torch.no_grad():
        model.block.log_delta.add_(1.0)
        model.coda.log_delta.add_(1.0)
    with torch.inference_mode():
        after = model.rollout(state, actions).h
        model.block.log_delta.sub_(1.0)
        model.coda.log_delta.sub_(1.0)
        again = model.rollout(state, actions).h
    assert not torch.allclose(before, after, atol=1e-3) and torch.allclose(before, again, atol=1e-6)
