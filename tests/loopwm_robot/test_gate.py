"""The exit gate learns from the prediction error, not from its entropy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.config import ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.models.build import build_model
from loopwm_robot.models.loop_control import FixedDepth, Gated
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.training.gate import GateConfig, bernoulli_entropy, fit_exit_gate, gate_examples
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer

CONFIG = ModelConfig(latent_dim=16, heads=2, mean_loops=3, exit="gate", gate_threshold=0.4, max_loops=7)


def parts(**changes) -> tuple[LoopWM, ReplayBuffer]:
    """A model that has learnt a little, so that some loops help and others do not."""
    torch.manual_seed(2)
    model = build_model(replace(CONFIG, **changes), 3, 2, 2, 0.1)
    buffer, policy, env = ReplayBuffer(500, 3, 2, 2), ExplorationPolicy(2, np.random.default_rng(0)), PointEnv()
    for i in range(10):
        buffer.add(run_episode(env, policy, i)[0])
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    trainer = WorldModelTrainer(model, UpdateConfig(32, 1), 40, rng, generator, slice(0, 2))
    trainer.fit_normalizers(buffer)
    for _ in range(40):
        trainer.update(buffer)
    return model, buffer


def ignorance(report: dict[str, float]) -> float:
    """Cross-entropy of a gate that knows how often to stop and nothing else."""
    share = report["gate_stop_share"]
    return -share * np.log(share) - (1 - share) * np.log(1 - share)


def test_labels_say_whether_the_next_loop_is_better():
    model, buffer = parts()
    config = GateConfig(batch_size=20, min_gain=0.1)
    h, stop = gate_examples(model, buffer, config, torch.ones(3), np.random.default_rng(1))
    batch = buffer.sample(20, 1, np.random.default_rng(1))
    inner, _ = model.depths(model.encode(batch.obs[:, 0]), batch.action[:, 0], 6)
    assert torch.allclose(h, inner[:, :5].flatten(0, 1))
    errors = []
    for t in range(6):
        predicted = model.decode_normalised(model.coda(inner[:, t]))
        errors.append((predicted - model.obs_normalizer(batch.obs[:, 1])).square().mean(-1))
    expected = torch.stack([errors[t + 1] > 0.9 * errors[t] for t in range(5)], 1)
    assert torch.equal(stop.view(20, 5).bool(), expected) and 0 < stop.mean() < 1


def test_the_gate_gets_a_task_gradient_and_nothing_else_changes():
    model, buffer = parts(form="paper")
    before = {name: p.clone() for name, p in model.named_parameters()}
    report = fit_exit_gate(model, buffer, GateConfig(updates=150), torch.ones(3), np.random.default_rng(0))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) is not name.startswith("gate."), name
    majority = max(report["gate_stop_share"], 1 - report["gate_stop_share"])
    assert report["gate_accuracy"] > majority + 0.1 and report["gate_loss"] < ignorance(report) - 0.15


@pytest.mark.parametrize("changes", [{"form": "implicit"}, {"context": 3}, {"norm": "sandwich", "gain": "euler"}])
def test_the_gate_of_other_variants(changes):
    """With context, the labels come from states that know the past."""
    model, buffer = parts(**changes)
    report = fit_exit_gate(model, buffer, GateConfig(updates=100), torch.ones(3), np.random.default_rng(0))
    assert report["gate_loss"] < ignorance(report) - 0.02


def test_the_past_is_handed_to_models_with_context():
    model, buffer = parts(context=3)
    config = GateConfig(batch_size=20)
    h, _ = gate_examples(model, buffer, config, torch.ones(3), np.random.default_rng(1))
    batch = buffer.sample(20, 1, np.random.default_rng(1), context=3)
    model.exit_rule = FixedDepth(3)
    state = model.encode(batch.obs[:, 0], history=batch.history)
    assert torch.allclose(h, model.depths(state, batch.action[:, 0], 6)[0][:, :5].flatten(0, 1), atol=1e-6)
    blind = model.encode(batch.obs[:, 0])
    assert not torch.allclose(state.h, blind.h, atol=1e-3)


def test_without_an_early_stop_there_is_no_gate_to_train():
    for changes in ({"form": "step_consistent", "exit": "doubling"}, {"kind": "untied", "exit": "fixed"}):
        model, buffer = parts(**changes)
        before = model.gate.weight.clone()
        assert fit_exit_gate(model, buffer, GateConfig(updates=5), torch.ones(3), np.random.default_rng(0)) == {}
        assert torch.equal(model.gate.weight, before)


def test_fitting_again_gives_the_same_gate():
    model, buffer = parts()
    weights = []
    for _ in range(2):
        fit_exit_gate(model, buffer, GateConfig(updates=5), torch.ones(3), np.random.default_rng(0))
        weights.append(model.gate.weight.clone())
    assert torch.equal(*weights)
    assert fit_exit_gate(model, buffer, GateConfig(updates=0), torch.ones(3), np.random.default_rng(0)) == {}


def test_the_configured_rule_uses_the_gate():
    model, _ = parts()
    rule = model.exit_rule
    assert isinstance(rule, Gated) and rule.threshold == 0.4 and rule.max_loops == 7
    state = model.encode(torch.randn(5, 3))
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.fill_(100.0)
    _, info = model.step(state, torch.zeros(5, 2))
    assert info.num_loops.tolist() == [1] * 5
    with torch.no_grad():
        model.gate.bias.fill_(-100.0)
    _, info = model.step(state, torch.zeros(5, 2))
    assert info.num_loops.tolist() == [7] * 5


def test_depths_are_the_fixed_depths():
    model, _ = parts()
    state, action = model.encode(torch.randn(4, 3)), torch.rand(4, 2)
    _, outer = model.depths(state, action, 3)
    for depth in (1, 2, 3):
        expected, _ = model.step(state, action, depths=torch.full((4,), depth))
        assert torch.allclose(outer[:, depth - 1], expected.h, atol=1e-6)


def test_entropy_of_a_bernoulli_variable():
    logit = torch.tensor([0.0, 2.0, -2.0, 200.0, -200.0])
    assert bernoulli_entropy(logit)[0] == pytest.approx(np.log(2))
    assert torch.allclose(bernoulli_entropy(logit)[1:3], torch.tensor(0.3653).expand(2), atol=1e-3)
    assert torch.isfinite(bernoulli_entropy(logit)).all() and bernoulli_entropy(logit)[3] < 1e-6


def test_config_ranges():
    with pytest.raises(ValueError, match=r"train\.gate\.updates is -1, allowed \[0, 1e\+06\]"):
        GateConfig(updates=-1)
