"""What the benchmark of the models measures, on models whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drift_data import GROUPS, MATRIX, STEPS, Exact, drift_dataset

from loopwm_robot.bench.model import adaptive, chunks, evaluate
from loopwm_robot.bench.model.config import WARM_UP
from loopwm_robot.bench.model.long import long_rollouts
from loopwm_robot.bench.model.measures import WORST, open_loop, spearman, squared_error, starts_of
from loopwm_robot.config import ModelConfig
from loopwm_robot.models.cost import transition_flops
from loopwm_robot.models.loop_control import Converged, Doubling, FixedDepth
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.untied import UntiedStack

CORE = Core(latent_dim=8, heads=2, mean_loops=2, max_loops=4)


def looped(context: int = 0) -> LoopWM:
    data = drift_dataset()
    torch.manual_seed(0)
    model = LoopWM(*data.sizes, replace(CORE, context=context), groups=GROUPS, tokens="bodies").eval()
    with torch.no_grad():  # as if trained: loops differ
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_starts_line_up_with_what_follows_and_what_was_before() -> None:
    split = drift_dataset().splits["test"]
    starts = starts_of(split, 10, 7)
    matrix = torch.from_numpy(MATRIX)
    assert len(starts.obs) == 2 * len(range(WARM_UP, STEPS - 10 + 1, 7))
    followed = starts.obs + (starts.action @ matrix.T).cumsum(1)[:, 4]
    assert torch.allclose(followed, starts.truth[:, 4], atol=1e-4)
    before = starts.history.obs[:, -1] + starts.history.action[:, -1] @ matrix.T
    assert torch.allclose(before, starts.obs, atol=1e-4)
    assert starts.contact is not None and torch.equal(starts.contact, starts.action[..., 0] > 0)


def test_only_what_was_seen_is_shown() -> None:
    starts = starts_of(drift_dataset().splits["test"], 10, 7)
    model = looped(context=6)
    past = starts.past(model, 2)
    assert past is not None and past.mask[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert torch.equal(past.obs, starts.history.obs[:, -6:])
    assert starts.past(looped(), 2) is None
    data = drift_dataset()
    all_seen, few_seen = (squared_error(model, data, starts, seen=seen) for seen in (50, 2))
    assert torch.equal(all_seen, squared_error(model, data, starts, seen=6)) and not torch.equal(all_seen, few_seen)


def test_the_true_model_makes_no_error_and_a_wrong_one_that_of_its_mistake() -> None:
    data = drift_dataset()
    exact = open_loop(Exact(data), data, "test", 5)
    assert max(exact["all"].values()) < 1e-3 and max(exact["curve"]) < 1e-3
    starts = starts_of(data.splits["test"], 2, 5)
    wrong = Exact(data, growth=1.5)
    expected = ((0.5 * starts.obs) / data.std).square().mean(-1)
    assert torch.allclose(squared_error(wrong, data, starts)[:, 0], expected, rtol=1e-3)
    on_object = ((0.5 * starts.obs) / data.std).square()[:, 2:].mean(-1)
    assert torch.allclose(squared_error(wrong, data, starts, columns=GROUPS["object"])[:, 0], on_object, rtol=1e-3)


def test_with_and_without_contact_make_up_the_whole() -> None:
    data = drift_dataset()
    found = open_loop(Exact(data, growth=1.01), data, "test", 5)
    starts = starts_of(data.splits["test"], 50, 5)
    assert starts.contact is not None
    share = starts.contact[:, 0].double().mean()
    whole = share * found["contact"]["h1"] ** 2 + (1 - share) * found["free"]["h1"] ** 2
    assert whole == pytest.approx(found["all"]["h1"] ** 2, rel=1e-4)
    assert "h50" not in found["free"]  # nobody goes 50 steps without contact here


def test_a_model_that_diverges_has_the_worst_error() -> None:
    data = drift_dataset(long=160)
    found = open_loop(Exact(data, growth=1e30), data, "test", 10)
    assert found["all"]["h50"] == WORST
    rolled = long_rollouts(Exact(data, growth=1e30), data, "long_explore", 6, 60)
    assert rolled["finite"] is False and rolled["tail"] == WORST and rolled["state_norm"] == WORST


def test_long_rollouts_are_compared_with_the_mean() -> None:
    data = drift_dataset(long=160)
    found = long_rollouts(Exact(data), data, "long_explore", 12, 100)
    assert found["finite"] and found["starts"] == 12 and found["steps"][-1] == 100
    assert found["tail"] < 1e-2 < found["mean_tail"]
    episodes = data.splits["long_explore"].episodes
    last = torch.stack([torch.from_numpy(e.obs[t + 100]) for e in episodes for t in range(WARM_UP, 61)])
    expected = ((last - data.mean) / data.std).square().mean().sqrt()
    both = long_rollouts(Exact(data), data, "long_explore", 1000, 100)
    assert both["starts"] == len(last) and both["mean_errors"][-1] == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(ValueError, match="have 160 steps, allowed >= 250"):
        long_rollouts(Exact(data), data, "long_explore", 5, 200)


def test_ranks_are_correlated() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert spearman(x, x.exp()) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, torch.ones(5)) == 0
    # ranks 1.5 1.5 3 4 5 against 2 1 3 5 4
    assert spearman(torch.tensor([1.0, 1, 2, 3, 4]), torch.tensor([2.0, 1, 3, 5, 4])) == pytest.approx(0.8720816)


def test_exits_are_described_by_what_they_do() -> None:
    data, model = drift_dataset(), looped()
    found = adaptive.exit_statistics(model, data, Converged(0.0, 1, 4), 10)
    assert found["mean_loops"] == found["loops_contact"] == found["loops_free"] == 4
    assert found["correlation_error"] == 0 and found["added_error"] >= 0
    early = adaptive.exit_statistics(model, data, Converged(10.0, 1, 4), 10)
    assert early["mean_loops"] == 1
    starts = starts_of(data.splits["test"], adaptive.PLAN_STEPS, 10)
    by_depth = [float(squared_error(model, data, starts, FixedDepth(t)).mean().sqrt()) for t in range(1, 5)]
    assert adaptive.best_fixed(model, data, starts) == min(by_depth)
    assert early["added_error"] == pytest.approx(by_depth[0] / min(by_depth) - 1)


def test_transitions_of_several_steps_are_measured_where_they_end() -> None:
    data = drift_dataset()
    torch.manual_seed(0)
    core = replace(CORE, form="step_consistent", mean_loops=2, max_loops=8)
    model = LoopWM(*data.sizes, core, groups=GROUPS, tokens="bodies").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = evaluate.measurements("chunks", model, data, evaluate.Plan(stride=10, starts=4, long_steps=0, horizon=3))
    assert set(found["chunks"]) == {"1", "2", "4", "8"} and set(found["chunks"]["8"]) == {"1", "2", "3", "4", "6", "8"}
    starts = starts_of(data.splits["test"], 48, 10)
    model.exit_rule = FixedDepth(4)
    with torch.inference_mode():
        predicted = model.rollout(model.encode(starts.obs), starts.action, chunk=8).observations()
    error = ((predicted[:, 2] - starts.truth[:, 23]) / data.std).square().mean().sqrt()
    assert found["chunks"]["8"]["4"]["h24"] == pytest.approx(float(error), rel=1e-4)
    alone = squared_error(model, data, starts, FixedDepth(2))[:, 23].mean().sqrt()
    assert found["chunks"]["1"]["2"]["h24"] == pytest.approx(float(alone), rel=1e-4)
    about = found["chunk_exit"]
    assert 3 <= about["mean_loops"] <= 15  # 1 + 2 loops at least, 1 + 2 + 4 + 8 at most
    assert "loops_free" not in about and {"threshold", "added_error", "correlation_error"} <= set(about)  # see below
    # In eight steps contact is certain here, in two it is not.
    starts = starts_of(data.splits["test"], 10, 10)
    with torch.inference_mode():
        inner, _ = model.depths(model.encode(starts.obs), starts.action[:, :2], 2)
        model.exit_rule = Doubling(float(model.disagreement(inner[:, 1], inner[:, 0]).median()), 8, model.disagreement)
        loops = model.rollout(model.encode(starts.obs), starts.action, 2).loops.double()
    assert starts.contact is not None and len(loops.unique()) > 1
    touched = starts.contact[:, 0::2] | starts.contact[:, 1::2]
    some = adaptive.exit_statistics(model, data, model.exit_rule, 10, chunk=2)
    assert some["loops_contact"] == pytest.approx(float(loops[touched].mean()))
    assert some["loops_free"] == pytest.approx(float(loops[~touched].mean()))
    assert set(chunks.chunk_times(model, data, found["chunks"])) == {"1", "2", "4", "8"}
    assert chunks.fewest_loops({"1": {"h8": 1.0}, "2": {"h8": 0.505}, "4": {"h8": 0.5}}) == 2


def test_operations_grow_with_the_loops_of_a_transition() -> None:
    data, model = drift_dataset(), looped()
    one, three = adaptive.free_motion_flops(model, 1.0), adaptive.free_motion_flops(model, 3.0)
    assert adaptive.free_motion_flops(model, 2.0) == (one + three) / 2
    assert evaluate.depths_of(model) == [1, 2, 3, 4, 6, 8]
    config = ModelConfig(latent_dim=8, heads=2, mean_loops=2, max_loops=4, tokens="bodies")
    stack = UntiedStack(*data.sizes, replace(CORE, mean_loops=100.0), groups=GROUPS, tokens="bodies")
    assert adaptive.deep_stack_flops(config, data) == transition_flops(stack)


def test_everything_is_measured_that_a_model_has() -> None:
    data = drift_dataset("hidden", hidden=True)
    plan = evaluate.Plan(stride=10, starts=4, long_steps=0, horizon=3)
    found = evaluate.measurements("loopwm", looped(context=6), data, plan)
    assert set(found) == {"open_loop", "terminal", "context", "mean_loops", "loops", "exits"}
    assert set(found["open_loop"]) == {"test", "test_seen"}
    assert set(found["context"]["5"]) == {"1", "2", "4"}
    assert found["loops"]["2"]["h20"] == pytest.approx(found["open_loop"]["test"]["all"]["h20"], rel=1e-4)
    assert found["context"]["50"]["2"] == pytest.approx(found["loops"]["2"])
    assert set(evaluate.measurements("exact", Exact(data), data, plan)) == {"open_loop", "terminal"}
