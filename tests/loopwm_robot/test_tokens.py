"""Tokens: which numbers belong together, and that encoder and decoders keep them apart."""

from __future__ import annotations

import pytest
import torch
from tiny_models import GROUPS, N_OBS

from loopwm_robot.models.tokens import TOKEN_SCHEMES, GroupedLinear, TokenDecoder, TokenEncoder, TokenLayout

D = 8


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter moves away from its start."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    return module


def test_schemes():
    assert TokenLayout.make(N_OBS, GROUPS, "single") == TokenLayout(("all",), (tuple(range(N_OBS)),))
    bodies = TokenLayout.make(N_OBS, GROUPS, "bodies")
    assert bodies.names == ("robot", "object") and bodies.columns == ((0, 1, 2, 3, 4, 5, 6), (7, 8))
    parts = TokenLayout.make(N_OBS, GROUPS, "parts")
    assert parts.names == tuple(GROUPS) and parts.columns == tuple(GROUPS.values())
    assert (parts.num, parts.width) == (4, 3)
    for scheme in TOKEN_SCHEMES:
        columns = TokenLayout.make(N_OBS, GROUPS, scheme).columns
        assert sorted(c for token in columns for c in token) == list(range(N_OBS))


@pytest.mark.parametrize(
    "groups, scheme, match",
    [
        (GROUPS, "pixels", r"model\.tokens is 'pixels', allowed single, bodies, parts"),
        (None, "parts", r"model\.tokens is 'parts' for observations whose groups are unknown"),
        ({}, "bodies", r"set model\.tokens=single"),
        ({"a": range(8)}, "parts", "each of the 9 columns of the observation exactly once"),
        ({"a": range(9), "b": [3]}, "parts", "exactly once"),
    ],
)
def test_bad_groups_are_refused(groups, scheme, match):
    with pytest.raises(ValueError, match=match):
        TokenLayout.make(N_OBS, groups, scheme)


@pytest.mark.parametrize("tokens, shared", [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("bias", [True, False])
def test_grouped_linear_is_a_linear_layer_for_each_token(tokens, shared, bias):
    layer = moved(GroupedLinear(tokens, 5, 4, bias=bias))
    x = torch.randn(2, 6, 1 if shared else tokens, 5)
    y = layer(x)
    assert y.shape == (2, 6, tokens, 4)
    for s in range(tokens):
        expected = x[..., 0 if shared else s, :] @ layer.weight[s] + (layer.bias[s] if bias else 0)
        assert torch.allclose(y[..., s, :], expected, atol=1e-6)
        if tokens > 1 and not shared:
            chosen = layer(x[..., [s], :], torch.tensor([s]))
            assert torch.allclose(chosen[..., 0, :], expected, atol=1e-6)
    assert torch.allclose(layer(x, outputs=slice(1, 3)), y[..., 1:3], atol=1e-6)


@pytest.mark.parametrize("scheme", TOKEN_SCHEMES)
def test_a_groups_numbers_reach_only_their_own_token(scheme):
    """The Jacobian of the encoder is block diagonal, and no block is empty."""
    layout = TokenLayout.make(N_OBS, GROUPS, scheme)
    encoder = moved(TokenEncoder(layout, D))
    jacobian = torch.autograd.functional.jacobian(encoder, torch.randn(N_OBS))  # (G, D, n_obs)
    for s, columns in enumerate(layout.columns):
        others = [c for c in range(N_OBS) if c not in columns]
        assert (jacobian[s][:, list(columns)].abs().sum(0) > 0).all() and (jacobian[s][:, others] == 0).all()


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("scheme", TOKEN_SCHEMES)
def test_a_group_is_read_from_its_own_token_only(scheme, extra):
    """Also beside further tokens such as the belief, which no number is read from."""
    layout = TokenLayout.make(N_OBS, GROUPS, scheme)
    decoder = moved(TokenDecoder(layout, D, 2 * D))
    jacobian = torch.autograd.functional.jacobian(decoder, torch.randn(layout.num + extra, D))  # (n_obs, S, D)
    for s in range(layout.num + extra):
        own = list(layout.columns[s]) if s < layout.num else []
        others = [c for c in range(N_OBS) if c not in own]
        assert (jacobian[own, s].abs().sum(-1) > 0).all() and (jacobian[others, s] == 0).all()


@pytest.mark.parametrize(
    "columns", [slice(0, 2), slice(3, 8), slice(7, 9), slice(8, 9), slice(-2, None), slice(1, 9, 3)], ids=str
)
@pytest.mark.parametrize("scheme", TOKEN_SCHEMES)
def test_decoding_some_columns_equals_decoding_all(scheme, columns):
    layout = TokenLayout.make(N_OBS, GROUPS, scheme)
    decoder = moved(TokenDecoder(layout, D, 2 * D))
    h = torch.randn(4, 3, layout.num + 1, D)
    assert torch.allclose(decoder(h, columns), decoder(h)[..., columns], atol=1e-6)


def test_columns_that_a_planner_decoded_first_can_be_trained_on():
    """What is remembered of a choice of columns in inference mode serves autograd, and another device too."""
    decoder = moved(TokenDecoder(TokenLayout.make(N_OBS, GROUPS, "parts"), D, D))
    h = torch.randn(2, 4, D)
    with torch.inference_mode():
        decoder(h, slice(2, 6))
    decoder(h.requires_grad_(), slice(2, 6)).sum().backward()
    assert h.grad is not None and (h.grad[:, 3] == 0).all() and (h.grad[:, :3] != 0).any()
    meta = decoder.to("meta")
    assert meta(torch.empty(2, 4, D, device="meta"), slice(2, 6)).shape == (2, 4)


def test_padding_of_small_groups_adds_nothing():
    """A token of two numbers in a layout of width three: its third weight is never used."""
    layout = TokenLayout.make(N_OBS, GROUPS, "parts")
    encoder, obs = moved(TokenEncoder(layout, D)), torch.randn(6, N_OBS)
    before = encoder(obs)
    with torch.no_grad():
        encoder.linear.weight[0, 2] += 100
        encoder.up.weight[0, 2] += 100
    assert torch.equal(encoder(obs), before)
