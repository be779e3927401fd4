"""How deep a transition of LoopWM is thought through: training depths, exits, chunks, truncated gradients."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import VARIANTS, history_for, inputs, make_history, make_model, make_variant, randomised
from torch import Tensor

from loopwm_robot.models.build import make_exit_rule
from loopwm_robot.models.chunks import loop_shares
from loopwm_robot.models.loop_control import Converged, Doubling, ExitRule, FixedDepth, Gated, SecondOrder
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.models.tokens import TOKEN_SCHEMES
from loopwm_robot.types import History, LatentState, StopReason

PLAIN = [v for v in VARIANTS if v.form != "step_consistent"]


@torch.no_grad()
def rules(model: LoopWM, state: LatentState, action: Tensor) -> list[ExitRule]:
    """Exit rules that stop on their own, at which some of the samples stop within three loops, others later."""
    inner, _ = model.depths(state, action, 3)
    h = torch.cat([state.h[:, None], inner], 1).flatten(2)  # (B, 4, S d)
    if model.core.form == "step_consistent":
        return [Doubling(_gap((h[:, 2] - h[:, 1]).norm(dim=-1) / h[:, 2].norm(dim=-1)), 16)]
    size, change = h.norm(dim=-1), h.diff(dim=1)
    first = (change.norm(dim=-1) / size[:, 1:]).amin(1)
    second = (change.diff(dim=1).norm(dim=-1) / size[:, 2:]).amin(1)
    gate = torch.stack([torch.sigmoid(model.gate_logit(inner[:, t])) for t in range(3)], 1).amax(1)
    return [Converged(_gap(first), 1, 12), SecondOrder(_gap(second), 1, 12), Gated(_gap(gate), 1, 12, model.gate_logit)]


def _gap(values: Tensor) -> float:
    """The middle of the widest gap in the inner half of some numbers: rounding decides nothing there."""
    inner = values.sort().values[len(values) // 4 : -(len(values) // 4)]
    widest = inner.diff().argmax()
    return float(inner[widest : widest + 2].mean())


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_training_depths_equal_fixed_depth_one_by_one(v):
    """In the context's refinement and in the transition."""
    model = make_variant(v)
    obs, goal, actions = inputs()
    past, depths = history_for(model), torch.tensor([1, 4, 2, 6, 3])
    mixed, info = model.step(model.encode(obs, goal, past, depths), actions[:, 0], depths=depths)
    assert torch.equal(info.num_loops, depths)
    for b, depth in enumerate(depths.tolist()):
        model.exit_rule, row = FixedDepth(depth), slice(b, b + 1)
        own = None if past is None else History(past.obs[row], past.action[row], past.mask[row])
        single, _ = model.step(model.encode(obs[row], history=own), actions[row, 0])
        assert torch.allclose(mixed.h[b], single.h[0], atol=1e-5)


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_depths_are_the_fixed_depths(v):
    model = make_variant(v)
    obs, _, actions = inputs()
    state = model.encode(obs, history=history_for(model))
    _, outer = model.depths(state, actions[:, 0], 5)
    for depth in range(1, 6):
        model.exit_rule = FixedDepth(depth)
        assert torch.allclose(model.step(state, actions[:, 0])[0].h, outer[:, depth - 1], atol=1e-6)


@pytest.mark.parametrize("index", range(3), ids=["converged", "second_order", "gate"])
@pytest.mark.parametrize("v", PLAIN, ids=str)
def test_early_exit_equals_fixed_depth(v, index):
    """Alone bit for bit; in a batch that shrinks as samples leave, up to the rounding of products of another size."""
    model = make_variant(v)
    obs, _, actions = inputs(32)
    state = model.encode(obs, history=make_history(32, v.context) if v.context else None)
    rule = rules(model, state, actions[:, 0])[index]

    def step(rule, rows):
        model.exit_rule = rule
        after, info = model.step(LatentState(state.h[rows]), actions[rows, 0])
        return after.h, info

    out, info = step(rule, slice(None))
    assert info.num_loops.unique().numel() > 1
    for n in info.num_loops.unique().tolist():
        chosen = info.num_loops == n
        assert torch.allclose(out[chosen], step(FixedDepth(n), slice(None))[0][chosen], atol=1e-5)
    for b in range(8):
        row = slice(b, b + 1)
        alone, alone_info = step(rule, row)
        assert alone_info.num_loops[0] == info.num_loops[b] and torch.allclose(alone[0], out[b], atol=1e-5)
        assert torch.equal(alone, step(FixedDepth(int(alone_info.num_loops)), row)[0])


