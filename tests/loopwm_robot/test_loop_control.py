"""Loop counts: sampling, truncated gradients, exits, compaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from loopwm_robot.models.loop_control import (
    DEPTHS,
    Converged,
    Doubling,
    FixedDepth,
    Gated,
    SecondOrder,
    relative_size,
    run_sampled,
    sample_depths,
)
from loopwm_robot.types import StopReason


class Rates:
    """Per-sample contraction rates as side input of the loop."""

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate

    def select(self, rows):
        return Rates(self.rate[rows])

    def for_depth(self, loops):
        return self

    def at(self, remaining):
        return self


class Decay(Rates):
    """dh/dt = -rate h over unit time, by implicit Euler steps of length 1 / T: a step-consistent loop."""

    def __init__(self, rate: Tensor, step: Tensor | float = 1.0) -> None:
        super().__init__(rate)
        self.step = step

    def select(self, rows):
        return Decay(self.rate[rows], self.step[rows] if isinstance(self.step, Tensor) else self.step)

    def for_depth(self, loops):
        return Decay(self.rate, 1 / loops.view(-1, 1, 1) if isinstance(loops, Tensor) else 1 / loops)


def decay(h: Tensor, side: Decay) -> Tensor:
    """One step of `Decay`."""
    return h / (1 + side.rate * side.step)


def contract(h: Tensor, side: Rates) -> Tensor:
    """h -> rate * h + (1 - rate): converges to 1 at the sample's own rate."""
    return side.rate * h + (1 - side.rate)


def problem(batch: int = 7) -> tuple[Tensor, Rates]:
    h = torch.randn(batch, 2, 3, generator=torch.Generator().manual_seed(0))
    return h, Rates(torch.linspace(0.05, 0.95, batch).view(-1, 1, 1))


def alone(h: Tensor, side: Rates, depths: list[int]) -> Tensor:
    rows = []
    for b, depth in enumerate(depths):
        x, part = h[b : b + 1], side.select(slice(b, b + 1))
        for _ in range(depth):
            x = contract(x, part)
        rows.append(x)
    return torch.cat(rows)


def test_depths_are_poisson_truncated_per_sequence():
    depths = sample_depths(20_000, 3.0, 6, torch.Generator().manual_seed(0)).double()
    assert depths.min() == 1 and depths.max() == 6
    poisson = torch.distributions.Poisson(3.0)
    for t in (2, 3, 4, 5):  # the truncation only moves mass to the ends
        assert (depths == t).double().mean() == pytest.approx(poisson.log_prob(torch.tensor(t)).exp().item(), abs=0.012)


def test_lognormal_poisson_has_the_mean_and_a_longer_tail():
    plain, long = (
        sample_depths(40_000, 6.0, 1000, torch.Generator().manual_seed(0), kind).double()
        for kind in ("poisson", "lognormal_poisson")
    )
    assert long.mean() == pytest.approx(6.0, abs=0.1) and long.min() == 1
    assert long.var() == pytest.approx(6 + 36 * (torch.e**0.25 - 1), rel=0.06) and long.var() > 2 * plain.var()


def test_fixed_depth_is_the_rounded_mean_within_the_limits():
    for mean, cap, expected in ((3.4, 9, 3), (0.2, 9, 1), (20.0, 9, 9)):
        assert sample_depths(4, mean, cap, torch.Generator(), "fixed").tolist() == [expected] * 4


@pytest.mark.parametrize("kind", DEPTHS)
def test_drawn_depths_are_seeded_and_inside_the_limits(kind):
    a, b = (sample_depths(500, 3.0, 5, torch.Generator().manual_seed(7), kind) for _ in range(2))
    assert torch.equal(a, b) and a.dtype == torch.int64 and a.min() >= 1 and a.max() <= 5


def test_unknown_depths_are_refused():
    with pytest.raises(ValueError, match=r"model\.depth is 'uniform', allowed poisson, lognormal_poisson, fixed"):
        sample_depths(4, 3.0, 5, torch.Generator(), "uniform")


