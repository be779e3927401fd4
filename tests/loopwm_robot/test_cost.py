"""Cost of a model: parameters and operations of a transition."""

from __future__ import annotations

import pytest
import torch

from loopwm_robot.models.cost import parameters, transition_flops
from loopwm_robot.models.latent_mlp import LatentMLP, LatentMLPConfig
from loopwm_robot.models.loop_control import Converged
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.untied import UntiedStack

D, N, NU = 16, 11, 3
GROUPS = {"robot": tuple(range(8)), "object": (8, 9, 10)}


def make(kind: type[LoopWM] = LoopWM, tokens: str = "single", **core: object) -> LoopWM:
    torch.manual_seed(0)
    return kind(N, NU, 0, 0.05, Core(latent_dim=D, heads=2, **core), groups=GROUPS, tokens=tokens)  # type: ignore[arg-type]


def test_parameters_are_all_trained_numbers() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    assert parameters(layer) == 3 * 5 + 5 + 2 * 5  # no running statistics


def test_each_loop_costs_its_matrix_products() -> None:
    model = make(mean_loops=3)
    one, two, four = (transition_flops(model, loops) for loops in (1, 2, 4))
    block = 2 * (3 * D * D + D * D + 2 * D * 2 * D)  # query, key and value; output; feed-forward layer of width 2 d
    assert two - one == block
    assert four - one == 3 * block
    assert transition_flops(model) == one + 2 * block  # the mean depth


def test_attention_among_tokens_counts() -> None:
    model = make(tokens="bodies")
    layers = 2 * 2 * (3 * D * D + D * D + 2 * D * 2 * D)
    attention = 2 * 2 * (2 * 4 * D)  # scores and mixtures of 2 tokens over 2 + 2
    assert transition_flops(model, 2) - transition_flops(model, 1) == layers + attention


def test_decoding_adds_the_read_out() -> None:
    model = LatentMLP(N, NU, 0, 0.05, LatentMLPConfig(latent_dim=D, hidden=24, layers=1))
    assert transition_flops(model, decode=True) - transition_flops(model) == 2 * (D * 24 + 24 * N)
    assert transition_flops(model, loops=3) == transition_flops(model) == 2 * ((D + NU) * 24 + 24 * D)


def test_an_untied_stack_has_the_cost_of_its_blocks() -> None:
    looped, stack = make(mean_loops=4), make(UntiedStack, mean_loops=4)
    assert parameters(stack) > parameters(looped)
    assert transition_flops(stack, loops=1) == transition_flops(stack) > transition_flops(looped)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = make()
    rule = model.exit_rule = Converged(0.1, 1, 4)
    transition_flops(model)
    assert model.exit_rule is rule
    with pytest.raises(ValueError, match=r"loops are limited to 1..0"):
        transition_flops(model, 0)
    assert model.exit_rule is rule