@pytest.mark.parametrize("v", [v for v in VARIANTS if v.form == "step_consistent"], ids=str)
def test_doubling_equals_the_fixed_depth_that_it_took(v):
    model = make_variant(v)
    obs, _, actions = inputs(32)
    state = model.encode(obs, history=make_history(32, v.context) if v.context else None)
    _, outer = model.depths(state, actions[:, 0], 16)
    model.exit_rule = rules(model, state, actions[:, 0])[0]
    after, info = model.step(state, actions[:, 0])
    assert info.num_loops.unique().numel() > 1 and set(info.num_loops.tolist()) <= {3, 7, 15, 31}
    for b, total in enumerate(info.num_loops.tolist()):
        assert torch.allclose(after.h[b], outer[b, (total + 1) // 2 - 1], atol=1e-5)


@pytest.mark.parametrize("v", PLAIN, ids=str)
def test_thresholds_without_bound_give_minimum_and_cap(v):
    model = make_variant(v)
    obs, _, actions = inputs()
    never, always = (lambda h: torch.full((len(h),), -50.0)), (lambda h: torch.full((len(h),), 50.0))
    for loose, tight in (
        (Converged(1e9, 2, 9), Converged(0.0, 2, 9)),
        (SecondOrder(1e9, 2, 9), SecondOrder(0.0, 2, 9)),
        (Gated(0.5, 2, 9, always), Gated(0.5, 2, 9, never)),
    ):
        for rule, count, reason in ((loose, 2, StopReason.CONVERGED), (tight, 9, StopReason.CAP)):
            model.exit_rule = FixedDepth(2)
            state = model.encode(obs, history=history_for(model))
            model.exit_rule = rule
            _, info = model.step(state, actions[:, 0])
            assert info.num_loops.tolist() == [count] * 5 and (info.stop_reason == reason).all()


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_batch_order_does_not_matter(v):
    model = make_variant(v)
    obs, goal, actions = inputs(16)
    past = make_history(16, v.context) if v.context else None
    model.exit_rule = rules(model, model.encode(obs, history=past), actions[:, 0])[0]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    mixed = None if past is None else History(past.obs[order], past.action[order], past.mask[order])
    a = model.rollout(model.encode(obs, goal, past), actions)
    b = model.rollout(model.encode(obs[order], goal[order], mixed), actions[order])
    assert torch.allclose(a.h[order], b.h, atol=1e-5)
    assert torch.equal(a.loops[order], b.loops) and a.loops.unique().numel() > 1


@pytest.mark.parametrize("v", VARIANTS, ids=str)
def test_gradient_reaches_exactly_the_last_loops(v):
    """Through the block of loop t: none before the last k = ceil(mu / 2) loops, some in each of those."""
    model = make_variant(v, mean_loops=3.0)
    assert model.grad_loops == 2
    obs, _, actions = inputs()
    depths = torch.tensor([1, 4, 2, 6, 3])
    state = model.encode(obs, history=history_for(model))
    counted: list[tuple[int, bool]] = []
    forward = model.block.forward

    def spy(h, drive):
        out = forward(h, drive)
        counted.append((len(h), out.requires_grad))
        return out

    model.block.forward = spy
    after, _ = model.step(LatentState(state.h.detach()), actions[:, 0], depths=depths)
    assert [n for n, _ in counted] == [1, 1, 2, 3, 4, 5]  # all end together
    assert [grad for _, grad in counted] == [False] * 4 + [True] * 2
    model.block.forward = forward
    moved = after.h[:, : model.layout.num]  # the belief stays
    (got,) = torch.autograd.grad(moved.square().mean() + moved.sum(), model.block.up.weight)
    reference = 0
    for b, depth in enumerate(depths.tolist()):
        row, h = slice(b, b + 1), state.h[b : b + 1].detach()
        e = model.prelude(h, model.action_embedder(actions[row, 0]), None)
        drive = model.block.condition(h, e).for_depth(depth)
        for t in range(depth):
            with torch.set_grad_enabled(t >= depth - 2):
                h = model.block(h, drive)
        out = model.coda(h)[:, : model.layout.num]
        loss = out.square().sum() / moved.numel() + out.sum()
        reference = reference + torch.autograd.grad(loss, model.block.up.weight)[0]
    assert torch.allclose(got, reference, atol=1e-4, rtol=1e-4) and (got != 0).any()


@pytest.mark.parametrize("mean, grad_loops", [(1.0, 1), (2.0, 1), (3.0, 2), (4.0, 2), (4.5, 3), (8.0, 4)])
def test_gradients_are_truncated_to_half_the_mean(mean, grad_loops):
    assert make_model(mean_loops=mean).grad_loops == grad_loops


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("loops", [1, 2, 3, 5, 8, 16])
def test_loop_shares_cover_the_chunk(loops, steps):
    """Rows are weights that sum to 1; together every action gets its share; each loop sees only its own interval."""
    shares = loop_shares(loops, steps)
    assert shares.shape == (loops, steps) and (shares >= 0).all()
    assert torch.allclose(shares.sum(1), torch.ones(loops)) and torch.allclose(
        shares.sum(0) * steps / loops, torch.ones(steps), atol=1e-6
    )
    for t in range(loops):
        first, last = math.floor(t * steps / loops + 1e-9), math.ceil((t + 1) * steps / loops - 1e-9)
        assert (shares[t, :first] == 0).all() and (shares[t, last:] == 0).all()


def test_loop_shares_of_different_depths_stand_at_the_end():
    shares = loop_shares(torch.tensor([2, 5, 1]), 4)
    assert shares.shape == (3, 5, 4)
    for b, loops in enumerate((2, 5, 1)):
        assert torch.equal(shares[b, 5 - loops :], loop_shares(loops, 4)) and (shares[b, : 5 - loops] == 0).all()


def test_loop_shares_that_inference_saw_first_serve_gradients():
    with torch.inference_mode():
        loop_shares(7, 5)
    action = torch.ones(5, requires_grad=True)
    (loop_shares(7, 5) @ action).sum().backward()
    assert action.grad is not None and torch.allclose(action.grad.sum(), torch.tensor(7.0))


@pytest.mark.parametrize("tokens", TOKEN_SCHEMES)
def test_chunks_with_depths_of_their_own_equal_each_alone(tokens):
    model = randomised(make_model(form="step_consistent", tokens=tokens))
    obs, _, actions = inputs(horizon=4)
    depths = torch.tensor([1, 4, 2, 6, 3])
    mixed, _ = model.step(model.encode(obs), actions, depths=depths)
    for b, depth in enumerate(depths.tolist()):
        model.exit_rule = FixedDepth(depth)
        alone, _ = model.step(model.encode(obs[b : b + 1]), actions[b : b + 1])
        assert torch.allclose(mixed.h[b], alone.h[0], atol=1e-5)


def test_a_chunk_of_one_is_a_plain_step():
    model = randomised(make_model(form="step_consistent", tokens="parts"))
    obs, _, actions = inputs()
    state = model.encode(obs)
    assert torch.allclose(model.step(state, actions[:, :1])[0].h, model.step(state, actions[:, 0])[0].h, atol=1e-6)


def test_the_order_of_the_actions_in_a_chunk_matters_from_two_loops_on():
    model = randomised(make_model(form="step_consistent"))
    obs, _, actions = inputs(horizon=4)
    for loops, same in ((1, True), (4, False)):
        model.exit_rule = FixedDepth(loops)
        a, b = (model.step(model.encode(obs), x)[0].h for x in (actions, actions.flip(1)))
        assert torch.allclose(a, b, atol=1e-5) is same  # one loop sees only the mean action


def test_rollouts_in_chunks():
    model = randomised(make_model(form="step_consistent"))
    obs, goal, actions = inputs(horizon=6)
    state = model.encode(obs, goal)
    trajectory = model.rollout(state, actions, chunk=3)
    assert trajectory.h.shape[1] == 2 and trajectory.rewards().shape == (5, 2)
    first, _ = model.step(state, actions[:, :3])
    assert torch.equal(trajectory.h[:, 0], first.h)
    with pytest.raises(ValueError, match="horizon is 6 steps, allowed multiples of chunk = 4"):
        model.rollout(state, actions, chunk=4)
    model.exit_rule = Converged(0.1, 1, 8)
    with pytest.raises(ValueError, match="exit_rule is Converged, allowed FixedDepth and Doubling for chunks"):
        model.rollout(state, actions, chunk=3)
    with pytest.raises(ValueError, match=r"model\.form is 'paper', allowed step_consistent for chunks of 3"):
        make_model(form="paper").rollout(state, actions, chunk=3)


def test_a_chunk_is_integrated_ever_finer_until_two_depths_agree():
    """Each sample as deep as it needs, with the actions shared out anew for each depth: as the fixed depth alone."""
    model = randomised(make_model(form="step_consistent", tokens="parts"))
    obs, _, actions = inputs(horizon=4)
    state = model.encode(obs)
    by_depth = {}
    for loops in (1, 2, 4, 8):
        model.exit_rule = FixedDepth(loops)
        by_depth[loops] = model.step(state, actions)[0].h
    differences = (by_depth[2] - by_depth[1]).flatten(1).norm(dim=1) / by_depth[2].flatten(1).norm(dim=1)
    model.exit_rule = Doubling(_gap(differences.detach()), 8)
    h, info = model.step(state, actions)
    taken = {3: 2, 7: 4, 15: 8}  # applications of the block, discarded results too: the depth of the result
    assert len(set(info.num_loops.tolist())) > 1
    for b, count in enumerate(info.num_loops.tolist()):
        assert torch.allclose(h.h[b], by_depth[taken[count]][b], atol=1e-5)


def test_two_depths_disagree_in_what_will_be_observed():
    """Memory does not count, numbers do, in normalised units; where all is memory, all counts."""
    model = randomised(make_model(form="step_consistent", tokens="bodies", mean_loops=3, max_loops=8))
    obs, _, actions = inputs()
    state = model.encode(obs)
    by_depth = {}
    for loops in (2, 4):
        model.exit_rule = FixedDepth(loops)
        by_depth[loops] = model.step(state, actions[:, 0])[0].h
    inner, _ = model.depths(state, actions[:, 0], 4)
    decoded = {loops: model.decode_normalised(h) for loops, h in by_depth.items()}
    expected = (decoded[4] - decoded[2]).abs().mean(-1)
    found = model.disagreement(inner[:, 3], inner[:, 1])
    assert found.shape == (5,) and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    memory = model.coda.memory * torch.randn_like(inner[:, 1])
    one = model.coda.normalise(inner[:, 1])
    model.coda.up.weight.data.zero_()  # nothing of the memory reaches the numbers
    assert torch.allclose(model.disagreement(one + memory, one), torch.zeros(5), atol=1e-6)
    model.coda.memory.fill_(1)
    assert (model.disagreement(one + memory, one) > 0).all()
    rule = make_exit_rule("doubling", 0.1, 8, model)
    assert isinstance(rule, Doubling) and rule.measure == model.disagreement


def test_the_belief_takes_no_part_in_the_disagreement_and_is_refined_at_the_mean_depth():
    model = randomised(make_model(form="step_consistent", context=4, mean_loops=3, max_loops=8))
    generator = torch.Generator().manual_seed(5)
    obs, _, actions = inputs()
    seen = torch.randn(5, 4, obs.shape[1], generator=generator)
    history = History(seen, actions[:, :1].expand(-1, 4, -1), torch.ones(5, 4))
    model.exit_rule = FixedDepth(3)
    expected = model.encode(obs, history=history).h
    model.exit_rule = make_exit_rule("doubling", 10.0, 8, model)
    assert torch.equal(model.encode(obs, history=history).h, expected)
    other = expected.clone()
    other[:, -1] += 1
    assert torch.equal(model.disagreement(other, expected), torch.zeros(5))