def test_sampled_depth_equals_running_each_sequence_alone():
    h, side = problem()
    depths = torch.tensor([3, 1, 5, 2, 2, 7, 1])
    assert torch.allclose(run_sampled(contract, h, side, depths, grad_loops=2), alone(h, side, depths.tolist()))


@pytest.mark.parametrize("grad_loops", [1, 2, 3])
def test_gradient_reaches_exactly_the_last_loops(grad_loops):
    """d h(T) / d rate through the last k loops only, compared with a hand-made detached rollout."""
    h, side = problem()
    depths = torch.tensor([3, 1, 5, 2, 2, 7, 1])
    side.rate.requires_grad_(True)
    (got,) = torch.autograd.grad(run_sampled(contract, h, side, depths, grad_loops).sum(), side.rate)
    expected = []
    for b, depth in enumerate(depths.tolist()):
        rate = side.rate[b].detach().clone().requires_grad_(True)
        x = h[b]
        for _ in range(max(0, depth - grad_loops)):
            x = (rate * x + (1 - rate)).detach()
        for _ in range(min(depth, grad_loops)):
            x = rate * x + (1 - rate)
        expected.append(torch.autograd.grad(x.sum(), rate)[0])
    assert torch.allclose(got, torch.stack(expected), atol=1e-6)


def test_state_gradient_is_cut_for_deep_sequences_only():
    h, side = problem(3)
    h.requires_grad_(True)
    out = run_sampled(contract, h, side, torch.tensor([1, 2, 4]), grad_loops=2)
    (grad,) = torch.autograd.grad(out.sum(), h)
    assert (grad[0] != 0).all() and (grad[1] != 0).all() and (grad[2] == 0).all()


def test_no_grad_is_respected():
    h, side = problem()
    side.rate.requires_grad_(True)
    with torch.no_grad():
        assert not run_sampled(contract, h, side, torch.full((7,), 2), 2).requires_grad


def test_huge_threshold_gives_the_minimum_and_tiny_gives_the_cap():
    h, side = problem()
    _, info = Converged(float("inf"), min_loops=2, max_loops=9).run(contract, h, side)
    assert info.num_loops.tolist() == [2] * 7 and (info.stop_reason == StopReason.CONVERGED).all()
    _, info = Converged(0.0, min_loops=2, max_loops=9).run(contract, h, side)
    assert info.num_loops.tolist() == [9] * 7 and (info.stop_reason == StopReason.CAP).all()


def test_early_exit_equals_fixed_depth_at_that_depth_bit_for_bit():
    """With compaction: every sample that stopped after n loops holds exactly the state of n loops."""
    h, side = problem(32)
    out, info = Converged(0.02, min_loops=1, max_loops=40).run(contract, h, side)
    assert info.num_loops.unique().numel() > 3  # samples really left at different depths
    for n in info.num_loops.unique().tolist():
        fixed, _ = FixedDepth(n).run(contract, h, side)
        chosen = info.num_loops == n
        assert torch.equal(out[chosen], fixed[chosen])


def test_finished_samples_leave_the_batch():
    seen = []

    def counting(h: Tensor, side: Rates) -> Tensor:
        seen.append(len(h))
        return contract(h, side)

    h, side = problem(32)
    _, info = Converged(0.02, 1, 40).run(counting, h, side)
    assert sum(seen) == int(info.num_loops.sum()) and seen[-1] < 32


def test_converged_reports_its_residual():
    h, side = problem()
    _, info = Converged(0.02, 1, 40).run(contract, h, side)
    stopped = info.stop_reason == StopReason.CONVERGED
    assert stopped.any() and (info.residual[stopped] < 0.02).all()


def test_non_finite_samples_stop_at_once_and_are_named():
    h, side = problem(4)
    h[1] = torch.nan
    out, info = Converged(0.01, min_loops=3, max_loops=20).run(contract, h, side)
    assert info.stop_reason[1] == StopReason.NONFINITE and info.num_loops[1] == 1 and out[1].isnan().all()
    good = torch.tensor([0, 2, 3])
    alone_out, alone_info = Converged(0.01, 3, 20).run(contract, h[good], side.select(good))
    assert torch.equal(out[good], alone_out) and torch.equal(info.num_loops[good], alone_info.num_loops)


