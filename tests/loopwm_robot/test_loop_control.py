"""Loop counts: sampling, truncated gradients, exits, compaction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loopwm_robot.models.loop_control import (
    Converged,
    FixedDepth,
    Gated,
    SecondOrder,
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
def test_every_rule_with_compaction_equals_each_sample_alone(rule):
    h, side = problem(32)
    out, info = rule.run(contract, h, side)
    assert info.num_loops.unique().numel() > 3
    for b in range(32):
        single, alone_info = rule.run(contract, h[b : b + 1], side.select(slice(b, b + 1)))
        assert torch.equal(out[b], single[0]) and info.num_loops[b] == alone_info.num_loops[0]
        assert info.stop_reason[b] == alone_info.stop_reason[0]


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedDepth(0),
        lambda: Converged(0.1, 0, 3),
        lambda: Converged(0.1, 4, 3),
        lambda: Converged(-1.0, 1, 3),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="allowed"):
        make()
