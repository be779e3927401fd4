"""The parts of the core: retention and gains, the three forms of a loop, attention, prelude."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from tiny_models import make_model, randomised

from loopwm_robot.models.block import (
    DAMPING,
    DECAY,
    DELTA,
    FORMS,
    GAINS,
    NORMS,
    Coda,
    RecurrentBlock,
    attention,
    rms_normalise,
)
from loopwm_robot.models.loop_control import FixedDepth, run_sampled

D = 8
STEPS = [1.0, 0.5, 1 / 24, 1 / 1024, 8.0, torch.tensor([1.0, 0.01, 8.0]).view(3, 1, 1)]


def make_block(
    form: str = "paper", gain: str = "zoh", norm: str = "hidden", seed: int = 0, d: int = D, tokens: int = 2
) -> RecurrentBlock:
    """A block whose every parameter has moved."""
    torch.manual_seed(seed)
    block = RecurrentBlock(tokens, d, 2, 2.0, form, gain, norm)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(torch.randn(p.shape) * 0.2)
        block.log_a.add_(3.0)  # forget within a few steps, so that retention counts
    return block


def without_residual(block: RecurrentBlock) -> RecurrentBlock:
    """R = 0."""
    with torch.no_grad():
        for p in (block.out.weight, block.down.weight, block.down.bias):
            p.zero_()
    return block


@pytest.mark.parametrize("step", STEPS, ids=lambda s: "per_sample" if isinstance(s, torch.Tensor) else f"{s:.3g}")
@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("extreme", [-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30])
def test_retention_stays_strictly_between_0_and_1(extreme, gain, step):
    """Adversarial parameters, alone, together and against each other; gain and step stay finite and above 0."""
    for names in ({"log_a": 1}, {"log_delta": 1}, {"log_a": 1, "log_delta": 1}, {"log_a": 1, "log_delta": -1}):
        block = RecurrentBlock(2, D, 2, 2.0, gain=gain)
        with torch.no_grad():
            for name, sign in names.items():
                getattr(block, name).fill_(sign * extreme)
        retention, weight, delta = block.discretise(step)
        assert (retention > 0).all() and (retention < 1).all()
        assert torch.isfinite(weight).all() and (weight > 0).all()
        assert torch.isfinite(delta).all() and (delta > 0).all()


@pytest.mark.parametrize("extreme", [-1e30, -100.0, 0.0, 100.0, 1e30])
def test_damping_stays_strictly_between_0_and_1(extreme):
    block = RecurrentBlock(2, D, 2, 2.0, "implicit")
    assert torch.allclose(block.damping, torch.tensor(DAMPING))
    with torch.no_grad():
        block.log_damping.fill_(extreme)
    assert (block.damping > 0).all() and (block.damping < 1).all()


def test_initial_retention_is_that_of_the_initial_step_and_decay():
    retention, _, delta = RecurrentBlock(2, D, 2, 1.0).discretise()
    assert torch.allclose(retention, torch.tensor(math.exp(-DELTA * DECAY)))
    assert torch.allclose(delta, torch.tensor(DELTA))


def test_euler_gain_is_delta():
    """Bbar = Delta B (eq 7), and Delta s over a loop of length s."""
    block = make_block(gain="euler")
    for step in (1.0, 0.25):
        retention, gain, delta = block.discretise(step)
        assert torch.allclose(gain, block.log_delta.exp() * step) and torch.allclose(delta, gain)
        assert torch.allclose(retention, torch.exp(-(block.log_delta + block.log_a).exp() * step))


def test_zero_order_hold_is_the_exact_solution_of_the_linear_part():
    """dh/dt = A h + B e held over Delta: compare with a fine midpoint integration in float64."""
    block = make_block(tokens=1).double()
    with torch.no_grad():
        block.log_a.uniform_(-1, 1)
        block.log_delta.uniform_(-2, 0)
    retention, gain, _ = block.discretise()
    a, delta, steps = -block.log_a.exp(), block.log_delta.exp(), 2000
    h = torch.full((1, D), 0.7, dtype=torch.float64)
    x = h.clone()
    for _ in range(steps):
        middle = x + delta / steps / 2 * (a * x + 1.3)
        x = x + delta / steps * (a * middle + 1.3)
    assert torch.allclose(retention * h + gain * 1.3, x, atol=1e-6)


@pytest.mark.parametrize("form, gain, norm", list(product(FORMS, GAINS, NORMS)))
def test_a_loop_is_the_equation_of_its_form(form, gain, norm):
    """Equation 5 and its two relatives with R spelt out; one step-consistent loop covers the whole step."""
    block = make_block(form, gain, norm)
    start, h, e = torch.randn(3, 2, D), torch.randn(3, 2, D), torch.randn(3, 2, D)
    drive = block.condition(start, e).for_depth(1)
    x = h + e
    attended = block.attend(block.norm_attention(x), drive)
    if norm == "sandwich":
        attended = block.gain_attention * rms_normalise(attended)
    x = x + attended
    silu = torch.nn.functional.silu
    fed = block.down(block.norm_mlp(silu(block.up(x))) if norm == "hidden" else silu(block.up(block.norm_mlp(x))))
    if norm == "sandwich":
        fed = block.gain_mlp * rms_normalise(fed)
    r = attended + fed
    kept, weight, delta = block.discretise()
    if form == "implicit":
        c = block.damping
        expected = c * h + (1 - c) * (kept * start + weight * block.b(e) + delta * r)
    else:
        expected = kept * h + weight * block.b(e) + delta * r
    assert torch.allclose(block(h, drive), expected, atol=1e-5)


def test_implicit_loops_converge_to_the_implicit_step():
    """h = Abar h- + Bbar B e + Delta R(h, e), whatever the damping, from wherever they start."""
    block = make_block("implicit").double()
    with torch.no_grad():
        block.out.weight.mul_(0.3)
        block.down.weight.mul_(0.3)
    start, e = torch.randn(3, 2, D).double(), torch.randn(3, 2, D).double()
    drive = block.condition(start, e)
    with torch.no_grad():
        h, _ = FixedDepth(200).run(block, start, drive)
        kept, weight, delta = block.discretise()
        assert torch.allclose(h, kept * start + weight * block.b(e) + delta * block.residual(h, drive), atol=1e-8)
        other, _ = FixedDepth(200).run(block, torch.zeros_like(start), drive)
        block.log_damping.fill_(-1.0)
        again, _ = FixedDepth(400).run(block, start, block.condition(start, e))
    assert torch.allclose(h, other, atol=1e-8) and torch.allclose(h, again, atol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_the_residual_is_bounded_whatever_the_state_is(norm):
    """A thousand times the state makes it no larger."""
    block = make_block(norm=norm)
    h, e = torch.randn(50, 2, D), torch.randn(50, 2, D)
    with torch.no_grad():
        sizes = [float(block.residual(scale * h, block.condition(h, e)).norm(dim=-1).max()) for scale in (1e3, 1e6)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_loop_keeps_the_state(form, norm):
    """R and B start at zero: only the slow initial decay is left."""
    torch.manual_seed(0)
    block = RecurrentBlock(2, D, 2, 2.0, form, norm=norm)
    h, e = torch.randn(3, 2, D), torch.randn(3, 2, D)
    assert torch.allclose(block(h, block.condition(h, e).for_depth(1)), h, atol=0.02)


@pytest.mark.parametrize("tokens", [1, 3])
def test_attention_is_softmax_attention_over_state_and_conditioning(tokens):
    """Including the closed form for one token, where the softmax over two keys is a sigmoid."""
    block = make_block(d=16, tokens=tokens)
    x, e = torch.randn(4, tokens, 16), torch.randn(4, tokens, 16)
    both = torch.cat([x, e], dim=1)
    _, k, v = block.query_key_value(both).chunk(3, dim=-1)
    q = block.query_key_value(x)[..., :16]
    heads = []
    for i in range(2):
        part = slice(8 * i, 8 * i + 8)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(8), dim=-1)
        heads.append(weights @ v[..., part])
    assert torch.allclose(block.attend(x, block.condition(x, e)), block.out(torch.cat(heads, -1)), atol=1e-5)


def test_attention_ignores_what_the_bias_masks():
    block = make_block(tokens=3)
    x, e, seen = torch.randn(2, 3, D), torch.randn(2, 3, D), torch.randn(2, 4, D)
    bias = torch.zeros(2, 1, 1, 4)
    bias[:, :, :, :2] = -1e9
    masked = block.attend(x, block.condition(x, e, seen, bias))
    assert torch.allclose(masked, block.attend(x, block.condition(x, e, seen[:, 2:])), atol=1e-6)


@pytest.mark.parametrize("loops", [1, 2, 3, 7, 24])
def test_step_consistent_loops_integrate_exactly(loops):
    """With R = 0 and a constant input, any number of loops gives the exact solution over the interval."""
    block = without_residual(make_block("step_consistent"))
    h, e = torch.randn(3, 2, D), torch.randn(3, 2, D)
    with torch.no_grad():
        got, _ = FixedDepth(loops).run(block, h, block.condition(h, e, duration=4.0))
        rate = (block.log_delta + block.log_a).exp() * 4
        expected = torch.exp(-rate) * h - torch.expm1(-rate) * torch.exp(-block.log_a) * block.b(e)
    assert torch.allclose(got, expected, atol=1e-5)


def test_step_consistent_loops_converge_with_depth():
    """With a small R the loops are a first-order integrator: twice the loops, half the error."""
    block = make_block("step_consistent").double()
    with torch.no_grad():
        block.out.weight.mul_(0.3)
        block.down.weight.mul_(0.3)
        h, e = torch.randn(3, 2, D).double(), torch.randn(3, 2, D).double()
        results = {t: FixedDepth(t).run(block, h, block.condition(h, e))[0] for t in (4, 8, 16, 512)}
    errors = [float((results[t] - results[512]).norm()) for t in (4, 8, 16)]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.35) and errors[1] / errors[2] == pytest.approx(2, abs=0.35)


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("m, loops", [(2, 1), (2, 3), (4, 2)])
def test_a_chunk_is_its_control_steps_in_turn(m, loops, gain):
    """m steps in m T loops under a constant drive are m times one step in T loops: the same integration."""
    block = make_block("step_consistent", gain)
    h, e = torch.randn(3, 2, D), torch.randn(3, 2, D)
    with torch.no_grad():
        per_loop = e.unsqueeze(1).expand(-1, m * loops, -1, -1)
        chunk, _ = FixedDepth(m * loops).run(block, h, block.condition(h, per_loop, duration=m))
        x = h
        for _ in range(m):
            x, _ = FixedDepth(loops).run(block, x, block.condition(x, e))
    assert torch.allclose(chunk, x, atol=1e-5)


def test_a_drive_that_changes_from_loop_to_loop_is_used_in_order():
    block = make_block("step_consistent")
    h, e = torch.randn(3, 2, D), torch.randn(3, 4, 2, D)
    with torch.no_grad():
        got, _ = FixedDepth(4).run(block, h, block.condition(h, e, duration=2.0))
        x = h
        for t in range(4):
            x = block(x, block.condition(x, e[:, t], duration=0.5).for_depth(1))
    assert torch.allclose(got, x, atol=1e-6)


@pytest.mark.parametrize("form, per_loop", [*((form, False) for form in FORMS), ("step_consistent", True)])
def test_depths_of_their_own_equal_each_sample_alone(form, per_loop):
    """One count for each sample; where the drive has one row per loop, those of a short sample stand last."""
    block = make_block(form)
    depths = torch.tensor([2, 5, 1, 3])
    h = torch.randn(4, 2, D)
    e = torch.randn(4, 5, 2, D) if per_loop else torch.randn(4, 2, D)
    with torch.no_grad():
        got = run_sampled(block, h, block.condition(h, e, duration=2.0), depths, 1)
        for b, depth in enumerate(depths.tolist()):
            own = e[b : b + 1, 5 - depth :] if per_loop else e[b : b + 1]
            alone, _ = FixedDepth(depth).run(block, h[b : b + 1], block.condition(h[b : b + 1], own, duration=2.0))
            assert torch.allclose(got[b], alone[0], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_selecting_samples_commutes_with_the_loop(form):
    block = make_block(form)
    h, e, seen = torch.randn(5, 2, D), torch.randn(5, 2, D), torch.randn(5, 3, D)
    bias = torch.randn(5, 1, 1, 3)
    rows = torch.tensor([3, 0, 4])
    drive = block.condition(torch.randn(5, 2, D), e, seen, bias).for_depth(torch.tensor([1, 2, 3, 4, 5]))
    assert torch.allclose(block(h, drive)[rows], block(h[rows], drive.select(rows)), atol=1e-6)


@pytest.mark.parametrize("tokens", ["single", "parts"])
def test_prelude_is_layer_norm_of_the_projected_concatenation(tokens):
    """P [h; e; u] with the columns of h and e shared by all tokens, and those of u one set for each token."""
    prelude = randomised(make_model(tokens=tokens)).prelude
    count = 1 if tokens == "single" else 4
    h, u, e = torch.randn(3, count, 16), torch.randn(3, 16), torch.randn(3, count, 16)
    for s in range(count):
        p = torch.cat([prelude.from_state.weight, prelude.from_observation.weight, prelude.from_action.weight[s].T], 1)
        joined = torch.cat([h[:, s], e[:, s], u], dim=-1)
        expected = prelude.norm(joined @ p.T + prelude.token_bias[s])
        assert torch.allclose(prelude(h, u, e)[:, s], expected, atol=1e-5)
    assert torch.allclose(prelude(h, u, None), prelude(h, u, torch.zeros_like(e)), atol=1e-6)
    per_loop = torch.stack([u, u + 1], 1)
    assert torch.allclose(prelude(h, per_loop, e)[:, 1], prelude(h, u + 1, e), atol=1e-6)


def test_only_memory_is_normalised():
    """Channels of observed numbers stay; the rest of each token gets unit root mean square."""
    memory = torch.tensor([[0.0, 0, 1, 1, 1, 1, 1, 1], [1.0] * 8, [0.0] * 8])
    h = torch.randn(4, 3, 8) * 50
    coda = Coda(1 - memory, 2.0)
    out = coda.normalise(h)
    assert torch.equal(out[:, 0, :2], h[:, 0, :2]) and torch.equal(out[:, 2], h[:, 2])
    assert torch.allclose(out[:, 0, 2:].square().mean(-1), torch.ones(4), atol=1e-4)
    assert torch.allclose(out[:, 1], rms_normalise(h[:, 1]), atol=1e-4)
    assert torch.isfinite(coda.normalise(torch.zeros(1, 3, 8))).all()


def test_rms_normalise():
    h = torch.randn(3, 2, 8) * 50
    assert torch.allclose(rms_normalise(h), h / h.square().mean(-1, keepdim=True).sqrt(), atol=1e-5)
    assert torch.isfinite(rms_normalise(torch.zeros(1, 1, 8))).all()


@pytest.mark.parametrize(
    "change, match",
    [
        ({"heads": 3}, r"latent_dim is 8, allowed multiples of model\.heads = 3"),
        ({"form": "magic"}, r"model\.form is 'magic', allowed paper, implicit, step_consistent"),
        ({"gain": "rk4"}, r"model\.gain is 'rk4', allowed zoh, euler"),
        ({"norm": "post"}, r"model\.norm is 'post', allowed hidden, pre, sandwich"),
    ],
)
def test_unknown_settings_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        RecurrentBlock(**{"tokens": 2, "d": D, "heads": 2, "mlp_ratio": 2.0, **change})


@pytest.mark.parametrize("queries, keys, masked", [(1, 2, 0), (2, 4, 0), (2, 22, 20), (7, 14, 0), (8, 16, 3)])
def test_attention_of_few_tokens_equals_the_fused_kernel(queries, keys, masked):
    """Forwards and backwards; the largest two go through the fused kernel themselves."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(5, n, 16, generator=generator, requires_grad=True) for n in (queries, keys, keys))
    bias = torch.where(torch.rand(5, 1, 1, masked, generator=generator) < 0.5, -1e9, 0.0) if masked else None
    full = None if bias is None else torch.nn.functional.pad(bias, (keys - masked, 0))
    split = [x.view(5, -1, 4, 4).transpose(1, 2) for x in (q, k, v)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*split, attn_mask=full).transpose(1, 2).flatten(2)
    found = attention(q, k, v, 4, bias)
    assert torch.allclose(found, wanted, atol=1e-6)
    weight = torch.randn(found.shape, generator=generator)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((wanted * weight).sum(), (q, k, v)),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)
