"""The exit gate learns from the prediction error, not from its entropy alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.config import ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.models.build import build_loopwm
from loopwm_robot.models.loop_control import Gated
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.training.gate import GateConfig, bernoulli_entropy, fit_exit_gate, gate_examples

CONFIG = ModelConfig(latent_dim=16, heads=2, mean_loops=3, exit="gate", gate_threshold=0.4, max_loops=7)


def parts() -> tuple[LoopWM, ReplayBuffer]:
    torch.manual_seed(0)
    model = build_loopwm(CONFIG, 3, 2, 2, 0.1)
    with torch.no_grad():  # leave the identity: loops must do something
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    buffer, policy, env = ReplayBuffer(500, 3, 2, 2), ExplorationPolicy(2, np.random.default_rng(0)), PointEnv()
    for i in range(10):
        buffer.add(run_episode(env, policy, i)[0])
    model.obs_normalizer.fit(torch.from_numpy(buffer.observations))
    return model, buffer


def test_labels_say_whether_the_next_loop_is_better():
    model, buffer = parts()
    config = GateConfig(batch_size=20, min_gain=0.1)
    h, stop = gate_examples(model, buffer, config, torch.ones(3), np.random.default_rng(1))
    batch = buffer.sample(20, 1, np.random.default_rng(1))
    inner, _ = model.depths(model.encode(batch.obs[:, 0]), batch.action[:, 0], 6)
    assert torch.allclose(h, inner[:, :5].flatten(0, 1))
    errors = []
    for t in range(6):
        predicted = model.obs_head(model.coda(inner[:, t]).flatten(-2))
        errors.append((predicted - model.obs_normalizer(batch.obs[:, 1])).square().mean(-1))
    expected = torch.stack([errors[t + 1] > 0.9 * errors[t] for t in range(5)], 1)
    assert torch.equal(stop.view(20, 5).bool(), expected) and 0 < stop.mean() < 1


def test_the_gate_gets_a_task_gradient_and_nothing_else_changes():
    model, buffer = parts()
    before = {name: p.clone() for name, p in model.named_parameters()}
    report = fit_exit_gate(model, buffer, GateConfig(updates=150), torch.ones(3), np.random.default_rng(0))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) is not name.startswith("gate."), name
    majority = max(report["gate_stop_share"], 1 - report["gate_stop_share"])
    assert report["gate_accuracy"] >= majority - 0.02 and report["gate_loss"] < 0.69  # better than g = 0.5


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