RULES = [Converged(0.02, 1, 40), SecondOrder(0.02, 1, 40), Gated(0.5, 1, 40, lambda h: h.mean(dim=(1, 2)) - 0.9)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_equals_fixed_depth_where_it_stopped_and_ignores_the_order(rule):
    h, side = problem(32)
    out, info = rule.run(contract, h, side)
    for n in info.num_loops.unique().tolist():
        chosen = info.num_loops == n
        assert torch.equal(out[chosen], FixedDepth(n).run(contract, h, side)[0][chosen])
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    mixed, mixed_info = rule.run(contract, h[order], side.select(order))
    assert torch.equal(mixed, out[order]) and torch.equal(mixed_info.num_loops, info.num_loops[order])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_with_compaction_equals_each_sample_alone(rule):
    h, side = problem(32)
    out, info = rule.run(contract, h, side)
    assert info.num_loops.unique().numel() > 3
    for b in range(32):
        single, alone_info = rule.run(contract, h[b : b + 1], side.select(slice(b, b + 1)))
        assert torch.equal(out[b], single[0]) and info.num_loops[b] == alone_info.num_loops[0]
        assert info.stop_reason[b] == alone_info.stop_reason[0]


@pytest.mark.parametrize("min_loops", [1, 3])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_fixed_shapes_give_the_same_result_as_compaction(rule, min_loops):
    """Including a sample that diverges: states bit for bit, loops, residuals and reasons."""
    h, side = problem(9)
    side.rate[4] = torch.nan
    rule = replace(rule, min_loops=min_loops)
    expected, info = rule.run(contract, h, side)
    held, fixed = replace(rule, compaction=False).run(contract, h, side)
    assert torch.equal(held.nan_to_num(), expected.nan_to_num()) and torch.isnan(held[4]).all()
    assert torch.equal(fixed.num_loops, info.num_loops) and torch.equal(fixed.stop_reason, info.stop_reason)
    assert torch.equal(fixed.residual.nan_to_num(), info.residual.nan_to_num())
    assert len(set(info.num_loops.tolist())) > 2  # they do differ


def test_without_compaction_the_loop_always_sees_the_whole_batch():
    h, side = problem()
    seen: list[int] = []

    def loop(h: Tensor, side: Rates) -> Tensor:
        seen.append(len(h))
        return contract(h, side)

    Converged(0.1, 1, 6, compaction=False).run(loop, h, side)
    assert seen == [len(h)] * 6


def test_second_order_difference_is_the_one_of_the_definition():
    """Stop at the first t >= 2 with |h(t) - 2 h(t-1) + h(t-2)| below the threshold times |h(t)|."""
    h, side = problem(1)
    states = [h]
    while len(states) < 30:
        states.append(contract(states[-1], side))

    def small(t: int) -> bool:
        return bool((states[t] - 2 * states[t - 1] + states[t - 2]).norm() < 0.001 * states[t].norm())

    expected = next(t for t in range(2, 30) if small(t))
    _, info = SecondOrder(0.001, 1, 29).run(contract, h, side)
    assert info.num_loops.item() == expected


def test_the_gate_opens_above_its_threshold():
    h, side = problem(4)
    _, info = Gated(0.5, 2, 9, lambda h: torch.full((len(h),), 1.0)).run(contract, h, side)
    assert info.num_loops.tolist() == [2] * 4
    _, info = Gated(0.5, 2, 9, lambda h: torch.full((len(h),), -1.0)).run(contract, h, side)
    assert info.num_loops.tolist() == [9] * 4 and (info.stop_reason == StopReason.CAP).all()


def test_equality_with_the_threshold_does_not_open_the_gate():
    """A gate that was never trained says 0.5 everywhere."""
    h, side = problem(4)
    _, info = Gated(0.5, 1, 9, lambda h: torch.zeros(len(h))).run(contract, h, side)
    assert info.num_loops.tolist() == [9] * 4


def decay_problem(batch: int = 16) -> tuple[Tensor, Decay]:
    h = torch.randn(batch, 2, 3, generator=torch.Generator().manual_seed(0))
    return h, Decay(torch.logspace(-3, 1, batch).view(-1, 1, 1))


@pytest.mark.parametrize("cap", [1, 2, 7, 8, 31])
def test_doubling_tries_powers_of_two_up_to_its_cap(cap):
    """A threshold of zero is never met: depths 1, 2, 4, ... are all done and counted, and the deepest is the result."""
    h, side = decay_problem()
    out, info = Doubling(0.0, cap).run(decay, h, side)
    tried = [2**i for i in range(10) if 2**i <= cap]
    assert info.num_loops.tolist() == [sum(tried)] * 16 and (info.stop_reason == StopReason.CAP).all()
    assert torch.equal(out, FixedDepth(tried[-1]).run(decay, h, side)[0])


def test_doubling_with_a_huge_threshold_stops_at_the_first_comparison():
    h, side = decay_problem()
    out, info = Doubling(float("inf"), 64).run(decay, h, side)
    assert info.num_loops.tolist() == [3] * 16 and (info.stop_reason == StopReason.CONVERGED).all()
    assert torch.equal(out, FixedDepth(2).run(decay, h, side)[0])


def test_doubling_stops_at_the_first_agreement_of_two_depths():
    h, side = decay_problem()
    out, info = Doubling(0.01, 256).run(decay, h, side)
    results = {2**i: FixedDepth(2**i).run(decay, h, side)[0] for i in range(9)}
    expected = []
    for b in range(16):
        for depth in (2**i for i in range(1, 9)):
            finer, coarser = results[depth][b : b + 1], results[depth // 2][b : b + 1]
            if float(relative_size(finer - coarser, finer)) < 0.01:
                break
        expected.append(2 * depth - 1)  # 1 + 2 + ... + depth
        assert torch.equal(out[b : b + 1], finer)
    assert info.num_loops.tolist() == expected and len(set(expected)) > 3
    assert torch.equal(info.residual < 0.01, info.stop_reason == StopReason.CONVERGED)


def test_doubling_estimates_the_error_that_is_left():
    """Where it stopped, the true error is about the last difference, since the method is of first order."""
    h, side = decay_problem()
    out, info = Doubling(0.01, 256).run(decay, h, side)
    truth = h * torch.exp(-side.rate)
    error = relative_size(out - truth, out)
    stopped = (info.residual > 1e-5) & (info.stop_reason == StopReason.CONVERGED)  # slower ones are exact in float32
    assert stopped.sum() >= 8 and (error[stopped] < 2 * info.residual[stopped]).all()


def test_doubling_drops_non_finite_samples_at_once():
    h, side = decay_problem(4)
    h[1] = torch.inf
    out, info = Doubling(1e-4, 64).run(decay, h, side)
    assert info.stop_reason[1] == StopReason.NONFINITE and info.num_loops[1] == 3
    good = torch.tensor([0, 2, 3])
    alone_out, alone_info = Doubling(1e-4, 64).run(decay, h[good], side.select(good))
    assert torch.equal(out[good], alone_out) and torch.equal(info.num_loops[good], alone_info.num_loops)


def test_sampled_depths_prepare_the_drive_for_each_sample():
    """run_sampled hands every sample the step of its own depth."""
    h, side = decay_problem(5)
    depths = torch.tensor([2, 7, 1, 3, 4])
    got = run_sampled(decay, h, side, depths, 1)
    for b, depth in enumerate(depths.tolist()):
        row = slice(b, b + 1)
        assert torch.allclose(got[row], FixedDepth(depth).run(decay, h[row], side.select(row))[0], atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Doubling(0.1, 0),
        lambda: Doubling(-0.1, 4),
        lambda: Converged(float("nan"), 1, 3),
        lambda: FixedDepth(0),
        lambda: Converged(0.1, 0, 3),
        lambda: Converged(0.1, 4, 3),
        lambda: Converged(-1.0, 1, 3),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="allowed"):
        make()
